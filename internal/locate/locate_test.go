package locate

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	inodes := make(map[string]uint64)
	for _, name := range []string{"same", "old", "replaced", "removed", "dir/deep", "moved"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		inodes[name] = st.Ino
	}
	at := time.Now()
	time.Sleep(2 * coarse)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Rename(in("old"), in("new")), os.WriteFile(in("x"), nil, 0o600), os.Rename(in("x"), in("replaced")), os.Remove(in("removed")),
		os.WriteFile(in("later"), nil, 0o600), os.Rename(in("moved"), in("dir/moved")), os.Symlink("same", in("link")), os.Mkdir(in("d"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	later, err := look(in("later"))
	if err != nil {
		t.Fatal(err)
	}
	f := Open("")
	for _, test := range []struct {
		name  string
		inode uint64
		state State
		path  string
	}{
		{in("same"), inodes["same"], Same, "same"},
		{in("same"), 0, Same, "same"},
		{in("old"), inodes["old"], Renamed, "new"},
		{in("old"), 0, Gone, ""},
		{in("replaced"), inodes["replaced"], Replaced, "replaced"},
		{in("removed"), inodes["same"] + 1<<40, Gone, ""},
		{in("moved"), inodes["moved"], Gone, ""},    // to another directory
		{in("gone"), later.Ino, Gone, ""},           // the number is used again
		{in("later"), later.Ino, Replaced, "later"}, // likewise
		{in("link"), inodes["link"], Gone, ""},      // no file any more
		{in("d"), inodes["dir/deep"] + 1<<40, Gone, ""},
		{in("none/none"), 5, Gone, ""},
		{in("same/none"), 5, Gone, ""},
		{"same", inodes["same"], Pathless, ""},
		{"", 7, Pathless, ""},
	} {
		found := f.Find("", test.inode, test.name, at)
		path := ""
		if test.path != "" {
			path = in(test.path)
		}
		if found.State != test.state || found.Path != path || found.Changed.IsZero() != (path == "") {
			t.Errorf("%s, %d: %+v, want %s %s", test.name, test.inode, found, test.state, path)
		}
	}
}

// TestFilesystems: a file counts only on the file system that the record names.
func TestFilesystems(t *testing.T) {
	var st unix.Stat_t
	dir := t.TempDir()
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(t.TempDir(), "dm-7")
	numbers := deviceNumbers(uint64(st.Dev))
	root := t.TempDir()
	mounts := "1 0 " + numbers + " / / rw - btrfs " + device + " rw\nbad line\n9 9 x:y / / - a b\n"
	for _, err := range []error{
		os.WriteFile(device, nil, 0o600), os.MkdirAll(filepath.Join(root, "proc/self"), 0o755),
		os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mounts), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f := Open(root)
	for dev, state := range map[string]State{"dm-7": Same, "btrfs": Same, numbers: Same, "": Same, "vdz": Elsewhere, "overlay": Elsewhere} {
		if found := f.Find(dev, 0, name, time.Time{}); found.State != state {
			t.Errorf("%s: %+v, want %s", dev, found, state)
		}
	}
	for dev, want := range map[string]string{"dm-7": "/", numbers: "/", "btrfs": "", "vdz": ""} {
		if point, ok := f.Mounted(dev); point != want || ok != (want != "") {
			t.Errorf("%s is mounted at %q, %v", dev, point, ok)
		}
	}
	// Where nothing is known of what is mounted, the number alone counts.
	if found := Open(filepath.Join(root, "none")).Find("vdz", 0, name, time.Time{}); found.State != Same {
		t.Errorf("%+v", found)
	}
}

func deviceNumbers(dev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
}
