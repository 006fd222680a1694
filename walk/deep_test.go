package walk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// touch makes an empty file in an open directory.
func touch(t testing.TB, dir int, name string) {
	t.Helper()
	if err := unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0); err != nil {
		t.Fatal(err)
	}
}

// A tree may be deeper than any path can name.
func TestDeeperThanPathMax(t *testing.T) {
	treetest.Leaks(t)
	const depth = 3000 // a path of 15,000 bytes
	root := t.TempDir()
	treetest.Deep(t, root, "deep", depth, func(dir, level int) {
		if level%1000 == 0 {
			touch(t, dir, "file")
		}
	})
	for _, workers := range []int{1, 4} {
		v := collect(t, Config{Workers: workers}, standard, root)
		if len(v.entries) != 3 {
			t.Errorf("%d workers: %d files, want 3", workers, len(v.entries))
		}
		for _, e := range v.entries {
			if e.Err != nil || e.Path != root+"/"+e.Rel || strings.Count(e.Rel, "deep/")%1000 != 0 {
				t.Errorf("%d bytes of path, %v", len(e.Path), e.Err)
			}
		}
	}
	// Such a path can be given, too, and opened again.
	bottom := root + strings.Repeat("/deep", depth)
	wantOutcomes(t, collect(t, Config{}, standard, bottom).outcomes(), map[string]string{"file": "file"})
	wantOutcomes(t, collect(t, Config{}, standard, bottom+"/file").outcomes(), map[string]string{"file": "file"})
	if e := OpenFile(bottom + "/file"); e.Err != nil {
		t.Error(e.Err)
	} else {
		e.File.Close()
	}
	if _, err := Open(bottom + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(root + "/" + strings.Repeat("n", 300)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Error(err)
	}
}

// With a directory to come back to at each level, a deep tree needs neither
// more descriptors than its limit, nor memory for the paths of all levels.
func TestDeepAndWide(t *testing.T) {
	treetest.Leaks(t)
	const depth = 1500
	name := strings.Repeat("d", 100)
	root := treetest.MemDir(t)
	treetest.Deep(t, root, name, depth, func(dir, level int) {
		for _, side := range []string{"a", "z"} {
			if err := unix.Mkdirat(dir, side, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, workers := range []int{1, 2} {
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var mu sync.Mutex
		var most uint64
		dirs, open := 0, 0
		// Nothing is a file: the filter is asked about each directory.
		cfg := Config{Workers: workers, Exclude: func(rel string) bool {
			mu.Lock()
			defer mu.Unlock()
			if dirs++; dirs%500 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
				open = max(open, len(treetest.Descriptors()))
			}
			return false
		}}
		collect(t, cfg, standard, root)
		if dirs != 3*depth {
			t.Errorf("%d workers: %d directories, want %d", workers, dirs, 3*depth)
		}
		if grown := int64(most) - int64(before.HeapAlloc); grown > 32<<20 {
			t.Errorf("%d workers: %d MiB of memory", workers, grown>>20)
		}
		if open > maxOpenDirs+20 {
			t.Errorf("%d workers: %d open descriptors", workers, open)
		}
	}
}

// Directories that were closed for want of descriptors are found again by
// their names, and only if they are the same.
func TestReopen(t *testing.T) {
	treetest.Leaks(t)
	tests := []struct {
		name string
		do   func(root string) error
		want error
	}{
		{"untouched", func(string) error { return nil }, nil},
		{"replaced", func(root string) error { return os.Mkdir(root+"/a/b", 0o755) }, ErrMoved},
		{"gone", func(string) error { return nil }, fs.ErrNotExist},
		{"a link to it", func(root string) error { return os.Symlink("../old", root+"/a/b") }, unix.ENOTDIR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := treetest.Make(t, "dir a/b/c")
			r := &reader{w: &walker{ctx: t.Context(), limits: standard}}
			top, err := r.w.rootDir(open(t, root)[0])
			if err != nil {
				t.Fatal(err)
			}
			chain := []*dir{top}
			for _, name := range []string{"a", "b", "c"} {
				d := r.openDir(chain[len(chain)-1], name)
				if d == nil {
					t.Fatalf("%s cannot be opened", name)
				}
				chain = append(chain, d)
			}
			for _, d := range chain {
				r.w.close(d)
				r.w.closed++
			}
			if tt.name != "untouched" {
				if err := os.Rename(root+"/a/b", root+"/old"); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.do(root); err != nil {
				t.Fatal(err)
			}
			c := chain[3]
			if _, err = r.w.use(c); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err == nil {
				r.w.unuse(c)
			}
			for _, d := range chain {
				r.w.release(d)
			}
			if r.w.open.Len() != 0 || r.w.closed != 0 {
				t.Errorf("%d directories are open, %d wait", r.w.open.Len(), r.w.closed)
			}
		})
	}
}

// A directory of 200,000 entries is read in chunks, in little memory.
func TestHugeDirectory(t *testing.T) {
	treetest.Leaks(t)
	const files = 200_000
	root := treetest.MemDir(t)
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for i := range files {
		touch(t, dir, fmt.Sprintf("file-%d", i))
	}
	for _, workers := range []int{1, 2} {
		var mu sync.Mutex
		seen := make([]bool, files)
		found := 0
		var least, most uint64
		cfg := Config{Workers: workers, CountOnly: workers == 1}
		err := Walk(t.Context(), open(t, root), cfg, func(e Entry) error {
			if e.File != nil {
				e.File.Close()
			}
			n, err := strconv.Atoi(strings.TrimPrefix(e.Rel, "file-"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[n] || outcome(e) != "file" {
				return fmt.Errorf("%q is %s", e.Rel, outcome(e))
			}
			seen[n] = true
			if found++; found%40_000 == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				if least == 0 {
					least = m.HeapAlloc
				}
				most = max(most, m.HeapAlloc)
			}
			return nil
		})
		if err != nil || found != files {
			t.Errorf("%d workers: %d files, %v", workers, found, err)
		}
		if workers > 1 && most > least+8<<20 { // with one, all names are sorted
			t.Errorf("%d bytes of memory became %d", least, most)
		}
	}
}

// With few descriptors to open, a walk takes fewer at a time.
func TestFewDescriptors(t *testing.T) {
	treetest.Leaks(t)
	root := forest(t, 80)
	want := len(regularFiles(t, root))
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	for _, more := range []int{24, 40, 200} {
		few := was
		few.Cur = uint64(len(treetest.Descriptors()) + 8 + more)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		v := &visits{t: t}
		slow := func(e Entry) error { time.Sleep(time.Microsecond); return v.visit(e) }
		cfg := Config{Workers: 64}
		if err := Walk(t.Context(), open(t, root), cfg, slow); err != nil {
			t.Fatal(err)
		}
		var names []string
		for rel, o := range v.outcomes() {
			if names = append(names, root+"/"+rel); o != "file" {
				t.Errorf("%d more: %s is %s", more, rel, o)
			}
		}
		if len(names) != want {
			t.Errorf("%d more: %d files, want %d", more, len(names), want)
		}
		v.entries = nil
		if err := Files(t.Context(), listOf(names, nil), cfg, slow); err != nil {
			t.Fatal(err)
		}
		for _, e := range v.entries {
			if outcome(e) != "file" {
				t.Errorf("%d more: %s, listed, is %s", more, e.Path, outcome(e))
			}
		}
	}
}

// More directories than may wait are read at once, whatever their shape.
func TestPendingLimit(t *testing.T) {
	treetest.Leaks(t)
	root := t.TempDir()
	want := 0
	for i := range 200 {
		for _, name := range []string{"x/f", "y/z/f"} {
			path := filepath.Join(root, fmt.Sprintf("d%d", i), name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			want++
		}
	}
	for _, workers := range []int{2, 8} {
		v := collect(t, Config{Workers: workers}, limits{batch: 2, openDirs: 3, waiting: 4, chunk: 2}, root)
		if got := len(v.outcomes()); got != want {
			t.Errorf("%d workers: %d files, want %d", workers, got, want)
		}
	}
}
