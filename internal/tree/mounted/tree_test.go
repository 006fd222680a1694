package mounted_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/inode"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// walkAll returns what a tree finds, by path.
func walkAll(t *testing.T, of *mounted.Tree) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := of.Walk(t.Context(), func(found tree.Found) error {
		if _, ok := all[found.Path]; ok {
			t.Errorf("%s is found twice", found.Path)
		}
		all[found.Path] = fmt.Sprint(found.Skip, found.Err)
		if found.File != nil {
			all[found.Path] = fmt.Sprintf("%s, %s, %s", found.File.Name(), found.File.Rel(), found.File.Full())
			found.File.Close()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Of several roots those that are missing fail, and have not vanished; the rest is
// done. Where none is there, that is the error.
func TestMissingRoots(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file good content=x\nfile bad content=y")
	paths := []string{root + "/good", root + "/missing", root + "/bad"}
	rec := new(runtest.Recorder)
	if _, err := (runtest.Run{Job: unforced(), Report: rec}).Do(t.Context(), t, paths...); err != nil {
		t.Fatal(err)
	}
	results := runtest.ByPath(t, rec.Results, root)
	runtest.WantOutcomes(t, results, map[string]string{"good": "labelled", "bad": "labelled", "missing": "failed"})
	if err := results["missing"].Err; !errors.Is(err, mounted.ErrNoPath) || errors.Is(err, fs.ErrNotExist) || fmt.Sprint(err) != "opening: no such file or directory" {
		t.Errorf("%v", err)
	}
	for _, lenient := range []bool{false, true} {
		if _, err := mounted.Open(paths[1:2], mounted.Config{Lenient: lenient}); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	if _, err := mounted.Open(paths, mounted.Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	list, err := mounted.OpenList("-", strings.NewReader(paths[0]+"\n"), false)
	if err != nil {
		t.Fatal(err)
	}
	of, err := mounted.Open(paths[1:2], mounted.Config{List: list, Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	if got := walkAll(t, of); len(got) != 2 || !strings.HasPrefix(got[paths[0]], paths[0]) {
		t.Errorf("%v", got)
	}
}

// Files have the names that messages, rules and policies want.
func TestNames(t *testing.T) {
	root := runtest.Make(t, "file d/e/f\nfile top\nlink to d")
	t.Chdir(root)
	for path, want := range map[string]string{
		".":            "./d/e/f, d/e/f, " + root + "/./d/e/f",
		"./d/../d/e/f": "./d/../d/e/f, d/e/f, " + root + "/./d/../d/e/f",
		"to/e":         "to/e/f, f, " + root + "/to/e/f",
		root + "/d":    root + "/d/e/f, e/f, " + root + "/d/e/f",
		root + "/top":  root + "/top, " + strings.TrimPrefix(root, "/") + "/top, " + root + "/top",
	} {
		of, err := mounted.Open([]string{path}, mounted.Config{})
		if err != nil {
			t.Fatal(err)
		}
		all := walkAll(t, of)
		if !slices.Contains(slices.Collect(mapValues(all)), want) {
			t.Errorf("%s: %q, want %s", path, all, want)
		}
		of.Close()
	}
}

func mapValues(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// OpenFile says what stands under a name.
func TestOpenFile(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=x\nlink l f\nfifo p\ndir d")
	of, err := mounted.Open(nil, mounted.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]reason.Code{"f": "", "l": reason.Symlink, "p": reason.Special, "d": reason.Directory} {
		found := of.OpenFile(root + "/" + name)
		if found.Skip != want || found.Err != nil || (found.File != nil) != (want == "") {
			t.Errorf("%s: %+v", name, found)
		}
		if found.File != nil {
			found.File.Close()
		}
	}
	if found := of.OpenFile(root + "/none"); !errors.Is(found.Err, fs.ErrNotExist) || found.File != nil {
		t.Errorf("%+v", found)
	}
}

// Names that are left out, and hard links, are decided by Leave, with the file
// open.
func TestLeave(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=x\nhard b a\nfile c content=y")
	of, err := mounted.Open([]string{root}, mounted.Config{Leave: func(f tree.File) reason.Code {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Error(err)
		}
		if f.Rel() == "a" || string(b) == "y" {
			return reason.ByRule
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	got := walkAll(t, of)
	if len(got) != 3 || got[root+"/a"] != "rule<nil>" || got[root+"/c"] != "rule<nil>" || !strings.Contains(got[root+"/b"], ", b, ") {
		t.Errorf("%q", got)
	}
}

// Count counts what Walk hands over, and nothing where the list can be read once.
func TestCount(t *testing.T) {
	root := runtest.Make(t, "file a content=1\nfile b/c content=22\nhard d a\nlink l a\nfifo p\nfile e size=1000000")
	runtest.Write(t, root+"/list", root+"/a\n"+root+"/b/c\n"+root+"/l\n")
	for _, name := range []string{"", root + "/list", "-"} {
		cfg := mounted.Config{Config: walk.Config{Workers: 2}}
		if name != "" {
			var err error
			if cfg.List, err = mounted.OpenList(name, strings.NewReader(root+"/a\n"), false); err != nil {
				t.Fatal(err)
			}
		}
		of, err := mounted.Open([]string{root + "/b", root}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		var files, size int64
		if err := of.Count(t.Context(), func(n int64) { files++; size += n }); err != nil {
			t.Error(err)
		}
		var mu sync.Mutex
		var wantFiles, wantSize int64
		if err := of.Walk(t.Context(), func(found tree.Found) error {
			if found.File != nil {
				mu.Lock()
				defer mu.Unlock()
				wantFiles++
				wantSize += found.File.Meta().Size
				found.File.Close()
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if name == "-" {
			wantFiles, wantSize = 0, 0
		}
		if files != wantFiles || size != wantSize || of.Countable() == (name == "-") {
			t.Errorf("%q: %d files of %d bytes, want %d of %d", name, files, size, wantFiles, wantSize)
		}
		of.Close()
	}
}

// What a file lies in is what the tools of the file system were told.
func TestFilesystem(t *testing.T) {
	const uuid = "11223344-5566-7788-99aa-bbccddeeff00"
	id, err := inode.ParseUUID(uuid)
	if err != nil {
		t.Fatal(err)
	}
	for fstype, want := range map[string]struct {
		magic  uint32
		option string
		tells  bool // its UUID, which an overlay makes up
	}{
		"ext4": {unix.EXT4_SUPER_MAGIC, "-U" + uuid, true}, "xfs": {unix.XFS_SUPER_MAGIC, "-muuid=" + uuid, true},
		"btrfs": {unix.BTRFS_SUPER_MAGIC, "-U" + uuid, false}, "overlay": {unix.OVERLAYFS_SUPER_MAGIC, "", false},
	} {
		t.Run(fstype, func(t *testing.T) {
			var root string
			if want.option == "" {
				root = mountFor(t, fstype)
			} else {
				root = treetest.Mount(t, fstype, 320, want.option)
			}
			treetest.Add(t, root, "file f content=x\nfile g content=y")
			of, f := openFile(t, root+"/f")
			var placed tree.Placed = f
			for range 2 {
				got, err := placed.Filesystem()
				if err != nil || got.Magic != want.magic || got.Type != fstype || got.Subtype != "" || placed.NoAttributes() {
					t.Errorf("%+v, %v", got, err)
				}
				if got.UUID != nil && *got.UUID != id && fstype != "overlay" || got.UUID == nil && want.tells {
					t.Errorf("UUID %x", got.UUID)
				}
			}
			var bound tree.Bound = f
			got, err := bound.UUID()
			if err == nil && got != id && fstype != "overlay" || err != nil && (want.tells || !errors.Is(err, inode.ErrNoUUID)) {
				t.Errorf("UUID %x, %v", got, err)
			}
			other := of.OpenFile(root + "/g")
			defer other.File.Close()
			same, ok := tree.As[tree.Bound](other.File)
			if !ok || bound.Inode() == 0 || same.Inode() == bound.Inode() {
				t.Errorf("inodes %d and %d", bound.Inode(), same.Inode())
			}
			f.Close()
		})
	}
}

// A file system that holds no attributes at all is told from one that refuses
// those of security modules.
func TestNoAttributes(t *testing.T) {
	_, f := openFile(t, "/proc/version")
	if !f.NoAttributes() {
		t.Error("files of /proc have attributes")
	}
	_, own := openFile(t, runtest.Make(t, "file f")+"/f")
	if own.NoAttributes() {
		t.Error("there are none")
	}
	if _, err := f.Attr("security.ima"); !errors.Is(err, errors.ErrUnsupported) || strings.Contains(err.Error(), "version") {
		t.Errorf("%v", err)
	}
}

// An error of reading does not name the file, which the report does.
func TestReadErrorIsPathless(t *testing.T) {
	_, f := openFile(t, runtest.Make(t, "file f content=x")+"/f")
	f.Close()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, unix.EBADF) || err.Error() != "bad file descriptor" {
		t.Error(err)
	}
}

// A directory that vanishes, or cannot be read, is found as such.
func TestUnreadableDirectory(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	root := runtest.Make(t, "file a content=x\ndir closed mode=0")
	results := runtest.Run{Job: unforced()}.On(t, root)
	if res := results["closed"]; res.Outcome != report.Failed || fmt.Sprint(res.Err) != "opening: permission denied" {
		t.Errorf("%+v", res)
	}
}

// The descriptor of the walk's context is not that of the list's reader: a list
// that nobody writes to ends with the walk.
func TestListEndsWithTheWalk(t *testing.T) {
	treetest.Leaks(t)
	r, w := treetest.Pipe(t)
	list, err := mounted.OpenList("-", r, false)
	if err != nil {
		t.Fatal(err)
	}
	of, err := mounted.Open(nil, mounted.Config{List: list})
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	visited := make(chan struct{})
	name := runtest.Make(t, "file f content=x") + "/f"
	go func() {
		w.WriteString(strings.Repeat(name+"\n", 1000))
		<-visited
		cancel(errVisit)
	}()
	first := true
	err = of.Walk(ctx, func(found tree.Found) error {
		if first {
			close(visited)
			first = false
		}
		if found.File != nil {
			found.File.Close()
		}
		return nil
	})
	if err != errVisit {
		t.Error(err)
	}
}

var errVisit = errors.New("made up")
