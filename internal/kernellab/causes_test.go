package kernellab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// causesDir has files of a world that are there for one cause each, which its random
// labels hardly bring about.
const causesDir = "causes/"

// Owners of files in causesDir for whom recordingCase has rules.
const (
	verityUser = 65534
	sigV3User  = 2
	mappedUser = 3 // their files are appraised when they are mapped, not when they are opened
)

// hasSigV3 says which kernels have rules that demand signatures of version 3 of any file.
func hasSigV3(series string) bool { return series == "7.x" }

// plantCauses makes the files and returns their names.
func (w *world) plantCauses(t *testing.T) []string {
	t.Helper()
	content := []byte(strings.Repeat("content ", 1000))
	sum := digest(t, hash.SHA256, content)
	of := func(hash.Algorithm) hash.Digest { return sum }
	good := encode(t, imaevm.NewHash(sum))
	files := []struct {
		name string
		uid  uint32
		ima  []byte // nil is none
	}{
		{"unknown-type", 0, append([]byte{9}, good[1:]...)},
		{"unknown-digest", 0, append([]byte{4, hash.RMD128.Number()}, sum.Bytes()[:16]...)},
		{"version2", sigV3User, w.signature(t, w.known[:1], imaevm.TypeSignature, 2, of)},
		{"verity-bare", verityUser, nil},
		{"verity-hash", verityUser, good},
		{"verity-wrong", verityUser, w.signature(t, w.known[:1], imaevm.TypeVerity, 3, of)},
		{"protected", mappedUser, good},
		{"written", mappedUser, good},
		{"relabelled", mappedUser, good},
	}
	var names []string
	for _, f := range files {
		name := causesDir + f.name
		path := filepath.Join(w.dir, name)
		check(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644), unix.Chown(path, int(f.uid), 0), unix.Chmod(path, 0o644)))
		if f.ima != nil {
			setAttr(t, path, imaevm.AttrIMA, string(f.ima))
			input, err := imaevm.Input(imaevm.TypePortable, []imaevm.Attr{{Name: imaevm.AttrIMA, Value: f.ima}}, imaevm.Meta{UID: f.uid, Mode: unix.S_IFREG | 0o644}, imaevm.Target{})
			check(t, err)
			setAttr(t, path, imaevm.AttrEVM, string(w.signature(t, w.known[:1], imaevm.TypePortable, 2, func(a hash.Algorithm) hash.Digest { return digest(t, a, input) })))
		}
		names = append(names, name)
	}
	return names
}

// useCauses has the guest give some of the files an fs-verity digest before the policy
// comes, and then use all of them.
func useCauses(t *testing.T, c *Case, names []string) {
	t.Helper()
	withProgram(t, c.Files, "fsverity")
	withProgram(t, c.Files, "setfattr")
	set := func(root, value string) string {
		return "setfattr -n security.ima -v 0x" + value + " " + root + causesDir + "relabelled"
	}
	c.Setup += "mkdir /causes && mount -t ext4 /dev/vda /causes\n" +
		"for f in /causes/" + causesDir + "verity-*; do fsverity enable $f; done\n" +
		// A rule for SETXATTR_CHECK takes the place of what the kernel has.
		set("/causes/", "0408"+strings.Repeat("00", 16)) + " || true\numount /causes\n"
	for _, name := range names {
		c.Probes = append(c.Probes, Probe{Op: Read, Path: name})
	}
	c.Probes = append(c.Probes,
		Probe{Op: Protect, Path: causesDir + "protected"},
		Probe{Op: Written, Path: causesDir + "written"},
		Probe{Name: "not allowed", Op: Sh, Script: set("/newroot/", "0402"+strings.Repeat("00", 20))},
	)
}
