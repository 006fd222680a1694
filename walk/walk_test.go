package walk

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// visits collects what a walk hands over, and closes the files.
type visits struct {
	t       testing.TB
	count   bool // files come without File
	mu      sync.Mutex
	entries []Entry
}

func (v *visits) visit(e Entry) error {
	set := 0
	for _, is := range []bool{e.File != nil, e.Skip != "", e.Err != nil} {
		if is {
			set++
		}
	}
	if want := 1; set != want && !(v.count && set == 0) {
		v.t.Errorf("%q has File %v, Skip %q and Err %v: want one of them", e.Path, e.File, e.Skip, e.Err)
	}
	if e.File != nil {
		var st unix.Stat_t
		if err := unix.Fstat(int(e.File.Fd()), &st); err != nil || InodeOf(&st) != InodeOf(&e.Stat) {
			v.t.Errorf("%q: Stat does not describe File: %v", e.Path, err)
		}
		e.File.Close()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.entries = append(v.entries, e)
	return nil
}

// outcome says what an entry is: file, a reason, or an error.
func outcome(e Entry) string {
	switch {
	case e.Err != nil:
		return "error: " + e.Err.Error()
	case e.Skip != "":
		return e.Skip.Words()
	}
	return "file"
}

// outcomes maps relative paths to outcomes. A path that comes twice is an
// error.
func (v *visits) outcomes() map[string]string {
	m := make(map[string]string)
	for _, e := range v.entries {
		if _, ok := m[e.Rel]; ok {
			v.t.Errorf("%q was handed over twice", e.Rel)
		}
		m[e.Rel] = outcome(e)
	}
	return m
}

// collect walks the trees to the end.
func collect(t testing.TB, cfg Config, bounds limits, paths ...string) *visits {
	t.Helper()
	v := &visits{t: t, count: cfg.CountOnly}
	if err := walk(context.Background(), open(t, paths...), cfg, v.visit, bounds); err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, paths ...string) []*Root {
	t.Helper()
	var roots []*Root
	for _, p := range paths {
		r, err := Open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		roots = append(roots, r)
	}
	return roots
}

func wantOutcomes(t *testing.T, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%q is %q, want %q", name, got[name], want[name])
		}
	}
	for name, o := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q came as %q, and should not have come", name, o)
		}
	}
}

// forest is a tree of directories of several depths with n files in each.
func forest(t testing.TB, n int) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{".", "a", "a/b", "a/b/c", "a-b", "a.b", "b", "z/y/x/w/v"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := os.WriteFile(filepath.Join(root, dir, fmt.Sprintf("f%d", i)), []byte(dir), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// regularFiles lists the tree's files as the standard library sees them.
func regularFiles(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(root, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func rels(entries []Entry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Rel)
	}
	return names
}

func TestLexicalOrder(t *testing.T) {
	treetest.Leaks(t)
	root := forest(t, 20)
	want := regularFiles(t, root)
	for _, workers := range []int{0, 1} {
		v := collect(t, Config{Workers: workers}, standard, root)
		if got := rels(v.entries); !slices.Equal(got, want) {
			t.Errorf("with %d workers the order is\n%q, want\n%q", workers, got, want)
		}
		for _, e := range v.entries {
			if e.Path != filepath.Join(root, e.Rel) {
				t.Errorf("path %q of %q", e.Path, e.Rel)
			}
		}
	}
}

func TestEveryFileOnce(t *testing.T) {
	treetest.Leaks(t)
	root := forest(t, 100)
	want := regularFiles(t, root)
	slices.Sort(want)
	tiny := limits{batch: 1, openDirs: 1, waiting: 1, chunk: 3}
	for _, workers := range []int{1, 2, 3, 8, 64} {
		for _, bounds := range []limits{standard, tiny} {
			got := rels(collect(t, Config{Workers: workers}, bounds, root).entries)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%d workers, limits %+v: %d files, want %d", workers, bounds, len(got), len(want))
			}
		}
	}
}

func TestInodeOrder(t *testing.T) {
	dir := t.TempDir()
	inodes := make(map[string]uint64)
	for i := range 1000 { // names in another order than the inodes
		name := fmt.Sprintf("%03d", i*7%1000)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, name), &st); err != nil {
			t.Fatal(err)
		}
		inodes[name] = st.Ino
	}
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	w := &walker{ctx: t.Context(), limits: standard}
	w.idle.L = &w.mu
	d, err := w.rootDir(root)
	if err != nil {
		t.Fatal(err)
	}
	rd, c, at := newReader(w, false), new(chunk), int64(0)
	if _, err := rd.fill(d, c, &at); err != nil {
		t.Fatal(err)
	}
	rd.handOver(d, c)
	var got []uint64 // in the order in which workers take the names
	for len(w.pending) > 0 {
		for _, n := range w.pop().names {
			got = append(got, inodes[n.text])
		}
		w.release(d)
	}
	w.release(d)
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d files, not in the order of their inodes", len(got))
	}
}

func TestEmptyTree(t *testing.T) {
	for _, workers := range []int{1, 4} {
		if v := collect(t, Config{Workers: workers}, standard, t.TempDir()); len(v.entries) != 0 {
			t.Errorf("an empty directory has %q", v.outcomes())
		}
	}
}

func TestSkips(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file file
		file dir/file
		link link file
		link dirlink dir
		link loop loop
		link dir/up ..
		link dangling nowhere
		fifo fifo
		sock sock
	`)
	want := map[string]string{
		"file": "file", "dir/file": "file", "link": "symbolic link", "dirlink": "symbolic link",
		"loop": "symbolic link", "dir/up": "symbolic link", "dangling": "symbolic link",
		"fifo": "special file", "sock": "special file",
	}
	for _, workers := range []int{1, 2} {
		wantOutcomes(t, collect(t, Config{Workers: workers}, standard, root).outcomes(), want)
	}
}

func TestDevicesAreNotOpened(t *testing.T) {
	treetest.Root(t)
	root := treetest.Make(t, "char null 1:3\nchar watchdog 10:130\nblock sda 8:0")
	wantOutcomes(t, collect(t, Config{Workers: 2}, standard, root).outcomes(), map[string]string{
		"null": "special file", "watchdog": "special file", "sda": "special file",
	})
}

func TestFilters(t *testing.T) {
	root := treetest.Make(t, `
		file a/keep
		file a/b/drop
		file a/b/keep
		file c/d/keep
		file keep
		link keep.link keep
	`)
	base := func(name string) func(string) bool {
		return func(rel string) bool { return filepath.Base(rel) == name }
	}
	under := func(name string) func(string) bool { return func(rel string) bool { return rel == name } }
	var asked []string
	tests := []struct {
		name string
		cfg  Config
		want string // the files
	}{
		{"none", Config{}, "a/b/drop a/b/keep a/keep c/d/keep keep"},
		{"include of a name", Config{Include: base("keep")}, "a/b/keep a/keep c/d/keep keep"},
		{"include of a directory takes all below", Config{Include: under("a/b")}, "a/b/drop a/b/keep"},
		{"exclude of a name", Config{Exclude: base("keep")}, "a/b/drop"},
		{"exclude of a directory leaves out all below", Config{Exclude: under("a")}, "c/d/keep keep"},
		{"exclude wins", Config{Include: under("a"), Exclude: under("a/b")}, "a/keep"},
		{"owner", Config{Owner: func(uid uint32) bool { return uid != uint32(os.Geteuid()) }}, ""},
		{"nothing is asked below an excluded directory", Config{Exclude: func(rel string) bool {
			asked = append(asked, rel)
			return rel == "a" || rel == "c"
		}}, "keep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Workers = 1
			var files []string
			for rel, o := range collect(t, tt.cfg, standard, root).outcomes() {
				if o == "file" {
					files = append(files, rel)
				} else if o == "other owner" && tt.cfg.Owner == nil {
					t.Errorf("%q is %s", rel, o)
				}
			}
			slices.Sort(files)
			if got := strings.Join(files, " "); got != tt.want {
				t.Errorf("files %q, want %q", got, tt.want)
			}
		})
	}
	if slices.Sort(asked); !slices.Equal(asked, []string{"a", "c", "keep"}) {
		t.Errorf("asked about %q", asked)
	}
}

func TestOwner(t *testing.T) {
	treetest.Root(t)
	root := treetest.Make(t, "file ours\nfile theirs owner=1234\nfile theirs-closed mode=0 owner=1234")
	cfg := Config{Workers: 2, Owner: func(uid uint32) bool { return uid == 0 }}
	wantOutcomes(t, collect(t, cfg, standard, root).outcomes(), map[string]string{
		"ours": "file", "theirs": "other owner", "theirs-closed": "other owner",
	})
}

func TestHardLinksOnce(t *testing.T) {
	root := treetest.Make(t, "file a\nhard b a\nhard c/d a\nfile single")
	for _, workers := range []int{1, 4} {
		count := make(map[string]int)
		for _, o := range collect(t, Config{Workers: workers}, standard, root).outcomes() {
			count[o]++
		}
		if count["file"] != 2 || count["hard link"] != 2 {
			t.Errorf("%d workers: %v, want 2 files and 2 hard links", workers, count)
		}
	}
}

// TestEveryName visits each name of an inode.
func TestEveryName(t *testing.T) {
	root := treetest.Make(t, "file a\nhard b a\nhard c/d a\nfile single")
	for _, countOnly := range []bool{false, true} {
		cfg := Config{Workers: 2, EveryName: true, CountOnly: countOnly}
		n := 0
		for path, o := range collect(t, cfg, standard, root).outcomes() {
			n++
			if strings.Contains(o, "link") {
				t.Errorf("%s: %s", path, o)
			}
		}
		if n != 4 {
			t.Errorf("%d names", n)
		}
	}
}

func TestOwnOutput(t *testing.T) {
	root := treetest.Make(t, "file log\nhard log2 log\nfile file")
	roots := open(t, filepath.Join(root, "log"))
	st := roots[0].Stat()
	cfg := Config{Workers: 2, Own: []Inode{InodeOf(&st)}}
	wantOutcomes(t, collect(t, cfg, standard, root).outcomes(), map[string]string{
		"log": "written by this run", "log2": "written by this run", "file": "file",
	})
	wantOutcomes(t, collect(t, cfg, standard, filepath.Join(root, "log")).outcomes(), map[string]string{
		"log": "written by this run",
	})
}

func TestCountOnlyAgrees(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file a content=12345
		file b/c content=1
		hard b/d a
		link l a
		fifo p
		file drop/x content=1
		file b/drop content=1
	`)
	cfg := Config{Workers: 2, Exclude: func(rel string) bool { return filepath.Base(rel) == "drop" }}
	real := collect(t, cfg, standard, root, filepath.Join(root, "b"), filepath.Join(root, "drop/x"))
	cfg.CountOnly = true
	counted := collect(t, cfg, standard, root, filepath.Join(root, "b"), filepath.Join(root, "drop/x"))
	for _, v := range []*visits{real, counted} {
		count, bytes := make(map[string]int), int64(0)
		for _, e := range v.entries {
			count[outcome(e)]++
			if outcome(e) == "file" {
				bytes += e.Stat.Size
			}
		}
		want := map[string]int{"file": 3, "hard link": 1, "symbolic link": 1, "special file": 1, "filtered": 2, "given as a path of its own": 1}
		if !maps.Equal(count, want) || bytes != 7 {
			t.Errorf("count only %v: %v and %d bytes, want %v and 7", v.count, count, bytes, want)
		}
	}
}
