package tarball

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// command runs a program in a directory.
func command(t testing.TB, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(treetest.Tool(t, name), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return errs.String(), err
	}
	return string(out), nil
}

func mustRun(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	out, err := command(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

const (
	shortDir = "a directory with a name of a hundred bytes or so, that fits into the prefix of a header of ustar"
	longName = "directory/directory/directory/directory/directory/directory/directory/directory/directory/directory/" +
		"directory/directory/directory/directory/directory/directory/directory/directory/directory/directory/" +
		"directory/directory/directory/directory/directory/directory/directory/file with ümläuts"
)

// source makes a tree that is hard on tar programs. Names that old forms cannot
// have are left out.
func source(t *testing.T, isOld bool) string {
	t.Helper()
	dir := treetest.Make(t, `
		file bin/prog mode=04755 content="#!/bin/sh"
		file empty
		file "new\nline" content=x
		hard bin/hard bin/prog
		link bin/sym prog
		fifo p
		dir d mode=0700
		file d/block size=512
		file d/more size=513
		file z content=last`)
	if isOld {
		return dir
	}
	treetest.Add(t, dir, fmt.Sprintf("file %q content=long\nfile %q content=prefix\nlink long %q", longName, shortDir+"/file in it", longName))
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(40) { // more pieces than a header has room for
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i)}, 4096), i*3<<14); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(3 << 20); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"user.text": "text", "user.binary": "\x00=\n\xff"} {
		if err := unix.Setxattr(filepath.Join(dir, "z"), name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// makers make archives of a directory.
var makers = map[string]struct {
	isOld   bool
	program string
	args    []string
}{
	"GNU v7":         {true, "tar", []string{"--format=v7", "--exclude=./p"}},
	"GNU ustar":      {true, "tar", []string{"--format=ustar"}},
	"GNU oldgnu":     {false, "tar", []string{"--format=oldgnu"}},
	"GNU gnu":        {false, "tar", []string{"--format=gnu"}},
	"GNU posix":      {false, "tar", []string{"--format=posix"}},
	"GNU xattrs":     {false, "tar", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}},
	"GNU numeric":    {false, "tar", []string{"--format=gnu", "--owner=:5000000", "--group=:3000000000"}},
	"GNU sparse":     {false, "tar", []string{"--format=gnu", "--sparse"}},
	"GNU sparse 0.0": {false, "tar", []string{"--format=posix", "--sparse", "--sparse-version=0.0"}},
	"GNU sparse 0.1": {false, "tar", []string{"--format=posix", "--sparse", "--sparse-version=0.1"}},
	"GNU sparse 1.0": {false, "tar", []string{"--format=posix", "--sparse", "--sparse-version=1.0", "--xattrs", "--xattrs-include=*"}},
	"GNU label":      {false, "tar", []string{"--format=gnu", "--label=volume"}},
	"BSD pax":        {false, "bsdtar", []string{"--format=pax"}},
	"BSD xattrs":     {false, "bsdtar", []string{"--format=pax", "--xattrs"}},
	"BSD restricted": {false, "bsdtar", []string{"--format=paxr", "--xattrs"}},
	"BSD gnutar":     {false, "bsdtar", []string{"--format=gnutar"}},
	"BSD ustar":      {true, "bsdtar", []string{"--format=ustar"}},
	"BSD v7":         {true, "bsdtar", []string{"--format=v7"}},
	"busybox":        {true, "busybox", []string{"tar"}},
	"Python ustar":   {true, "python3", []string{"-c", python, "USTAR_FORMAT"}},
	"Python gnu":     {false, "python3", []string{"-c", python, "GNU_FORMAT"}},
	"Python pax":     {false, "python3", []string{"-c", python, "PAX_FORMAT"}},
}

// python is called with a format, and with what the others are called with.
const python = `
import sys, tarfile
with tarfile.open(sys.argv[3], "w", format=getattr(tarfile, sys.argv[1])) as t:
	t.add(".")`

// TestPrograms labels archives of many programs, and has many programs read them.
func TestPrograms(t *testing.T) {
	treetest.UserAttrs(t, t.TempDir())
	for name, m := range makers {
		t.Run(name, func(t *testing.T) {
			dir := source(t, m.isOld)
			in := filepath.Join(t.TempDir(), "t.tar")
			mustRun(t, dir, m.program, append(m.args, "-cf", in, ".")...)
			archive := load(t, in)
			out := in + ".out"
			task{in: in, out: out, job: hashes()}.must(t)
			got := load(t, out)
			if name != "GNU label" { // of which archive/tar knows nothing
				checkHashes(t, archive, got)
			}
			if again := labelled(t, got, hashes()); !bytes.Equal(again, got) {
				t.Error("a second run changes bytes")
			}
			if back := labelled(t, got, clearer()); !bytes.Equal(back, archive) {
				t.Error("without labels it is not what it was")
			}
			for _, list := range [][]string{{"tar", "--numeric-owner", "--full-time", "-tvf"}, {"bsdtar", "-tvf"}, {"python3", "-c", pythonList}} {
				was, is := mustRun(t, "", list[0], append(list[1:], in)...), mustRun(t, "", list[0], append(list[1:], out)...)
				if was != is {
					t.Errorf("%s lists\n%s\nand before\n%s", list[0], is, was)
				}
			}
			asUser := filepath.Join(t.TempDir(), "user.tar")
			renamed(t, in, asUser)
			for _, unpack := range [][]string{{"tar", "--xattrs", "--xattrs-include=*", "-xf"}, {"bsdtar", "--xattrs", "-xf"}} {
				to := t.TempDir()
				mustRun(t, to, unpack[0], append(unpack[1:], asUser)...)
				checkUnpacked(t, dir, to)
			}
		})
	}
}

// pythonList lists an archive with all that tarfile knows, and the contents.
const pythonList = `
import hashlib, sys, tarfile
with tarfile.open(sys.argv[1]) as t:
	for m in t:
		content = hashlib.sha256(t.extractfile(m).read()).hexdigest() if m.isreg() else None
		print(repr(m.name), m.type, m.linkname, m.size, m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime, m.devmajor, m.devminor, m.sparse,
			{k: v for k, v in m.pax_headers.items() if not k.startswith("SCHILY.xattr.security.")}, content)`

// renamed hashes an archive into user.ima, which everybody may unpack.
func renamed(t *testing.T, in, out string) {
	t.Helper()
	names := tree.Namespace{From: "security.", To: "user."}
	a, err := Open(in, nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	s, err := a.NewSink(t.Context(), Output{Path: out})
	if err != nil {
		t.Fatal(err)
	}
	rec := new(recorder)
	r := run.Run{Source: names.Source(a), Sink: names.Sink(s), Job: hashes(), Report: rec}
	if _, err := r.Do(t.Context()); err != nil || rec.count(report.Failed) > 0 {
		t.Fatalf("%v, %+v", err, rec.summary)
	}
}

// checkUnpacked compares a tree with what it was packed from, and looks at the
// labels.
func checkUnpacked(t *testing.T, from, to string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n++
		rel, _ := filepath.Rel(from, path)
		want, is := load(t, path), filepath.Join(to, rel)
		if got := load(t, is); !bytes.Equal(got, want) {
			t.Errorf("%s has another content", rel)
		}
		sum := sha256.Sum256(want)
		label := make([]byte, 100)
		size, err := unix.Getxattr(is, "user.ima", label)
		if err != nil || string(label[:size]) != "\x04\x04"+string(sum[:]) {
			t.Errorf("%s has the label %x, %v", rel, label[:max(size, 0)], err)
		}
		return nil
	})
	if err != nil || n < 7 {
		t.Errorf("%d files, %v", n, err)
	}
}

// TestLayer labels a layer of an image: whiteouts are files, too, and empty.
func TestLayer(t *testing.T) {
	archive := write(t,
		&tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		&tar.Header{Name: "etc/.wh.removed"},
		&tar.Header{Name: "etc/dir/.wh..wh..opq"},
		&tar.Header{Name: "usr/bin/new", Mode: 0o755, Size: 4000, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		&tar.Header{Name: "usr/bin/hard", Typeflag: tar.TypeLink, Linkname: "usr/bin/new"},
	)
	got := labelled(t, archive, signatures(t))
	all, labels := entries(t, got)
	for i, e := range all {
		if isFile := e.Typeflag == tar.TypeReg; isFile != (len(labels[i]) == 2) {
			t.Errorf("%s has the labels %q", e.Name, labels[i])
		}
	}
	if rec := (task{in: save(t, got), job: verifier(t)}).must(t); rec.count(report.Valid) != 3 {
		t.Errorf("%+v", rec.summary)
	}
	if back := labelled(t, got, clearer()); !bytes.Equal(back, archive) {
		t.Error("without labels it is not what it was")
	}
}
