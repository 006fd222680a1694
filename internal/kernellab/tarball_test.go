package kernellab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	_, err = command("", "cp", "-r", l.later(t, laterPackages...), b.path("later"))
	check(t, err)
	return b
}

func (b bench) path(elem ...string) string { return filepath.Join(append([]string{b.dir}, elem...)...) }

// laterPackages have programs that make images of archives, and are newer than the
// machine's.
var laterPackages = []string{"erofs-utils", "e2fsprogs", "libarchive13t64"}

// argv finds a program: imaseal, one of a later release, or of the machine.
func (b bench) argv(args []string) []string {
	if args[0] == "imaseal" {
		return append([]string{"./imaseal"}, args[1:]...)
	}
	if program := laterProgram(b.path("later"), args[0]); program != nil {
		return append(program, args[1:]...)
	}
	return append([]string{lookPath(args[0])}, args[1:]...)
}

// run runs a program as nobody, and returns what it prints. With --json that of
// imaseal check may be that files are denied.
func (b bench) run(stdin string, args ...string) string {
	b.t.Helper()
	argv := b.argv(args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{"PATH=" + searchPath(), "LC_ALL=C.UTF-8"}
	if stdin != "" {
		f, err := os.Open(b.path(stdin))
		check(b.t, err)
		defer f.Close()
		cmd.Stdin = f
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && args[0] == "imaseal" && args[1] == "check" && slices.Contains(args, "--json") && exit.ExitCode() == 4 {
		err = nil
	}
	if err != nil {
		b.t.Fatalf("as nobody: %q: %v: %s", args, err, tail(out.String()+errs.String(), 2000))
	}
	return out.String()
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

// image makes an image of an archive that was labelled and spoilt, or of t.tar, which
// it labels with the command and spoils, all as nobody.
func (b bench) image(program, archive string, label []string, record string) Image {
	b.t.Helper()
	img := Image{FS: "squashfs", Path: b.path("image." + program)}
	switch program {
	case "mksquashfs":
		b.run(archive, "mksquashfs", "-", img.Path, "-tar", "-noappend", "-quiet", "-no-progress", "-root-mode", "755", "-root-uid", "0", "-root-gid", "0")
	case "tar2sqfs":
		b.run(archive, "tar2sqfs", "--force", "--quiet", img.Path)
	case "mkfs.erofs":
		img.FS = "erofs"
		b.run("", "mkfs.erofs", "--quiet", "--tar=f", img.Path, archive)
	case "mke2fs": // drops labels, which therefore come last
		img.FS = Ext4
		b.run("", "mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", "t.tar", img.Path, fmt.Sprint(treeSize>>10, "k"))
		b.run("", slices.Concat([]string{"imaseal"}, label, []string{"ext4:" + img.Path})...)
		b.spoilImage(img, record)
	}
	return img
}

// spoilImage does to an ext4 image what spoil does to an archive.
func (b bench) spoilImage(img Image, record string) {
	b.t.Helper()
	block, err := strconv.ParseInt(strings.TrimSpace(b.run("", "debugfs", "-R", "blocks /lab/content", img.Path)), 10, 64)
	check(b.t, err)
	f, err := os.OpenFile(img.Path, os.O_RDWR, 0)
	check(b.t, err)
	const blockSize = 4096
	content := make([]byte, len("the content"))
	_, err = f.ReadAt(content, block*blockSize)
	if err != nil || string(content) != "the content" {
		b.t.Fatalf("block %d of the image has %q, %v", block, content, err)
	}
	content[4] ^= 1
	_, err = f.WriteAt(content, block*blockSize)
	check(b.t, errors.Join(err, f.Close()))
	b.run("", "debugfs", "-w", "-R", "set_inode_field /lab/mode mode 0100755", img.Path)
	b.run("", "debugfs", "-w", "-R", "ea_rm /lab/record "+record, img.Path)
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

// sampleEvery is of how many files one is tried on an image that is not the root:
// each kind of image is the root of one kernel.
const sampleEvery = 25

// sampled are the probes for another image of the same tree.
func sampled(probes []Probe, image int) []Probe {
	var some []Probe
	n := 0
	for _, p := range probes {
		if p.Name == "" {
			if n++; n%sampleEvery != 0 {
				continue
			}
		} else {
			p.Name = fmt.Sprint(p.Name, " ", image)
		}
		p.Image = image
		some = append(some, p)
	}
	return some
}

// expectTree looks at the probes of the tree, and compares them with what imaseal
// check has said of each file, if it was asked.
func expectTree(t *testing.T, res Result, predicted map[string]jsonResult) {
	t.Helper()
	n, compared := 0, 0
	for i, p := range res.probes {
		v := res.Verdicts[i]
		if p.Name == "" {
			n++
			if !v.Allowed() || v.Records != nil {
				t.Errorf("image %d: %s %s: %s at %s, %s", p.Image, p.Op, p.Path, v.Errno, v.Step, v.Records)
			}
		}
		said, ok := predicted[p.Path]
		if p.Op != Read || !ok || said.Reason == "hard link" {
			continue
		}
		compared++
		if v.Allowed() != (said.Outcome == "allowed") || v.Cause != said.Cause {
			t.Errorf("image %d: %s: the kernel says %q, cause %q; imaseal check says %s %s", p.Image, p.Path, v.Errno, v.Cause, said.Outcome, said.Cause)
		}
	}
	if n < 9000 || predicted != nil && compared < 9000 {
		t.Errorf("only %d files were tried, and %d compared", n, compared)
	}
}

// predict returns what imaseal check says of each file of an archive, by its path.
func (b bench) predict(kernel Kernel, archive string, args ...string) map[string]jsonResult {
	b.t.Helper()
	out := b.run("", slices.Concat([]string{"imaseal", "check", "--json", "--operation", "read",
		"--kernel-config", "config", "--kernel-version", kernel.Version}, args, []string{"tar:" + archive})...)
	found := make(map[string]jsonResult)
	for line := range strings.Lines(out) {
		var r jsonResult
		check(b.t, json.Unmarshal([]byte(line), &r))
		if r.Summary == nil {
			found[strings.Replace(r.Path, archive+":", "/", 1)] = r
		}
	}
	return found
}

// TestArchive boots images that nobody has made of archives which nobody has
// labelled: signatures of both kinds where the kernel verifies ECDSA, and hashes
// where it does not. Each kind of image is the root on one of the kernels, and beside
// it on the others.
func TestArchive(t *testing.T) {
	l := Open(t)
	probes := treeProbes(t, l)
	for series, programs := range map[string][]string{
		"6.1":  {"mksquashfs", "mkfs.erofs", "mke2fs"},
		"6.12": {"mke2fs", "tar2sqfs", "mkfs.erofs"},
		"7.x":  {"mkfs.erofs", "mke2fs", "mksquashfs"},
	} {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			kernel := l.Kernel(t, series)
			b := newBench(t, l)
			_, err := command("", "cp", kernel.Config(), b.path("config"))
			check(t, err)
			c := Case{Kernel: kernel, Probes: probes, Timeout: 20 * time.Minute}
			causes := [3]string{"invalid-signature", "invalid-fail-immutable", "missing-HMAC"}
			policy := []string{"--policy", "appraise_tcb"}
			label, record := []string{"hash", "--quiet"}, "security.ima"
			if hasECDSA(series) {
				policy = b.sign(&c, generate(t, l, "p256"))
				label, record = signing, "security.evm"
			} else {
				causes = [3]string{"invalid-hash", "", "missing-hash"} // a hash does not cover the mode
				b.run("", slices.Concat([]string{"imaseal"}, label, []string{"tar:t.tar", "--output", "labelled.tar"})...)
				b.run("", "imaseal", "verify", "--quiet", "tar:labelled.tar")
				b.spoil("labelled.tar", record)
				c.Append = EnforceTCB
			}
			for i, program := range programs {
				img := b.image(program, "labelled.tar", label, record)
				if i == 0 {
					c.Image = img
					continue
				}
				c.More = append(c.More, img)
				c.Probes = append(c.Probes, sampled(probes, i)...)
			}
			predicted := b.predict(kernel, "labelled.tar", append(policy, "--target-fs", string(c.Image.FS))...)
			res := l.Boot(t, c)
			expectTree(t, res, predicted)
			for i := range programs {
				named := func(name string) string {
					if i > 0 {
						return fmt.Sprint(name, " ", i)
					}
					return name
				}
				expectAllowed(t, res, named("programs run"))
				expectAllowed(t, res, named("whole"))
				for j, name := range []string{"content", "mode", "record"} {
					if causes[j] == "" {
						expectAllowed(t, res, named(name))
					} else {
						expectDenied(t, res, named(name), "EACCES", causes[j])
					}
				}
			}
		})
	}
}

// signing is the command that signs, but for the PATH.
var signing = []string{"sign", "--quiet", "--key", "key", "--cert", "key.der", "--evm", "portable"}

// sign signs the archive, has imaseal verify it, spoils it, and makes the case one of
// signatures. It returns the options of imaseal check for that.
func (b bench) sign(c *Case, key signingKey) []string {
	private, err := os.ReadFile(key.private)
	check(b.t, err)
	c.Append, c.EVM = "ima_appraise=enforce", []string{"2"}
	c.Keys = []Key{IMAKey(key.der(b.t)), EVMKey(key.der(b.t))}
	c.Policy = append(slices.Clone(unjudged), "appraise fowner=0 appraise_type=imasig")
	check(b.t, errors.Join(os.WriteFile(b.path("key"), private, 0o600), os.Chown(b.path("key"), nobody, nobody), os.WriteFile(b.path("key.der"), key.der(b.t), 0o644),
		os.WriteFile(b.path("policy"), []byte(strings.Join(c.Policy, "\n")+"\n"), 0o644)))
	b.run("", slices.Concat([]string{"imaseal"}, signing, []string{"tar:t.tar", "--output", "labelled.tar"})...)
	b.run("", "imaseal", "verify", "--quiet", "--key", "key.der", "--require", "imasig,evm", "tar:labelled.tar")
	b.spoil("labelled.tar", "security.evm")
	return []string{"--policy", "policy", "--key", "key.der", "--evm-state", "x509"}
}
