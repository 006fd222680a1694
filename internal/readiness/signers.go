package readiness

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/active"
	"imaseal/internal/finding"
	"imaseal/internal/imaevm"
)

// maxLabel is more than a label has bytes.
const maxLabel = 1 << 16

// A Signer is a key by which files are signed that a boot needs or that run.
type Signer struct {
	KeyID   string `json:"keyid"`
	Keyring string `json:"keyring"`
	Files   int    `json:"files"`
	// Present says that the keyring has the key, and First is one of the files.
	Present bool   `json:"present"`
	First   string `json:"first"`
}

// signers looks whose signatures are on files that matter most: those that a boot and a
// login need, and the programs that run.
func (t *table) signers() {
	var signers []Signer
	looked, judge := 0, *t
	if t.Active.Appraises {
		judge.Policy = t.Active.Policy
	}
	for _, path := range t.sample() {
		_, f, ok := t.fileAt(path)
		if !ok || !judge.appraised(f) {
			continue
		}
		looked++
		for _, attr := range []string{imaevm.AttrIMA, imaevm.AttrEVM} {
			ring, known := t.ringOf(attr)
			id := signerOf(path, attr)
			if id == "" || !known {
				continue
			}
			i := slices.IndexFunc(signers, func(s Signer) bool { return s.KeyID == id && s.Keyring == ring.Name })
			if i < 0 {
				has := slices.ContainsFunc(ring.Keys, func(k active.Key) bool { return k.ID == id })
				signers = append(signers, Signer{KeyID: id, Keyring: ring.Name, Present: has, First: strings.TrimPrefix(path, t.Host.Root)})
				i = len(signers) - 1
			}
			signers[i].Files++
		}
	}
	if signers == nil {
		return
	}
	slices.SortFunc(signers, func(a, b Signer) int {
		return cmp.Or(strings.Compare(a.Keyring, b.Keyring), strings.Compare(a.KeyID, b.KeyID))
	})
	var good, bad []string
	for _, s := range signers {
		if s.Present {
			good = append(good, fmt.Sprintf("%s in %s (%s)", s.KeyID, s.Keyring, finding.Count(s.Files, "file")))
		} else {
			bad = append(bad, fmt.Sprintf("%s is not in %s (%s, such as %s)", s.KeyID, s.Keyring, finding.Count(s.Files, "file"), s.First))
		}
	}
	data := struct {
		Files int      `json:"files"`
		Keys  []Signer `json:"keys"`
	}{looked, signers}
	if bad != nil {
		t.AddData(data, finding.Fail, "signers", "imaseal keys import CERTIFICATE, or relabel --replace-signatures with a key that is there",
			"keys that signed files which a boot needs or that run: %s", finding.Some(bad))
		return
	}
	t.AddData(data, finding.Pass, "signers", "", "keys that signed files which a boot needs or that run: %s", finding.Some(good))
}

// sample are the files whose signers count. There are as many as programs run.
func (t *table) sample() []string {
	program := t.firstProgram()
	var paths []string
	for _, name := range slices.Concat([]string{program}, t.linked(program), needed) {
		paths = append(paths, filepath.Join(t.Host.Root, name))
	}
	links, _ := filepath.Glob(filepath.Join(t.Host.Root, "/proc/[0-9]*/exe"))
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && filepath.IsAbs(path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// ringOf returns the keyring by which an attribute's signatures are verified, and
// whether all of its keys are known.
func (t *table) ringOf(attr string) (active.Ring, bool) {
	names := []string{".ima", "_ima"}
	if attr == imaevm.AttrEVM {
		names = []string{".evm", "_evm"}
	}
	i := slices.IndexFunc(t.rings, func(r active.Ring) bool { return slices.Contains(names, r.Name) })
	if i < 0 {
		return active.Ring{}, false
	}
	return t.rings[i], t.rings[i].Whole
}

// signerOf returns the id of the key that made a file's label, "" if it is none, or no
// signature by a key that has an id.
func signerOf(path, attr string) string {
	b := make([]byte, maxLabel)
	n, err := unix.Getxattr(path, attr, b)
	if err != nil {
		return ""
	}
	label, err := imaevm.ParseSignature(b[:n])
	if err != nil {
		return ""
	}
	return label.KeyID.String()
}
