package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"imaseal/internal/inode"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// mount mounts an image, and returns the directory.
func mount(t *testing.T, image, options string) string {
	t.Helper()
	treetest.Root(t)
	dir := t.TempDir()
	if out, err := exec.Command(treetest.Tool(t, "mount"), "-o", "loop,"+options, image, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
}

// TestKernelReads has the kernel read what debugfs was told to write, into file
// systems on which it had written attributes before: in blocks that files share, of
// access control lists, in inodes of their own.
func TestKernelReads(t *testing.T) {
	treetest.Root(t)
	for name, options := range map[string][]string{
		"default": {"-b", "4096"}, "1k": {"-b", "1024"}, "ea_inode": {"-O", "ea_inode", "-b", "1024"}, "inline": {"-O", "inline_data"},
		"old": {"-t", "ext3", "-I", "128"}, "bigalloc": {"-O", "bigalloc", "-C", "16384"}, "verity": {"-O", "verity,encrypt,stable_inodes"},
	} {
		t.Run(name, func(t *testing.T) {
			x := treetest.Ext4(t, treetest.Make(t, ""), 64, options...)
			dir := mount(t, x, "rw")
			paths := fill(t, dir, name)
			before := attrsOf(t, dir, paths)
			unmount(t, dir)
			for i, value := range []string{"one", strings.Repeat("two", 100), ""} {
				if err := label(t, x, Output{InPlace: true}, []byte(value)); err != nil {
					t.Fatal(err)
				}
				treetest.Fsck(t, x)
				dir := mount(t, x, "ro")
				after := attrsOf(t, dir, paths)
				unmount(t, dir)
				for _, path := range paths {
					if before[path]["security.ima"] = value; fmt.Sprintf("%q", after[path]) != fmt.Sprintf("%q", before[path]) {
						t.Errorf("%d: %s has %q, want %q", i, path, after[path], before[path])
					}
				}
			}
		})
	}
}

// fill makes files with attributes, and returns their paths.
func fill(t *testing.T, dir, name string) []string {
	t.Helper()
	var paths []string
	for i := range 12 {
		path := filepath.Join(dir, fmt.Sprint("f", i))
		if err := os.WriteFile(path, bytes.Repeat([]byte("content"), i*i*i), 0o644); err != nil {
			t.Fatal(err)
		}
		set := func(name, value string) {
			if err := xattr.Set(path, name, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case i < 4: // a block that they share
			set("user.same", strings.Repeat("same", 60))
			set("trusted.same", "same")
		case i == 4:
			set("security.selinux", "system_u:object_r:bin_t:s0\x00")
		case i == 5:
			set("user.empty", "")
		case i == 6:
			if out, err := exec.Command(treetest.Tool(t, "setfacl"), "-m", "u:7:r,g:8:rx", path).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		case i == 7 && name == "ea_inode":
			set("user.large", strings.Repeat("large", 1000))
		}
		paths = append(paths, "/"+filepath.Base(path))
	}
	return paths
}

func attrsOf(t *testing.T, dir string, paths []string) map[string]map[string]string {
	t.Helper()
	all := make(map[string]map[string]string)
	for _, path := range paths {
		names, err := xattr.LList(dir + path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = make(map[string]string)
		for _, name := range names {
			value, err := xattr.LGet(dir+path, name)
			if err != nil {
				t.Fatalf("%s: %s: %v", path, name, err)
			}
			all[path][name] = string(value)
		}
	}
	return all
}

// TestAttached refuses an image while it is mounted, or attached only.
func TestAttached(t *testing.T) {
	treetest.Root(t)
	x := image(t, "file f content=f\n")
	link := filepath.Join(t.TempDir(), "hard")
	if err := os.Link(x, link); err != nil {
		t.Fatal(err)
	}
	dir := mount(t, x, "ro")
	for _, name := range []string{x, link} {
		_, err := Open(name, Config{})
		if a, ok := errors.AsType[*AttachedError](err); !ok || !strings.HasPrefix(a.Device, "/dev/loop") {
			t.Errorf("%s: %v", name, err)
		}
	}
	unmount(t, dir)
	if _, err := Open(x, Config{}); err != nil {
		t.Error(err)
	}
	_, err := Open("/dev/loop0", Config{})
	if !errors.Is(err, ErrDevice) {
		t.Errorf("a device: %v", err)
	}
}

// TestBound compares inode, generation and UUID with the kernel's.
func TestBound(t *testing.T) {
	treetest.Root(t)
	x := treetest.Ext4(t, treetest.Make(t, "file a\nfile d/b\n"), 8)
	dir := mount(t, x, "rw")
	for i := range 5 { // which get generations of their own
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("new", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := make(map[string]string)
	for _, rel := range []string{"a", "d/b", "new0", "new4"} {
		f, err := os.Open(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		generation, err := inode.Generation(f)
		if err != nil {
			t.Fatal(err)
		}
		uuid, err := inode.UUID(f)
		if err != nil {
			t.Fatal(err)
		}
		want[rel] = fmt.Sprint(st.Ino, generation, uuid)
		f.Close()
	}
	unmount(t, dir)
	im, err := Open(x, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	err = im.Walk(t.Context(), func(found tree.Found) error {
		if found.File == nil {
			return nil
		}
		f := found.File.(*File)
		generation, _ := f.Generation()
		uuid, _ := f.UUID()
		if w, ok := want[f.Rel()]; ok && fmt.Sprint(f.Inode(), generation, uuid) != w {
			t.Errorf("%s is %d %d %v, want %s", f.Rel(), f.Inode(), generation, uuid, w)
		}
		delete(want, f.Rel())
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v, %v", err, want)
	}
}
