package mounted

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// openBeside opens a file of a tree of its own, until the test ends.
func openBeside(t *testing.T, name string) *File {
	t.Helper()
	opened, err := Open(nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	found := opened.OpenFile(name)
	f, ok := tree.As[*File](found.File)
	if !ok {
		t.Fatalf("%+v", found)
	}
	t.Cleanup(func() { f.Close(); opened.Close() })
	return f
}

// The file beside another one is read whatever it holds, if it can be one of a
// signature: nobody is led elsewhere, or kept waiting.
func TestSidecar(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file none
		file there
		file there.sig content=label
		file empty
		file empty.sig
		file link
		link link.sig there.sig
		file fifo
		fifo fifo.sig
		file dir
		dir dir.sig
		file largest
		file larger
	`)
	largest := bytes.Repeat([]byte{3}, maxSidecar)
	for name, content := range map[string][]byte{"largest.sig": largest, "larger.sig": append(largest, 3)} {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		content []byte
		err     string
	}{
		"none":    {nil, tree.ErrNoAttr.Error()},
		"there":   {[]byte("label"), ""},
		"empty":   {[]byte{}, ""},
		"link":    {nil, errNotRegular.Error()},
		"fifo":    {nil, errNotRegular.Error()},
		"dir":     {nil, errNotRegular.Error()},
		"largest": {largest, ""},
		"larger":  {nil, "file is too long for a label"},
	} {
		got, err := openBeside(t, filepath.Join(root, name)).Sidecar()
		if want.err == "" && (err != nil || !bytes.Equal(got, want.content)) || want.err != "" && (err == nil || err.Error() != want.err) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if name == "none" && err != tree.ErrNoAttr {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file beside another one is replaced in one step: whoever has the old one open
// keeps it, what is no file gives way only if it is none that holds others, and
// nothing is left behind.
func TestWriteSidecar(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file new
		file old
		file old.sig content=old mode=0600
		file link
		link link.sig target
		file target content=untouched
		file dir
		file dir.sig/full
	`)
	held, err := os.Open(root + "/old.sig")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	sink := new(Sink)
	defer sink.Abort()
	for name, want := range map[string]error{"new": nil, "old": nil, "link": nil, "dir": unix.EEXIST} {
		f := openBeside(t, filepath.Join(root, name))
		err := sink.Apply(f, []tree.Change{{Attr: tree.SidecarAttr, New: []byte("label")}})
		if (err == nil) != (want == nil) || err != nil && !errors.Is(err, want) && !errors.Is(err, unix.EISDIR) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), root) {
			t.Errorf("%s is named in %v", name, err)
		}
		if want != nil {
			continue
		}
		if got, err := f.Sidecar(); string(got) != "label" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		info, err := os.Lstat(filepath.Join(root, name+".sig"))
		if err != nil || info.Mode()&^0o022 != sidecarMode&^0o022 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	for name, want := range map[string]string{"target": "untouched", "dir.sig/full": ""} {
		if got, err := os.ReadFile(filepath.Join(root, name)); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if b, err := io.ReadAll(held); string(b) != "old" || err != nil {
		t.Errorf("whoever had it open reads %q, %v", b, err)
	}
	left, err := filepath.Glob(root + "/.imaseal-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
