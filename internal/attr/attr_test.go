package attr

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

func file(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// roundTrip sets, reads, lists and removes values of every size that matters.
func roundTrip(t *testing.T, f File, name string, sizes ...int) {
	t.Helper()
	if v, err := Get(f, name); v != nil || err != ErrNotSet {
		t.Errorf("before: %v, %v", v, err)
	}
	for _, size := range sizes {
		want := bytes.Repeat([]byte{0x5a}, size)
		if err := Set(f, name, want); err != nil {
			t.Errorf("setting %d bytes: %v", size, err)
			continue
		}
		got, err := Get(f, name)
		if err != nil || got == nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes became %d, nil %v, %v", size, len(got), got == nil, err)
		}
		names, err := List(f)
		if err != nil || !slices.Contains(names, name) {
			t.Errorf("list %q, %v", names, err)
		}
	}
	if err := Remove(f, name); err != nil {
		t.Error(err)
	}
	if v, err := Get(f, name); v != nil || err != ErrNotSet {
		t.Errorf("after: %v, %v", v, err)
	}
	if err := Remove(f, name); err != ErrNotSet {
		t.Errorf("removing again: %v", err)
	}
	if names, err := List(f); err != nil || slices.Contains(names, name) {
		t.Errorf("list %q, %v", names, err)
	}
}

func TestFS(t *testing.T) {
	treetest.Leaks(t)
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	roundTrip(t, file(t, dir), "user.imaseal", 1, 0, usualSize-1, usualSize, usualSize+1, 1024, 2000)
}

// The kernel allows 64 KiB, which not every file system can hold.
func TestFSBigValues(t *testing.T) {
	treetest.Leaks(t)
	for _, fstype := range []string{"xfs", "ext4"} {
		t.Run(fstype, func(t *testing.T) {
			options := map[string][]string{"ext4": {"-O ea_inode -b 4096"}}[fstype]
			dir := treetest.Mount(t, fstype, map[string]int{"xfs": 320, "ext4": 32}[fstype], options...)
			roundTrip(t, file(t, dir), "security.imaseal", 0, 1, 4096, 64<<10-1, 64<<10)
		})
	}
}

func TestFSManyNames(t *testing.T) {
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	f := file(t, dir)
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("user.%02d%s", i, strings.Repeat("n", 100)) // more than the first buffer
		if err := Set(f, name, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	names, err := List(f)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "user.") })
	slices.Sort(names)
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%d of %d names, %v", len(names), len(want), err)
	}
}

func TestFSSecurity(t *testing.T) {
	treetest.Leaks(t)
	for _, fstype := range []string{"ext4", "xfs", "tmpfs"} {
		t.Run(fstype, func(t *testing.T) {
			dir := treetest.Mount(t, fstype, map[string]int{"xfs": 320, "ext4": 16, "tmpfs": 1}[fstype])
			roundTrip(t, file(t, dir), "security.imaseal", 34, 600)
		})
	}
}

// Errors name the attribute and what was tried, never the file; a file system
// without attributes is not one whose files have none.
func TestErrors(t *testing.T) {
	treetest.Leaks(t)
	dir := t.TempDir()
	f := file(t, dir)
	const name = "nonsense.imaseal" // no file system knows these
	check := func(what string, err error, text string) {
		t.Helper()
		if !errors.Is(err, unix.EOPNOTSUPP) || err == ErrNotSet || !strings.HasPrefix(err.Error(), text) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
	_, err := Get(f, name)
	check("get", err, "reading nonsense.imaseal: operation not supported")
	check("set", Set(f, name, nil), "writing nonsense.imaseal: ")
	check("remove", Remove(f, name), "removing nonsense.imaseal: ")
	if err := Set(f, "user."+strings.Repeat("n", 300), nil); err == nil {
		t.Error("a name that is too long is no error")
	}
}

func TestByPath(t *testing.T) {
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	f := file(t, dir)
	if err := Set(f, "user.imaseal", []byte("x")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(f.Name(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := os.NewFile(uintptr(fd), f.Name())
	defer path.Close()
	if err := os.Rename(f.Name(), f.Name()+".moved"); err != nil { // the name is no matter
		t.Fatal(err)
	}
	if v, err := ByPath(path, f.Name(), "user.imaseal"); string(v) != "x" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := ByPath(path, f.Name(), "user.none"); err != ErrNotSet {
		t.Error(err)
	}
}
