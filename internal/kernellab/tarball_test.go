package kernellab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without any privilege.
const nobody = 65534

// A bench is a directory in which nobody makes an image out of an archive.
type bench struct {
	t   *testing.T
	dir string
}

// newBench has the Debian tree in t.tar, with files for the tests in lab, and
// imaseal.
func newBench(t *testing.T, l *Lab) bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "imaseal-bench-*") // where nobody comes
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	b := bench{t, dir}
	check(t, errors.Join(os.Chmod(dir, 0o777), os.Mkdir(b.path("lab"), 0o755)))
	for _, name := range []string{"content", "mode", "record", "whole"} {
		check(t, os.WriteFile(b.path("lab", name), []byte("the "+name+" of a file in an archive\n"), 0o644))
	}
	tree, err := l.tree()
	check(t, err)
	_, err = command("", "cp", tree, b.path("t.tar"))
	check(t, err)
	_, err = command("", "cp", l.Imaseal(t), b.path("imaseal"))
	check(t, err)
	_, err = command(dir, "tar", "--owner=0", "--group=0", "--numeric-owner", "-rf", "t.tar", "./lab")
	check(t, err)
	return b
}

func (b bench) path(elem ...string) string { return filepath.Join(append([]string{b.dir}, elem...)...) }

// run runs a program of the bench, or of the machine, as nobody.
func (b bench) run(stdin string, args ...string) {
	b.t.Helper()
	program := "./imaseal"
	if args[0] != "imaseal" {
		program = lookPath(args[0])
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{"PATH=" + searchPath(), "LC_ALL=C.UTF-8"}
	if stdin != "" {
		f, err := os.Open(b.path(stdin))
		check(b.t, err)
		defer f.Close()
		cmd.Stdin = f
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("as nobody: %q: %v: %s", args, err, tail(string(out), 2000))
	}
}

// spoil changes a file's content, another one's mode, and takes a record from a
// third, in an archive.
func (b bench) spoil(archive string, record string) {
	b.t.Helper()
	content, err := os.ReadFile(b.path(archive))
	check(b.t, err)
	find := func(text string) int {
		at := bytes.Index(content, []byte(text))
		if at < 0 {
			b.t.Fatalf("%s has no %q", archive, text)
		}
		return at
	}
	content[find("the content of a file in an archive")+4] ^= 1
	header := content[find("./lab/mode\x00"):][:512]
	copy(header[100:], "0000755")
	sum := 0
	copy(header[148:], "        ")
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	// The PAX header stands right before the entry's own.
	at := find("./lab/record\x00")
	at = bytes.LastIndex(content[:at], []byte(record))
	copy(content[at:], "user.nothing")
	check(b.t, os.WriteFile(b.path(archive), content, 0o644))
}

// image makes a squashfs image of an archive, as nobody.
func (b bench) image(program, archive string) Image {
	b.t.Helper()
	switch program {
	case "mksquashfs":
		b.run(archive, "mksquashfs", "-", "image", "-tar", "-noappend", "-quiet", "-no-progress", "-root-mode", "755", "-root-uid", "0", "-root-gid", "0")
	default:
		b.run(archive, "tar2sqfs", "--force", "--quiet", "image")
	}
	return Image{FS: "squashfs", Path: b.path("image")}
}

// treeProbes try the whole Debian tree, and the files that were spoilt.
func treeProbes(t *testing.T, l *Lab) []Probe {
	t.Helper()
	img := l.TreeImage(t, Ext4)
	defer img.Unmount(t)
	probes := []Probe{
		{Name: "programs run", Op: Tree, Script: "set -e; cat /etc/os-release; python3 -c 'import sys, os'"},
		{Name: "whole", Op: Read, Path: "/lab/whole"}, {Name: "content", Op: Read, Path: "/lab/content"},
		{Name: "mode", Op: Read, Path: "/lab/mode"}, {Name: "record", Op: Read, Path: "/lab/record"},
	}
	return append(probes, wholeTree(t, img.Mount(t))...)
}

// expectTree looks at the probes of the tree, which have no name.
func expectTree(t *testing.T, res Result) {
	t.Helper()
	n := 0
	for i, p := range res.probes {
		if p.Name != "" {
			continue
		}
		n++
		if v := res.Verdicts[i]; !v.Allowed() || v.Records != nil {
			t.Errorf("%s %s: %s at %s, %s", p.Op, p.Path, v.Errno, v.Step, v.Records)
		}
	}
	if n < 9000 {
		t.Errorf("only %d files were tried", n)
	}
	expectAllowed(t, res, "programs run")
	expectAllowed(t, res, "whole")
}

// TestArchive boots images that nobody has made of archives which nobody has
// labelled: signatures of both kinds where the kernel verifies ECDSA, and hashes
// where it does not.
func TestArchive(t *testing.T) {
	l := Open(t)
	probes := treeProbes(t, l)
	for series, program := range map[string]string{"6.1": "mksquashfs", "6.12": "tar2sqfs", "7.x": "mksquashfs"} {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			kernel := l.Kernel(t, series)
			b := newBench(t, l)
			c := Case{Kernel: kernel, Probes: probes, Timeout: 20 * time.Minute}
			if !hasECDSA(series) {
				b.run("", "imaseal", "hash", "--quiet", "tar:t.tar", "--output", "labelled.tar")
				b.run("", "imaseal", "verify", "--quiet", "tar:labelled.tar")
				b.spoil("labelled.tar", "security.ima")
				c.Append, c.Image = EnforceTCB, b.image(program, "labelled.tar")
				res := l.Boot(t, c)
				expectTree(t, res)
				expectAllowed(t, res, "mode") // which a hash does not cover
				expectDenied(t, res, "content", "EACCES", "invalid-hash")
				expectDenied(t, res, "record", "EACCES", "missing-hash")
				return
			}
			key := generate(t, l, "p256")
			private, err := os.ReadFile(key.private)
			check(t, err)
			check(t, errors.Join(os.WriteFile(b.path("key"), private, 0o600), os.Chown(b.path("key"), nobody, nobody), os.WriteFile(b.path("key.der"), key.der(t), 0o644)))
			b.run("", "imaseal", "sign", "--quiet", "--key", "key", "--cert", "key.der", "--evm", "portable", "tar:t.tar", "--output", "labelled.tar")
			b.run("", "imaseal", "verify", "--quiet", "--key", "key.der", "--require", "imasig,evm", "tar:labelled.tar")
			b.run("", "imaseal", "check", "--quiet", "--policy", "appraise_tcb", "--key", "key.der", "--evm-state", "x509", "--target-fs", "squashfs", "--kernel-version", strings.Join(strings.SplitN(kernel.Version, ".", 3)[:2], "."), "tar:labelled.tar")
			b.spoil("labelled.tar", "security.evm")
			c.Image = b.image(program, "labelled.tar")
			c.Append, c.EVM = "ima_appraise=enforce", []string{"2"}
			c.Keys = []Key{IMAKey(key.der(t)), EVMKey(key.der(t))}
			c.Policy = append(slices.Clone(unjudged), "appraise fowner=0 appraise_type=imasig")
			res := l.Boot(t, c)
			expectTree(t, res)
			expectDenied(t, res, "content", "EACCES", "invalid-signature")
			expectDenied(t, res, "mode", "EACCES", "invalid-fail-immutable")
			expectDenied(t, res, "record", "EACCES", "missing-HMAC")
		})
	}
}
