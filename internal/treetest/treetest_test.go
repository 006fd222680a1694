package treetest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMake(t *testing.T) {
	root := Make(t, `
		file etc/passwd mode=0640 content=root
		file "a \n b" content="two words\n"
		file sparse size=1048576 content=x
		file suid mode=4755
		dir closed mode=0500
		link a etc/passwd
		hard b etc/passwd
		fifo p
		sock s
	`)
	want := map[string]string{
		"etc/passwd": "-rw-r-----", "a \n b": "-rw-r--r--", "sparse": "-rw-r--r--", "suid": "urwxr-xr-x",
		"closed": "dr-x------", "a": "Lrwxrwxrwx", "b": "-rw-r-----", "p": "prw-r--r--",
	}
	for name, mode := range want {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().String() != mode {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), mode)
		}
	}
	if b, err := os.ReadFile(filepath.Join(root, "a \n b")); string(b) != "two words\n" {
		t.Errorf("content %q, %v", b, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "sparse"), &st); err != nil || st.Size != 1<<20 || st.Blocks*512 > 1<<19 {
		t.Errorf("sparse file has %d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	if info, err := os.Lstat(filepath.Join(root, "s")); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("socket: %v, %v", info, err)
	}
	if a, b := stat(t, root, "b"), stat(t, root, "etc/passwd"); a.Ino != b.Ino {
		t.Error("b is no hard link")
	}
}

func stat(t *testing.T, root, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"fil a", "file", "link a", "file a mode=9", "file a colour=red", `file "a`} {
		if e, err := parse(line); err == nil {
			t.Errorf("%q is %+v, want an error", line, e)
		}
	}
}

func TestDeep(t *testing.T) {
	Leaks(t)
	root := t.TempDir()
	t.Cleanup(func() {
		if names, err := os.ReadDir(root); err != nil || len(names) != 0 {
			t.Errorf("left in the tree: %v, %v", names, err)
		}
	})
	last := 0
	Deep(t, root, strings.Repeat("d", 200), 100, func(dir, depth int) {
		last = depth
		if err := unix.Mknodat(dir, "file", unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	})
	if last != 100 {
		t.Errorf("%d levels, want 100", last)
	}
}

func TestMount(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs", "tmpfs"} {
		t.Run(fstype, func(t *testing.T) {
			Leaks(t)
			size := map[string]int{"ext4": 16, "xfs": 320, "tmpfs": 1}[fstype]
			root := Mount(t, fstype, size, "noatime")
			Add(t, root, "file a content=x")
			all := state()
			if !slices.Contains(all, "mount on "+root) {
				t.Errorf("no mount on %s in %q", root, all)
			}
			if image := root + ".img"; fstype != "tmpfs" && !slices.Contains(all, "loop device of "+image) {
				t.Errorf("no loop device of %s in %q", image, all)
			}
		})
	}
}

func TestAsUser(t *testing.T) {
	if AsUser(t) && os.Geteuid() == 0 {
		t.Error("still root")
	}
}

// Mounts of other processes are not this one's, whatever their tests are called.
func TestLeaksOfOthers(t *testing.T) {
	Root(t)
	dir := t.TempDir() // as good as that of another process, for it has no part in the list
	before := state()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, dir)
	if left := more(before, state()); len(left) != 0 {
		t.Errorf("found %q", left)
	}
}

func TestLeaksFinds(t *testing.T) {
	before := state()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan struct{})
	defer close(done)
	go func() { <-done }()
	if left := more(before, state()); len(left) != 2 {
		t.Errorf("found %q, want a descriptor and a goroutine", left)
	}
}
