package treetest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Deep makes a chain of directories of the given depth, each with that name,
// below root, and calls each, if it is not nil, with a descriptor of each and
// its depth, from 1. The chain may be deeper than PATH_MAX allows: it is
// removed when the test ends, which os.RemoveAll cannot do.
func Deep(t testing.TB, root, name string, depth int, each func(dir, depth int)) {
	t.Helper()
	at, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeDeep(t, root, name) })
	defer func() { unix.Close(at) }()
	for i := range depth {
		if err := unix.Mkdirat(at, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
		if each != nil {
			each(at, i+1)
		}
	}
}

// removeDeep empties the chain from its top: what a directory holds is moved
// up next to it, so that no path grows long.
func removeDeep(t testing.TB, root, name string) {
	t.Helper()
	dir, err := os.OpenRoot(root)
	if err != nil {
		t.Error(err)
		return
	}
	defer dir.Close()
	const up = "\x01up" // no test uses this name
	for {
		if err := dir.Rename(name+"/"+name, up); err != nil {
			break
		}
		if err := dir.RemoveAll(name); err != nil {
			t.Error(err)
			return
		}
		if err := dir.Rename(up, name); err != nil {
			t.Error(err)
			return
		}
	}
	if err := dir.RemoveAll(name); err != nil {
		t.Error(err)
	}
}
