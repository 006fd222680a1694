package stream

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPart: what one run leaves another goes on with, one at a time.
func TestPart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out")
	part := name + PartSuffix
	p, err := OpenPart(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPart(name); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	io.WriteString(p, "one\ntorn")
	p.Close()
	if _, err := os.Stat(name); err == nil {
		t.Error("it is there before it is whole")
	}
	if p, err = OpenPart(name); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(p.Content()); err != nil || string(b) != "one\ntorn" {
		t.Errorf("%q, %v", b, err)
	}
	if err := p.Continue(4); err != nil {
		t.Fatal(err)
	}
	io.WriteString(p, "two\n")
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if b, err := os.ReadFile(name); err != nil || string(b) != "one\ntwo\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("the part is left")
	}
	if p, err = OpenPart(name); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := os.Stat(part); err == nil {
		t.Error("an empty part is left")
	}
}

func TestPartErrors(t *testing.T) {
	dir := t.TempDir()
	for _, make := range []func(name string) error{
		func(name string) error { return os.Mkdir(name, 0o700) },
		func(name string) error { return os.Mkdir(name+PartSuffix, 0o700) },
		func(name string) error { return os.Symlink("/dev/null", name+PartSuffix) },
		func(name string) error { return unix.Mknod(name+PartSuffix, unix.S_IFIFO|0o600, 0) },
	} {
		name := filepath.Join(dir, "x")
		if err := make(name); err != nil {
			t.Fatal(err)
		}
		_, err := OpenPart(name)
		if _, ok := errors.AsType[*OutputError](err); !ok {
			t.Errorf("%v", err)
		}
		os.RemoveAll(name)
		os.RemoveAll(name + PartSuffix)
	}
	if _, err := OpenPart(filepath.Join(dir, "none/x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestSpool(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		f, err := Spool(strings.NewReader("content"), dir)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(f, 0, 100)); err != nil || string(b) != "content" {
			t.Errorf("%q, %v", b, err)
		}
		f.Close()
	}
	if _, err := Spool(strings.NewReader(""), "/none"); !isSpool(err) {
		t.Errorf("%v", err)
	}
	if _, err := Spool(broken{}, t.TempDir()); err != errBroken {
		t.Errorf("%v", err)
	}
}

func isSpool(err error) bool {
	_, ok := errors.AsType[*SpoolError](err)
	return ok
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }
