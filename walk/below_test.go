package walk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// base opens a directory that names are below.
func base(t *testing.T, name string) *Root {
	t.Helper()
	r, err := OpenBase(name)
	if errors.Is(err, ErrNoOpenat2) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestFilesBelow: names are those of a system whose root is another directory. Links
// stand for what they do there, and none leads out.
func TestFilesBelow(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Make(t, `file secret content=outside
file img/usr/bin/ls content=inside
file img/secret content=inside
file img/etc/conf content=inside
link img/bin usr/bin
link img/sbin /usr/bin
link img/etc/up ../../..
link img/etc/link conf
link img/etc/out ../../secret
link img/loop /loop
fifo img/etc/fifo`)
	if err := os.Symlink(dir, filepath.Join(dir, "img/host")); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, want, rel string }{
		{"/usr/bin/ls", "file", "usr/bin/ls"},
		{"etc/conf", "file", "etc/conf"},
		{"/bin/ls", "file", "usr/bin/ls"},
		{"//sbin//ls", "file", "usr/bin/ls"},
		{"/../../etc/conf", "file", "etc/conf"},
		{"/etc/../secret", "file", "secret"},
		{"/etc/up/secret", "file", "secret"},
		{"/etc/link", "symbolic link", "etc/link"},
		{"/etc/out", "symbolic link", "etc/out"},
		{"/host/secret", "error: " + ErrNotListed.Error(), "host/secret"},
		{"/loop/x", "error: " + unix.ELOOP.Error(), "loop/x"},
		{"/etc/fifo", "special file", "etc/fifo"},
		{"/etc", "directory", "etc"},
		{"/", "directory", "."},
		{"..", "directory", "."},
		{"/none", "error: " + ErrNotListed.Error(), "none"},
	}
	var names []string
	for _, tt := range tests {
		names = append(names, tt.name)
	}
	for _, count := range []bool{false, true} {
		v := &visits{t: t, count: count}
		cfg := Config{Base: base(t, dir+"/img/"), CountOnly: count, Include: func(string) bool { return false }}
		if err := Files(t.Context(), listOf(names, nil), cfg, v.visit); err != nil {
			t.Fatal(err)
		}
		for i, tt := range tests {
			e := v.entries[i]
			if got := outcome(e); got != tt.want {
				t.Errorf("%q is %q, want %q", tt.name, got, tt.want)
			}
			if e.Rel != tt.rel || e.Path != filepath.Join(dir, "img", tt.rel) || !e.Below() || !e.Named() {
				t.Errorf("%q has path %q, %q below", tt.name, e.Path, e.Rel)
			}
		}
	}
}

// TestBelowParent: the base is a path that text alone does not shorten.
func TestBelowParent(t *testing.T) {
	dir := treetest.Make(t, "file a/etc/x content=a\ndir a/b\nlink lnk a/b\nfile etc/x content=other")
	e, ok := statFile(base(t, dir+"/lnk/.."), "/etc/x")
	if !ok || e.Rel != "etc/x" {
		t.Fatalf("%+v", e)
	}
	if content, err := os.ReadFile(e.Path); string(content) != "a" {
		t.Errorf("%s is %q, %v", e.Path, content, err)
	}
	if top, _ := statFile(base(t, dir+"/lnk/.."), "/"); top.Path != dir+"/lnk/.." || top.Rel != "." {
		t.Errorf("%+v", top)
	}
	if e, _ := statFile(base(t, "/"), "/etc"); e.Path != "/etc" {
		t.Errorf("%+v", e)
	}
}

// TestBelowMagic: what /proc links to is no place below a directory.
func TestBelowMagic(t *testing.T) {
	dir := treetest.Make(t, "file f")
	e, ok := statFile(base(t, "/"), "/proc/self/root"+dir+"/f")
	if ok || !errors.Is(e.Err, unix.ELOOP) {
		t.Errorf("%+v", e)
	}
}

func TestOpenBase(t *testing.T) {
	dir := treetest.Make(t, "file f\nlink to-d d\ndir d")
	base(t, dir+"/to-d")
	for name, want := range map[string]error{dir + "/f": unix.ENOTDIR, dir + "/none": unix.ENOENT} {
		if _, err := OpenBase(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestBelowSwapped: a directory is replaced by a link to the outside after a name
// was looked up.
func TestBelowSwapped(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Make(t, "file out/f content=outside\nfile img/d/f content=inside")
	e, ok := statFile(base(t, dir+"/img"), "/d/f")
	if !ok {
		t.Fatal(e.Err)
	}
	if err := errors.Join(os.Rename(dir+"/img/d", dir+"/img/was"), os.Symlink(dir+"/out", dir+"/img/d")); err != nil {
		t.Fatal(err)
	}
	e.open(unix.O_NOFOLLOW)
	if e.File != nil || !errors.Is(e.Err, unix.ENOENT) {
		t.Errorf("%+v", e)
	}
	e.Err = nil
	if err := e.WithDir(func(at int, name string) error { return nil }); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the directory outside: %v", err)
	}
}

// TestBelowRace looks names up while links are put in the place of directories.
func TestBelowRace(t *testing.T) {
	dir := treetest.Make(t, "file out/f content=outside\nfile img/d/f content=inside\nfile img/e/f content=inside")
	if err := os.Symlink(dir+"/out", dir+"/img/link"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, dir+"/img/d", unix.AT_FDCWD, dir+"/img/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	names := slices.Repeat([]string{"/d/f", "/d/../d/f", "/link/../../d/f"}, 2000)
	var found atomic.Int32
	err := Files(t.Context(), listOf(names, nil), Config{Base: base(t, dir+"/img"), Workers: 2, Links: new(Links)}, func(e Entry) error {
		if e.File == nil {
			return nil
		}
		defer e.File.Close()
		b := make([]byte, 7)
		if n, _ := e.File.ReadAt(b, 0); !strings.HasPrefix("inside", string(b[:n])) || n == 0 {
			t.Errorf("%s: %q", e.Path, b[:n])
		}
		found.Add(1)
		return nil
	})
	close(done)
	<-stopped
	if err != nil || found.Load() == 0 {
		t.Errorf("%d files, %v", found.Load(), err)
	}
}
