package walk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// paths maps the paths of entries to outcomes, in order.
func (v *visits) paths(under string) map[string]string {
	m := make(map[string]string)
	for _, e := range v.entries {
		name := strings.TrimPrefix(e.Path, under)
		if m[name] != "" {
			m[name] += ", "
		}
		m[name] += outcome(e)
	}
	return m
}

func TestRoots(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Make(t, `
		file t/a
		file t/sub/b
		file t/sub/deep/c
		file u/d
		hard u/e t/a
		link to-t t
		link to-a t/a
	`)
	own := "given as a path of its own"
	tests := []struct {
		name, roots string
		want        map[string]string
	}{
		{"a tree twice", "t t to-t t/../t", map[string]string{"t/a": "file", "t/sub/b": "file", "t/sub/deep/c": "file"}},
		{"a tree by a link", "to-t", map[string]string{"to-t/a": "file", "to-t/sub/b": "file", "to-t/sub/deep/c": "file"}},
		{"nested, outer first", "t t/sub", map[string]string{"t/a": "file", "t/sub": own, "t/sub/b": "file", "t/sub/deep/c": "file"}},
		{"nested, inner first", "t/sub/deep t", map[string]string{"t/a": "file", "t/sub/b": "file", "t/sub/deep": own, "t/sub/deep/c": "file"}},
		{"several trees share links", "t/sub u", map[string]string{"t/sub/b": "file", "t/sub/deep/c": "file", "u/d": "file", "u/e": "file"}},
		{"a file", "t/sub/b", map[string]string{"t/sub/b": "file"}},
		{"a file by a link", "to-a", map[string]string{"to-a": "file"}},
		{"a file twice", "t/sub/b t/sub/b", map[string]string{"t/sub/b": "file"}},
		{"two names of a file", "t/a u/e t/a", map[string]string{"t/a": "file", "u/e": "hard link"}},
		{"a file, and another name of it in a tree", "u t/a", map[string]string{"u/d": "file", "u/e": "hard link", "t/a": "file"}},
		{"a file with two names, both in trees", "t/a t u", map[string]string{
			"t/a": "file, " + own, "t/sub/b": "file", "t/sub/deep/c": "file", "u/d": "file", "u/e": "hard link"}},
		{"a file in a tree", "u t/sub/b t/sub", map[string]string{"u/d": "file", "u/e": "file", "t/sub/b": "file, " + own, "t/sub/deep/c": "file"}},
	}
	for _, tt := range tests {
		for _, workers := range []int{1, 3} {
			t.Run(tt.name, func(t *testing.T) {
				var roots []string
				for _, r := range strings.Fields(tt.roots) {
					roots = append(roots, dir+"/"+r)
				}
				wantOutcomes(t, collect(t, Config{Workers: workers}, standard, roots...).paths(dir+"/"), tt.want)
			})
		}
	}
}

// A file that is itself given is not dropped by any filter, and a tree that
// holds it leaves it to its own turn.
func TestNamedFile(t *testing.T) {
	dir := treetest.Make(t, "file t/a content=x\nfile t/b")
	no := func(string) bool { return false }
	cfg := Config{
		Workers: 2, Include: no, Exclude: func(string) bool { return true }, Owner: func(uint32) bool { return false },
	}
	v := collect(t, cfg, standard, dir+"/t/a")
	if len(v.entries) != 1 || outcome(v.entries[0]) != "file" || v.entries[0].Rel != "a" || v.entries[0].Stat.Size != 1 {
		t.Errorf("%+v", v.entries)
	}
	for _, roots := range [][]string{{dir + "/t", dir + "/t/a"}, {dir + "/t/a", dir + "/t"}} {
		count := make(map[string]int)
		for _, e := range collect(t, Config{}, standard, roots...).entries {
			count[outcome(e)]++
		}
		if count["file"] != 2 || count["given as a path of its own"] != 1 {
			t.Errorf("%q: %v", roots, count)
		}
	}
}

func TestNamedFileReplaced(t *testing.T) {
	dir := treetest.Make(t, "file a\nfile b")
	roots := open(t, dir+"/a")
	if err := os.Rename(dir+"/b", dir+"/a"); err != nil {
		t.Fatal(err)
	}
	v := &visits{t: t}
	if err := Walk(t.Context(), roots, Config{}, v.visit); err != nil {
		t.Fatal(err)
	}
	if len(v.entries) != 1 || !errors.Is(v.entries[0].Err, ErrMoved) {
		t.Errorf("%+v", v.entries)
	}
}

func TestOpen(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Make(t, "file file\nfifo fifo\nsock sock\nlink loop loop\nlink dangling no\ndir d/e\nlink out d/e\nfile d/x")
	tests := []struct {
		name string
		want error
	}{
		{"", fs.ErrNotExist},
		{"no", fs.ErrNotExist},
		{"dangling", fs.ErrNotExist},
		{"loop", unix.ELOOP},
		{"file/x", unix.ENOTDIR},
		{"fifo", &NotAFileError{Type: "fifo"}},
		{"sock", &NotAFileError{Type: "socket"}},
		{"d", nil},
		{"file", nil},
		{"out/../x", nil}, // the kernel's meaning of "..", not the text's
	}
	for _, tt := range tests {
		name := tt.name
		if name != "" {
			name = dir + "/" + name
		}
		r, err := Open(name)
		var special *NotAFileError
		switch {
		case err == nil:
			r.Close()
			if tt.want != nil {
				t.Errorf("%q opened, want %v", tt.name, tt.want)
			}
		case tt.want == nil:
			t.Errorf("%q: %v", tt.name, err)
		case errors.As(tt.want, &special):
			var got *NotAFileError
			if !errors.As(err, &got) || *got != *special {
				t.Errorf("%q: %v, want %v", tt.name, err, tt.want)
			}
		case !errors.Is(err, tt.want):
			t.Errorf("%q: %v, want %v", tt.name, err, tt.want)
		}
		var path *fs.PathError
		if err != nil && (!errors.As(err, &path) || path.Path != name) {
			t.Errorf("%q: %v is no *fs.PathError with the name", tt.name, err)
		}
	}
}

// A path is understood as the kernel does, where ".." behind a link leads out
// of what the link points at.
func TestDotDotBehindLink(t *testing.T) {
	dir := treetest.Make(t, "file real/inside\ndir real/sub\nlink link real/sub\nfile outside")
	v := collect(t, Config{}, standard, dir+"/link/..")
	wantOutcomes(t, v.outcomes(), map[string]string{"inside": "file"})
	if e := v.entries[0]; e.Path != dir+"/link/../inside" {
		t.Errorf("path %q", e.Path)
	}
	if e := OpenFile(dir + "/link/../inside"); e.Err != nil {
		t.Errorf("OpenFile: %v", e.Err)
	} else {
		e.File.Close()
	}
}

func TestRootFacts(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Make(t, "file a")
	r := open(t, dir+"/./")[0]
	if r.Path() != filepath.Clean(dir) || !r.IsDir() || r.ReadOnly() || r.Magic() == 0 {
		t.Errorf("%q, directory %v, read-only %v, magic %x", r.Path(), r.IsDir(), r.ReadOnly(), r.Magic())
	}
	f, err := r.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir + ".old") })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reopen(); !errors.Is(err, ErrMoved) {
		t.Errorf("reopening what was replaced: %v", err)
	}
}
