package kernellab

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A trial is an image of small files that imaseal labels, that are spoilt, and
// that a kernel, imaseal verify and imaseal check judge: they must agree on every
// file, check also on the cause.
type trial struct {
	lab    *Lab
	kernel Kernel
	img    Image
	dir    string            // where the image is mounted
	names  []string          // of all files
	spoils []func()          // what is done to them after labelling
	causes map[string]string // of denials, by path; every other file must open
	// kernelOnly are directories whose labels are right, but not for this kernel.
	kernelOnly []string
}

// trialSize makes mkfs.ext4 choose blocks of 4 KiB: two RSA-4096 signatures need
// more than its blocks for small file systems hold.
const trialSize = 640 << 20

// newTrial makes a trial on an empty file system, mounted.
func newTrial(t *testing.T, l *Lab, series string, fs FS) *trial {
	t.Helper()
	img := l.NewImage(t, fs, trialSize, "")
	return &trial{
		lab: l, kernel: l.Kernel(t, series), img: img, dir: img.Mount(t),
		causes: make(map[string]string),
	}
}

// plant makes files in a directory of the image, which will get labels of a
// kind.
func (tr *trial) plant(t *testing.T, dir string, k kind, files ...victim) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Join(tr.dir, dir), 0o755))
	for _, v := range files {
		name := filepath.Join(dir, v.name)
		path := filepath.Join(tr.dir, name)
		check(t, errors.Join(os.WriteFile(path, []byte(v.content), 0o600), unix.Chown(path, int(v.uid), int(v.gid)), unix.Chmod(path, v.mode)))
		for attr, value := range v.attrs {
			setAttr(t, path, attr, value)
		}
		if cause := k.cause(v); cause != "" {
			tr.causes[name] = cause
		}
		if v.spoil != nil {
			tr.spoils = append(tr.spoils, func() { v.spoil(t, path) })
		}
		tr.names = append(tr.names, name)
	}
	if i := slices.IndexFunc(files, func(v victim) bool { return v.name == "plain" }); i >= 0 {
		link := filepath.Join(dir, "hard-link")
		check(t, os.Link(filepath.Join(tr.dir, dir, "plain"), filepath.Join(tr.dir, link)))
		tr.names = append(tr.names, link)
	}
}

// denied says that all files of a directory will be, by a cause.
func (tr *trial) denied(dir, cause string) {
	for _, name := range tr.names {
		if strings.HasPrefix(name, dir+"/") {
			tr.causes[name] = cause
		}
	}
}

// imaseal runs the program, which must succeed.
func imaseal(t *testing.T, l *Lab, args ...string) {
	t.Helper()
	if out, err := exec.Command(l.Imaseal(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("imaseal %q: %v: %s", args, err, tail(string(out), 2000))
	}
}

// label runs a labelling command of imaseal on a directory of the image. A
// second run must find nothing to do.
func (tr *trial) label(t *testing.T, dir string, args ...string) {
	t.Helper()
	args = append(args, "--owner", "any", filepath.Join(tr.dir, dir))
	imaseal(t, tr.lab, args...)
	again := tr.lab.json(t, args...)
	for _, r := range again {
		if r.Outcome != "unchanged" && r.Outcome != "kept" && r.Outcome != "skipped" {
			t.Errorf("imaseal %q, second run: %s is %s", args, r.Path, r.Outcome)
		}
	}
}

// sign makes files in a directory and signs them.
func (tr *trial) sign(t *testing.T, dir string, k kind, files []victim, key signingKey, args ...string) {
	t.Helper()
	tr.plant(t, dir, k, files...)
	tr.label(t, dir, slices.Concat([]string{"sign"}, key.args(), args)...)
}

// over gives the files of a directory hashes, unless they are signed, and EVM
// signatures.
func (tr *trial) over(t *testing.T, dir string, key signingKey, args ...string) {
	t.Helper()
	tr.label(t, dir, slices.Concat([]string{"hash"}, key.args(), args)...)
}

// spoil does to the files what is to be done to them.
func (tr *trial) spoil() {
	for _, spoil := range tr.spoils {
		spoil()
	}
}

// A jsonResult is what imaseal --json says of a file.
type jsonResult struct {
	Path, Outcome, Reason, Cause string
	Judgements                   []prediction
	Summary                      json.RawMessage
}

// json runs imaseal with --json, which may find files wrong.
func (l *Lab) json(t *testing.T, args ...string) []jsonResult {
	t.Helper()
	cmd := exec.Command(l.Imaseal(t), slices.Insert(slices.Clone(args), 1, "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	// 3 and 4 are also what check says of files that are undecided or denied.
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3 && exit.ExitCode() != 4) {
		t.Fatalf("imaseal %q: %v: %s", args, err, tail(stderr.String(), 2000))
	}
	var results []jsonResult
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var r jsonResult
		err := dec.Decode(&r)
		if err == io.EOF {
			return results
		}
		check(t, err)
		if r.Summary == nil {
			results = append(results, r)
		}
	}
}

// judge boots the image, has every file opened for reading, and compares that
// with imaseal verify, which gets the demands and the arguments, and imaseal
// check, which gets the arguments and the rest from the case. The case's own
// probes are made last.
func (tr *trial) judge(t *testing.T, c Case, demands, args []string) Result {
	t.Helper()
	args = append(args, "--kernel-config", tr.kernel.Config())
	found := tr.all(t, slices.Concat([]string{"verify", "--owner", "any"}, demands, args))
	policy := filepath.Join(t.TempDir(), "policy")
	check(t, os.WriteFile(policy, []byte(strings.Join(c.Policy, "\n")+"\n"), 0o600))
	predicted := tr.all(t, slices.Concat([]string{"check", "--policy", policy, "--operation", "read", "--kernel-version", tr.kernel.Version,
		"--evm-state", evmStates[c.EVM[0]]}, loads(t, tr.kernel), args))
	tr.img.Unmount(t)
	c.Kernel, c.Image = tr.kernel, tr.img
	c.Append += " ima_appraise=enforce"
	own := c.Probes
	c.Probes = nil
	for _, name := range tr.names {
		c.Probes = append(c.Probes, Probe{Name: name, Op: Read, Path: name})
	}
	c.Probes = append(c.Probes, own...)
	res := tr.lab.Boot(t, c)
	for _, name := range tr.names {
		v, r := res.Verdict(t, name), found[name]
		if cause := tr.causes[name]; v.Allowed() != (cause == "") || v.Cause != cause {
			t.Errorf("%s: the kernel says %q, cause %q, want cause %q; imaseal says %s %s", name, v.Errno, v.Cause, cause, r.Outcome, r.Reason)
		}
		if !slices.Contains(tr.kernelOnly, filepath.Dir(name)) && r.Reason != "hard link" && v.Allowed() != (r.Outcome == "valid") {
			t.Errorf("%s: the kernel says %q, cause %q; imaseal says %s %s", name, v.Errno, v.Cause, r.Outcome, r.Reason)
		}
		p := predicted[name]
		if p.Reason != "hard link" && (v.Allowed() != (p.Outcome == "allowed") || v.Cause != p.Cause) {
			t.Errorf("%s: the kernel says %q, cause %q; imaseal check says %s %s %s", name, v.Errno, v.Cause, p.Outcome, p.Cause, p.Reason)
		}
	}
	return res
}

// evmStates are what imaseal check calls the values written to securityfs evm.
var evmStates = map[string]string{"1": "hmac", "2": "x509", "3": "hmac,x509", "10": "x509,sigv3", "11": "hmac,x509,sigv3"}

// all returns what imaseal says of the trial's files, each of them.
func (tr *trial) all(t *testing.T, args []string) map[string]jsonResult {
	t.Helper()
	found := make(map[string]jsonResult)
	for _, r := range tr.lab.json(t, append(args, tr.dir)...) {
		found[strings.TrimPrefix(r.Path, tr.dir+"/")] = r
	}
	for _, name := range tr.names {
		if _, ok := found[name]; !ok {
			t.Errorf("imaseal %s says nothing of %s", args[0], name)
		}
	}
	if len(found) != len(tr.names) {
		t.Errorf("imaseal %s judges %d files of %d", args[0], len(found), len(tr.names))
	}
	return found
}

// A signingKey is files of a key that imaseal made.
type signingKey struct {
	private string // of sign --key
	cert    string // DER
}

// der is the certificate.
func (k signingKey) der(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(k.cert)
	check(t, err)
	return b
}

// rsa is the public key in the certificate.
func (k signingKey) rsa(t *testing.T) *rsa.PublicKey {
	t.Helper()
	c, err := x509.ParseCertificate(k.der(t))
	check(t, err)
	return c.PublicKey.(*rsa.PublicKey)
}

// args are the options of a signing command.
func (k signingKey) args() []string { return []string{"--key", k.private, "--cert", k.cert} }

// generate makes a key with imaseal keys generate.
func generate(t *testing.T, l *Lab, kind string, more ...string) signingKey {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), kind)
	imaseal(t, l, append([]string{"keys", "generate", "--type", kind, "--out", prefix}, more...)...)
	return signingKey{private: prefix + ".key", cert: prefix + ".der"}
}

// unjudged are the rules of appraise_tcb for file systems without labels, the
// initramfs among them.
var unjudged = []string{
	"dont_appraise fsmagic=0x9fa0", "dont_appraise fsmagic=0x62656572", "dont_appraise fsmagic=0x01021994",
	"dont_appraise fsmagic=0x858458f6", "dont_appraise fsmagic=0x73636673",
}

// appraise are rules for all files of root and of the other user.
func appraise(options string) []string {
	rules := slices.Clone(unjudged)
	for _, f := range []string{"FILE_CHECK", "MMAP_CHECK", "BPRM_CHECK"} {
		for _, owner := range []int{0, otherUser} {
			rules = append(rules, strings.TrimSpace(fmt.Sprintf("appraise func=%s fowner=%d %s", f, owner, options)))
		}
	}
	return rules
}
