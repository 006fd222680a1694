package walk

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

const tmpfsMagic = unix.TMPFS_MAGIC

// bind mounts a directory or file in another place until the test ends.
func bind(t *testing.T, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, unix.UMOUNT_NOFOLLOW); err != nil {
			t.Error(err)
		}
	})
}

func TestOtherFilesystems(t *testing.T) {
	treetest.Leaks(t)
	other, memory := treetest.Mount(t, "ext4", 8), treetest.Mount(t, "tmpfs", 1)
	root := treetest.Make(t, "file a\nfile file\ndir ext4\ndir tmpfs/in\nfile z")
	treetest.Add(t, other, "file x\nfile sub/y")
	treetest.Add(t, memory, "file x\nfile sub/y")
	bind(t, other, root+"/ext4")
	bind(t, memory, root+"/tmpfs/in")
	bind(t, other+"/x", root+"/file")

	pseudo := func(magic uint32) bool { return magic == tmpfsMagic }
	here := map[string]string{
		"a": "file", "z": "file",
		"file": "other filesystem", "ext4": "other filesystem", "tmpfs/in": "other filesystem",
	}
	there := map[string]string{
		"a": "file", "z": "file", "file": "file",
		"ext4/x": "file", "ext4/sub/y": "file", "ext4/lost+found": "", "tmpfs/in/x": "file", "tmpfs/in/sub/y": "file",
	}
	delete(there, "ext4/lost+found")
	mixed := maps.Clone(there)
	maps.DeleteFunc(mixed, func(rel, _ string) bool { return strings.HasPrefix(rel, "tmpfs") })
	mixed["tmpfs/in"] = "pseudo-filesystem"
	tests := []struct {
		name string
		cfg  Config
		want map[string]string
	}{
		{"one", Config{}, here},
		{"one, pseudo", Config{Pseudo: pseudo}, here},
		{"cross", Config{CrossFilesystems: true}, there},
		{"cross, pseudo", Config{CrossFilesystems: true, Pseudo: pseudo}, mixed},
	}
	for _, tt := range tests {
		for _, workers := range []int{1, 3} {
			for _, count := range []bool{false, true} {
				t.Run(tt.name, func(t *testing.T) {
					tt.cfg.Workers, tt.cfg.CountOnly = workers, count
					wantOutcomes(t, collect(t, tt.cfg, standard, root).outcomes(), tt.want)
				})
			}
		}
	}

	t.Run("a mount given as a path of its own", func(t *testing.T) {
		v := collect(t, Config{CrossFilesystems: true, Pseudo: pseudo}, standard, root, root+"/ext4")
		got := v.paths(root + "/")
		if got["ext4"] != "given as a path of its own" || got["ext4/sub/y"] != "file" {
			t.Errorf("%v", got)
		}
	})
	t.Run("roots know their file system", func(t *testing.T) {
		roots := open(t, root+"/ext4", root+"/tmpfs/in")
		if roots[0].Magic() != unix.EXT4_SUPER_MAGIC || roots[1].Magic() != tmpfsMagic {
			t.Errorf("magic %x and %x", roots[0].Magic(), roots[1].Magic())
		}
	})
}

// Files of an overlay have the device number of their layer, and belong to it
// all the same. One that is mounted on another does not.
func TestOverlay(t *testing.T) {
	treetest.Leaks(t)
	lower, upper := treetest.Mount(t, "ext4", 8), treetest.Mount(t, "ext4", 8)
	treetest.Add(t, lower, "file a\nfile d/b\nfile mounted")
	treetest.Add(t, upper, "dir upper\ndir work\nfile upper/c")
	root := treetest.Make(t, "dir o\nfile outside")
	options := "lowerdir=" + lower + ",upperdir=" + upper + "/upper,workdir=" + upper + "/work"
	if err := unix.Mount("overlay", root+"/o", "overlay", 0, options); err != nil {
		t.Skip("needs overlayfs: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root+"/o", unix.UMOUNT_NOFOLLOW); err != nil {
			t.Error(err)
		}
	})
	bind(t, root+"/outside", root+"/o/mounted")
	for _, count := range []bool{false, true} {
		got := collect(t, Config{CountOnly: count}, standard, root+"/o").outcomes()
		delete(got, "lost+found")
		wantOutcomes(t, got, map[string]string{"a": "file", "d/b": "file", "c": "file", "mounted": "other filesystem"})
	}
}

// Each name of a file of a lower layer is a file of its own once one is changed:
// all are visited, in the tree and as paths, whether the overlay keeps an index or
// not.
func TestOverlayLinks(t *testing.T) {
	treetest.Leaks(t)
	for _, index := range []string{"off", "on"} {
		t.Run("index="+index, func(t *testing.T) {
			layers := treetest.Mount(t, "ext4", 8)
			treetest.Add(t, layers, "dir lower\ndir upper\ndir work\nfile lower/a content=x\nhard lower/d/b lower/a")
			root := treetest.Make(t, "dir o")
			options := "lowerdir=" + layers + "/lower,upperdir=" + layers + "/upper,workdir=" + layers + "/work,index=" + index
			if err := unix.Mount("overlay", root+"/o", "overlay", 0, options); err != nil {
				t.Skip("needs overlayfs: ", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(root+"/o", unix.UMOUNT_NOFOLLOW); err != nil {
					t.Error(err)
				}
			})
			want := map[string]string{"a": "file", "d/b": "file"}
			for _, workers := range []int{1, 3} {
				wantOutcomes(t, collect(t, Config{Workers: workers}, standard, root+"/o").outcomes(), want)
			}
			var named []string // the tree, and one of the names besides
			for _, e := range collect(t, Config{}, standard, root+"/o/d/b", root+"/o").entries {
				named = append(named, strings.TrimPrefix(e.Path, root)+": "+outcome(e))
			}
			slices.Sort(named)
			if want := []string{"/o/a: file", "/o/d/b: file", "/o/d/b: given as a path of its own"}; !slices.Equal(named, want) {
				t.Errorf("%q", named)
			}
			// As the label of the one is written, the other stays what it was.
			if err := unix.Setxattr(root+"/o/a", "trusted.imaseal", []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
			_, err := unix.Getxattr(root+"/o/d/b", "trusted.imaseal", make([]byte, 1))
			if copied := err == unix.ENODATA; copied != (index == "off") {
				t.Errorf("the other name: %v", err)
			}
			wantOutcomes(t, collect(t, Config{}, standard, root+"/o").outcomes(), want)
		})
	}
}

func TestReadOnlyRoot(t *testing.T) {
	treetest.Leaks(t)
	if !open(t, treetest.Mount(t, "ext4", 8, "ro"))[0].ReadOnly() {
		t.Error("not read-only")
	}
}

// A file system that is mounted on a directory after it was looked at is not
// entered.
func TestMountedDuringWalk(t *testing.T) {
	treetest.Leaks(t)
	other := treetest.Mount(t, "tmpfs", 1)
	treetest.Add(t, other, "file x")
	root := treetest.Make(t, "file d/inside")
	r := &reader{w: &walker{ctx: t.Context(), limits: standard, visit: (&visits{t: t}).visit}}
	top, err := r.w.rootDir(open(t, root)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.w.release(top)
	d := &dir{root: top.root, parent: top, name: "d", fd: -1, refs: 1}
	if skip, err := r.mayEnter(d, top.fd); skip != "" || err != nil {
		t.Fatal(skip, err)
	}
	bind(t, other, root+"/d")
	if _, err := r.enter(d); err != nil {
		t.Fatal(err)
	}
	if d.fd >= 0 {
		t.Error("entered")
	}
}

// An ext4 without the filetype feature leaves the types of all names unknown.
func TestFileSystemWithoutTypes(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Mount(t, "ext4", 8, "-O ^filetype")
	treetest.Add(t, root, "file a\nfile b/c\nlink l a\nfifo p\nchar null 1:3\nhard h a")
	w := &walker{ctx: t.Context(), limits: standard}
	d, err := w.rootDir(open(t, root)[0])
	if err != nil {
		t.Fatal(err)
	}
	c, at := new(chunk), int64(0)
	if _, err := newReader(w, false).fill(d, c, &at); err != nil {
		t.Fatal(err)
	}
	w.release(d)
	if !slices.ContainsFunc(c.entries, func(e dirent) bool { return e.typ == unix.DT_UNKNOWN }) {
		t.Fatal("the file system knows types")
	}
	for _, workers := range []int{1, 2} {
		got := make(map[string]int)
		for _, o := range collect(t, Config{Workers: workers}, standard, root).outcomes() {
			got[o]++
		}
		want := map[string]int{"file": 2, "hard link": 1, "symbolic link": 1, "special file": 2}
		if !maps.Equal(got, want) {
			t.Errorf("%d workers: %v, want %v", workers, got, want)
		}
	}
}
