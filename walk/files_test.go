package walk

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// listOf yields names, and at the end an error if there is one.
func listOf(names []string, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func TestFiles(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a content=x\nfile d/b\nhard d/h a\nlink l a\nlink to-d d\ndir e\nfifo p\nfile log")
	roots := open(t, root+"/log")
	st := roots[0].Stat()
	cfg := Config{Own: []Inode{InodeOf(&st)}, Exclude: func(string) bool { return true }, Owner: func(uint32) bool { return false }}
	tests := []struct{ name, want string }{
		{"/a", "file"},
		{"/d/b", "file"},
		{"/to-d/../d/b/", "file"},
		{"/d/h", "hard link"},
		{"/l", "symbolic link"},
		{"/to-d/", "symbolic link"},
		{"/e", "directory"},
		{"/", "directory"},
		{"/p", "special file"},
		{"/log", "written by this run"},
		{"/none", "error: " + ErrNotListed.Error()},
		{"/a/none", "error: not a directory"},
		{"/a\x00b", "error: invalid argument"},
		{"/" + strings.Repeat("n", 300), "error: file name too long"},
	}
	for _, count := range []bool{false, true} {
		var names []string
		for _, tt := range tests {
			names = append(names, root+tt.name)
		}
		v := &visits{t: t, count: count}
		cfg.CountOnly = count
		if err := Files(t.Context(), listOf(names, nil), cfg, v.visit); err != nil {
			t.Fatal(err)
		}
		for i, tt := range tests {
			if got := outcome(v.entries[i]); got != tt.want {
				t.Errorf("%q is %q, want %q", tt.name, got, tt.want)
			}
		}
		if e := v.entries[0]; e.Path != root+"/a" || e.Rel != "a" || e.Stat.Size != 1 {
			t.Errorf("%+v", e)
		}
		if errors.Is(v.entries[len(tests)-4].Err, fs.ErrNotExist) {
			t.Error("a listed file that is missing counts as vanished")
		}
	}
}

// A list and a tree that are one run share what they know of hard links.
func TestFilesAndTreeShareLinks(t *testing.T) {
	root := treetest.Make(t, "file a\nhard d/b a\nfile d/c")
	v := &visits{t: t}
	cfg := Config{Links: new(Links)}
	if err := Files(t.Context(), listOf([]string{root + "/a"}, nil), cfg, v.visit); err != nil {
		t.Fatal(err)
	}
	if err := Walk(t.Context(), open(t, root+"/d"), cfg, v.visit); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, v.paths(root+"/"), map[string]string{"a": "file", "d/b": "hard link", "d/c": "file"})
}

func TestFilesEnds(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a\nfile b\nfile c")
	names := []string{root + "/a", root + "/b", root + "/c"}
	broken := errors.New("broken list")
	before, cancelBefore := context.WithCancelCause(t.Context())
	cancelBefore(errStop)
	cancelled, cancel := context.WithCancelCause(t.Context())
	tests := []struct {
		name  string
		ctx   context.Context
		list  iter.Seq2[string, error]
		visit func(n int) error
		want  error
		calls int
	}{
		{"to the end", t.Context(), listOf(names, nil), nil, nil, 3},
		{"an error of the list", t.Context(), listOf(names[:2], broken), nil, broken, 2},
		{"an error of the visitor", t.Context(), listOf(names, nil), func(n int) error { return errStop }, errStop, 1},
		{"the end of ctx", cancelled, listOf(names, nil), func(n int) error {
			if n == 2 {
				cancel(errStop)
			}
			return nil
		}, errStop, 2},
		{"the end of ctx before", before, listOf(names, nil), nil, errStop, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			err := files(tt.ctx, tt.list, Config{}, func(e Entry) error {
				e.File.Close()
				if calls++; tt.visit != nil {
					return tt.visit(calls)
				}
				return nil
			}, limits{batch: 1})
			if !errors.Is(err, tt.want) || calls != tt.calls {
				t.Errorf("%d calls, %v; want %d, %v", calls, err, tt.calls, tt.want)
			}
		})
	}
}

func TestOpenFile(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a\nlink l a\nlink loop loop\ndir d\nfifo p\nlink to-d d\nfile d/x")
	for name, want := range map[string]string{
		"a": "file", "to-d/x": "file", "l": "symbolic link", "loop": "symbolic link", "d": "directory", "p": "special file",
	} {
		e := OpenFile(root + "/" + name)
		if e.File != nil {
			e.File.Close()
		}
		if got := outcome(e); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	if e := OpenFile(root + "/none"); !errors.Is(e.Err, fs.ErrNotExist) {
		t.Errorf("%v", e.Err)
	}
}

// Between looking at a listed file and opening it, it is replaced.
func TestListedFileSwapped(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a\nfile other")
	for _, tt := range []struct {
		with func(name string) error
		want string
	}{
		{func(name string) error { return os.Symlink("other", name) }, "error: became a symbolic link during the walk"},
		{func(name string) error { return os.Link(root+"/other", name) }, "error: " + ErrMoved.Error()},
		{func(name string) error { return unix.Mkfifo(name, 0o644) }, "error: " + ErrMoved.Error()},
	} {
		treetest.Add(t, root, "file a")
		e, ok := statFile(nil, root+"/a")
		if !ok {
			t.Fatal(e.Err)
		}
		if err := errors.Join(os.Remove(root+"/a"), tt.with(root+"/a")); err != nil {
			t.Fatal(err)
		}
		e.open(unix.O_NOFOLLOW)
		if got := outcome(e); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		os.Remove(root + "/a")
	}
}

func TestFilesKeepsOrder(t *testing.T) {
	root := treetest.Make(t, "file a\nfile b\nfile c")
	names := []string{root + "/c", root + "/a", root + "/b"}
	v := &visits{t: t}
	if err := Files(t.Context(), listOf(names, nil), Config{Workers: 8}, v.visit); err != nil {
		t.Fatal(err)
	}
	if got := rels(v.entries); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("%q", got)
	}
}
