package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"imaseal/internal/treetest"
)

// standIns make what the blocks of doc/images.md make that run elsewhere: a small
// tree, packed as the program packs it. Sources: mmdebstrap itself, which makes
// /dev first; mkosi/archive.py of mkosi; meta/classes-recipe/image_types.bbclass of
// openembedded-core; fs/tar/tar.mk of Buildroot. That of BuildKit is made by
// archive/tar here as there.
const standIns = `
as_root='--owner=0 --group=0'
tar $as_root --numeric-owner --xattrs --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
	-C root -c . | cat dev.part - >root.tar
tar $as_root --acls --selinux --xattrs --pax-option=delete=atime,delete=ctime,delete=mtime --sparse --force-local \
	-C root -c . | zstd -q >image.tar.zst
deploy=tmp/deploy/images/qemux86-64
mkdir -p $deploy output/images
tar $as_root --sort=name --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner -C root -c . |
	zstd -q >$deploy/core-image-minimal-qemux86-64.rootfs.tar.zst
cd root
find . -print0 | LC_ALL=C sort -z |
	tar $as_root --pax-option=exthdr.name=%d/PaxHeaders/%f,atime:=0,ctime:=0 -cf ../output/images/rootfs.tar \
	--null --xattrs-include='*' --no-recursion -T - --numeric-owner
`

// TestImagesDocument runs the commands of doc/images.md, in their order, as an
// ordinary user. Words behind "sh" are programs that a block needs, and
//
//	elsewhere  what it makes is there already: see standIns
//	lab        its program is newer than Debian 12: package kernellab has it
//	root       it is run by root with IMASEAL_TEST=root, in a directory of its own;
//	           for the others its result is that of elsewhere, which is smaller
func TestImagesDocument(t *testing.T) {
	for _, tool := range []string{"tar", "zstd"} {
		treetest.Tool(t, tool)
	}
	dir := filepath.Join(xattrDir(t), "images")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	treetest.Add(t, dir, `
		file root/etc/os-release content="NAME=small"
		file root/usr/bin/program mode=0755 content="#!/bin/sh"
		file root/usr/bin/set-id mode=04755 content="#!/bin/sh\nexit 1"
		link root/bin usr/bin
		hard root/usr/bin/other root/usr/bin/program
		file root/empty`)
	packInGo(t, dir)
	d := document{dir: dir, bin: copySelf(t, filepath.Join(filepath.Dir(dir), "bin"))}
	if out, err := d.sh(standIns); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.user = ordinary(t, dir)
	for i, b := range docBlocks(t, "doc/images.md", 15) {
		first, _, _ := strings.Cut(b.text, "\n")
		t.Run(fmt.Sprintf("%02d %s", i+1, first), func(t *testing.T) {
			if b.has("elsewhere") || b.has("lab") {
				t.Skip("it runs elsewhere")
			}
			d := d
			if b.has("root") {
				if !slices.Contains(strings.Fields(os.Getenv("IMASEAL_TEST")), "root") || os.Geteuid() != 0 {
					t.Skip("set IMASEAL_TEST=root, and be root")
				}
				d.dir, d.user = t.TempDir(), nil
			}
			for _, word := range b.words {
				if word != "root" {
					treetest.Tool(t, word)
				}
			}
			if out, err := d.sh(b.text); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A document is one whose blocks are run in a directory, by a user.
type document struct {
	dir, bin string
	user     *syscall.Credential // nil for the one who runs the test
}

func (d document) sh(script string) (string, error) {
	cmd := exec.Command("sh", "-eux")
	cmd.Dir, cmd.Stdin = d.dir, strings.NewReader(script)
	cmd.Env = append(os.Environ(), "PATH="+d.bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "HOME="+d.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.user}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// packInGo writes docker.tar, and the beginning of an archive with devices, which
// only root could make.
func packInGo(t *testing.T, dir string) {
	t.Helper()
	var dev, docker bytes.Buffer
	w := tar.NewWriter(&dev)
	for _, h := range []tar.Header{
		{Name: "./dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/console", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 5, Devminor: 1},
		{Name: "./dev/fd", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/fd"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	err := w.Flush() // it goes on
	w = tar.NewWriter(&docker)
	err = errors.Join(err, w.AddFS(os.DirFS(filepath.Join(dir, "root"))), w.Close(),
		os.WriteFile(filepath.Join(dir, "dev.part"), dev.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "docker.tar"), docker.Bytes(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// copySelf copies this program into a directory, as imaseal, for users who do not
// come to where it is.
func copySelf(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	to, err := os.OpenFile(filepath.Join(dir, "imaseal"), os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if closeErr := to.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// nobody is a user without any privilege.
const nobody = 65534

// ordinary returns an ordinary user, to whom it gives the directory; nil for the
// one who runs the test, if that is one.
func ordinary(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprint(nobody, ":", nobody), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return &syscall.Credential{Uid: nobody, Gid: nobody}
}
