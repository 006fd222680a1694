package dump

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// record is of a file that has all labels.
func record(path string) labelfile.Record {
	return labelfile.Record{Path: path, Class: "sign", SELinux: []byte("t\x00"), IMA: []byte("\x04\x04i\xfb\xff"), EVMLabel: []byte("\x05e")}
}

// odd are names of files that formats may stumble over.
var odd = []string{
	"a", "dir/b", `back\slash`, `end\`, `"quoted"`, " blanks ", "tab\t", "cr\r", "x y=z", "#comment", "# file: x", "star*[a-z]?", "\u00fc", "\xff\x01", `\134`, "new\nline",
}

func TestTexts(t *testing.T) {
	const values = "security.selinux=0sdAA=\nsecurity.ima=0sBARp+/8=\nsecurity.evm=0sBWU=\n"
	for name, want := range map[string]string{"a b": "a b", `x\`: `x\134`, "n\nr\r": `n\012r\015`, "\xff\"": "\xff\""} {
		got, err := setfattr([]byte("before\n"), record(name))
		if err != nil || string(got) != "before\n# file: "+want+"\n"+values+"\n" {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{"a b": `"a b"`, `x\`: `"x\\"`, `"q"`: `"\"q\""`, "\xff\r": "\"\xff\r\""} {
		got, err := squashfs(nil, record(name))
		lines := strings.SplitAfter(values, "\n")
		if err != nil || string(got) != want+" x "+lines[0]+want+" x "+lines[1]+want+" x "+lines[2] {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if got, err := squashfs(nil, record("a\nb")); got != nil || err == nil || err.Error() != "a newline in the name, which squashfs has no way to write" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSetfattr has the program read what is written, whatever the names.
func TestSetfattr(t *testing.T) {
	treetest.Root(t)
	dir := treetest.Mount(t, "ext4", 16)
	labels := filepath.Join(t.TempDir(), "labels")
	out, err := stream.Create(t.Context(), labels)
	if err != nil {
		t.Fatal(err)
	}
	s := New(out, Setfattr)
	for _, name := range odd {
		treetest.Add(t, dir, "dir dir")
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(record(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(treetest.Tool(t, "setfattr"), "--restore="+labels)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Fatalf("%v: %s", err, said)
	}
	for _, name := range odd {
		for attr, want := range map[string]string{"security.selinux": "t\x00", "security.ima": "\x04\x04i\xfb\xff", "security.evm": "\x05e"} {
			value := make([]byte, 64)
			n, err := unix.Getxattr(filepath.Join(dir, name), attr, value)
			if err != nil || string(value[:n]) != want {
				t.Errorf("%q: %s is %q, %v", name, attr, value[:max(n, 0)], err)
			}
		}
	}
}

// one finds a file again and again.
type one struct{ tree.File }

func (one) Walk(_ context.Context, visit func(tree.Found) error) error {
	for range 1 << 20 {
		if err := visit(tree.Found{File: one{}}); err != nil {
			return err
		}
	}
	return nil
}

// TestFull: a walk ends when nothing can be written any more, and nothing is left.
func TestFull(t *testing.T) {
	for _, f := range []Format{JSON, Requests, Setfattr, Squashfs} {
		out, err := stream.Create(t.Context(), "/dev/full")
		if err != nil {
			t.Fatal(err)
		}
		s := New(out, f)
		source := s.Source(one{})
		n := 0
		err = source.Walk(t.Context(), func(tree.Found) error {
			n++
			s.Write(record("x"))
			return nil
		})
		if _, ok := errors.AsType[*stream.OutputError](err); !ok || !errors.Is(err, unix.ENOSPC) || n > 1<<12 {
			t.Errorf("%s: %v after %d files", f, err, n)
		}
		if notes := source.(tree.Noter).Notes(); s.Abort() != nil || !notes.Has(reason.NothingWritten) {
			t.Errorf("%v", notes)
		}
		if err := s.Commit(t.Context()); err == nil {
			t.Errorf("%s: committed all the same", f)
		}
	}
}

// TestAllOrNothing: there is a file when all is written, and else the old one.
func TestAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "labels")
	for _, end := range []string{"abort", "commit", "abort again"} {
		out, err := stream.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		s := New(out, JSON)
		if err := s.Write(record(end)); err != nil {
			t.Fatal(err)
		}
		if end == "commit" {
			err = s.Commit(t.Context())
		} else {
			err = s.Abort()
		}
		if notes := s.Source(one{}).(tree.Noter).Notes(); err != nil || notes.Has(reason.NothingWritten) == (end == "commit") {
			t.Errorf("%s: %v, %v", end, err, notes)
		}
		text, err := os.ReadFile(name)
		if end == "abort" {
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("there is %s", entries[0].Name())
			}
		} else if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), `"commit"`) {
			t.Errorf("%s: %q, %v", end, text, err)
		}
	}
}
