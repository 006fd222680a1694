package walk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// alone is a file that is visited before those behind it are opened: a walk
// opens several files in a row, but only until something else comes.
const alone = "file 0\nlink 1 0\n"

// hazard walks a tree in lexical order and lets do act on it when the file
// "0" is visited, before anything behind it is opened. It returns what became
// of the others.
func hazard(t *testing.T, spec string, cfg Config, do func(root string) error) map[string]string {
	t.Helper()
	treetest.Leaks(t)
	root := treetest.Make(t, alone+spec)
	cfg.Workers = 1
	v := &visits{t: t}
	err := Walk(t.Context(), open(t, root), cfg, func(e Entry) error {
		if e.Rel != "0" {
			return v.visit(e)
		}
		e.File.Close()
		return do(root)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := v.outcomes()
	delete(got, "1")
	return got
}

func TestVanished(t *testing.T) {
	got := hazard(t, "file a\nfile b/c\nfile d", Config{}, func(root string) error {
		return errors.Join(os.Remove(root+"/a"), os.RemoveAll(root+"/b"))
	})
	gone := "error: no such file or directory"
	wantOutcomes(t, got, map[string]string{"a": gone, "b": gone, "d": "file"})
}

// The errors are what callers ask for.
func TestVanishedIsNotExist(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, alone+"file a\ndir b")
	err := Walk(t.Context(), open(t, root), Config{}, func(e Entry) error {
		if e.Rel != "0" {
			if e.Rel != "1" && !errors.Is(e.Err, fs.ErrNotExist) {
				t.Errorf("%q: %v", e.Rel, e.Err)
			}
			return nil
		}
		return errors.Join(e.File.Close(), os.Remove(root+"/a"), os.Remove(root+"/b"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A directory that is removed while it is read is one that vanished.
func TestTreeRemoved(t *testing.T) {
	treetest.Leaks(t)
	root := t.TempDir() + "/tree"
	for _, workers := range []int{1, 2} {
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		roots := open(t, root)
		if err := os.Remove(root); err != nil {
			t.Fatal(err)
		}
		v := &visits{t: t}
		if err := Walk(t.Context(), roots, Config{Workers: workers}, v.visit); err != nil {
			t.Fatal(err)
		}
		if len(v.entries) != 1 || !errors.Is(v.entries[0].Err, fs.ErrNotExist) || v.entries[0].Rel != "." {
			t.Errorf("%+v", v.entries)
		}
	}
}

// What is put in the place of a file or directory after its name was read is
// not followed, not waited for, and said.
func TestSwapped(t *testing.T) {
	const secret = "file outside/secret\n"
	exclude := Config{Exclude: func(rel string) bool { return rel == "outside" }}
	link := func(to string) func(string) error {
		return func(name string) error { return os.Symlink(to, name) }
	}
	tests := []struct {
		name, what string
		with       func(name string) error
		want       string
	}{
		{"file for a link", "file a", link("outside/secret"), "became a symbolic link during the walk"},
		{"file for a loop", "file a", link("a"), "became a symbolic link during the walk"},
		{"file for a fifo", "file a", func(name string) error { return unix.Mkfifo(name, 0o644) }, "became a fifo during the walk"},
		{"file for a directory", "file a", func(name string) error { return os.Mkdir(name, 0o755) }, "became a directory during the walk"},
		{"file for a socket", "file a", func(name string) error {
			treetest.Add(t, filepath.Dir(name), "sock a")
			return nil
		}, "became a socket or device during the walk"},
		{"directory for a link", "file a/b", link("outside"), "became a file or symbolic link during the walk"},
		{"directory for a file", "file a/b", func(name string) error { return os.WriteFile(name, nil, 0o644) }, "became a file or symbolic link during the walk"},
		{"directory for a fifo", "file a/b", func(name string) error { return unix.Mkfifo(name, 0o644) }, "became a file or symbolic link during the walk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := hazard(t, secret+tt.what, exclude, func(root string) error {
				return errors.Join(os.RemoveAll(root+"/a"), tt.with(root+"/a"))
			})
			wantOutcomes(t, got, map[string]string{"a": "error: " + tt.want, "outside": "filtered"})
		})
	}
}

// A directory that another one takes the place of, between the look at it and
// its opening, is not taken for the one that was looked at.
func TestDirectoryExchanged(t *testing.T) {
	treetest.Leaks(t)
	if runtime.NumCPU() < 2 {
		t.Skip("needs two processors")
	}
	root := treetest.Make(t, "file a/x\nfile b/x")
	if err := unix.Renameat2(unix.AT_FDCWD, root+"/a", unix.AT_FDCWD, root+"/b", unix.RENAME_EXCHANGE); err != nil {
		t.Skip("needs a file system that exchanges names: ", err)
	}
	stop := make(chan struct{})
	var exchange sync.WaitGroup
	exchange.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, root+"/a", unix.AT_FDCWD, root+"/b", unix.RENAME_EXCHANGE)
			}
		}
	})
	defer exchange.Wait()
	defer close(stop)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		for _, e := range collect(t, Config{}, standard, root).entries {
			if errors.Is(e.Err, ErrMoved) {
				return
			}
		}
	}
	t.Error("it never was")
}

// A directory that is renamed is read to its end all the same.
func TestRenamed(t *testing.T) {
	got := hazard(t, "file a/b\nfile a/c/d", Config{}, func(root string) error { return os.Rename(root, root+".moved") })
	wantOutcomes(t, got, map[string]string{"a/b": "file", "a/c/d": "file"})
}

func TestUnreadable(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file a
		file closed-file mode=0200
		file closed/inside
		dir closed mode=0000
		file unsearchable/inside
		dir unsearchable mode=0400
		file z
	`)
	denied := "error: permission denied"
	for _, workers := range []int{1, 2} {
		wantOutcomes(t, collect(t, Config{Workers: workers}, standard, root).outcomes(), map[string]string{
			"a": "file", "z": "file", "closed-file": denied, "closed": denied, "unsearchable/inside": denied,
		})
	}
	// What is not ours need not be readable.
	cfg := Config{Workers: 2, Owner: func(uint32) bool { return false }}
	wantOutcomes(t, collect(t, cfg, standard, root).outcomes(), map[string]string{
		"a": "other owner", "z": "other owner", "closed-file": "other owner", "closed": denied, "unsearchable/inside": denied,
	})
}

// Of an inode with several names that cannot be opened, each name fails: none
// stands for the others.
func TestUnreadableHardLink(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	root := treetest.Make(t, "file a mode=0200\nhard b a")
	wantOutcomes(t, collect(t, Config{}, standard, root).outcomes(), map[string]string{
		"a": "error: permission denied", "b": "error: permission denied",
	})
}

// File systems may leave the type of a name unknown: then the inode is asked.
func TestUnknownType(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file file\ndir dir\nfile dir/x\nlink link file\nfifo fifo\nsock sock")
	v := &visits{t: t}
	w := newWalker(t.Context(), Config{}, v.visit, standard)
	d, err := w.rootDir(open(t, root)[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, lexical := range []bool{false, true} {
		v.entries = nil
		r, c, at := newReader(w, lexical), new(chunk), int64(0)
		if _, err := r.fill(d, c, &at); err != nil {
			t.Fatal(err)
		}
		c.entries = append(c.entries, dirent{ino: 1, off: uint32(len(c.names)), size: 4})
		c.names = append(c.names, "gone"...)
		for i := range c.entries {
			c.entries[i].typ = unix.DT_UNKNOWN
		}
		if lexical {
			r.handOverLexically(d, c)
		} else {
			r.handOver(d, c)
		}
		for len(w.pending) > 0 {
			r.take(w.pop())
		}
		wantOutcomes(t, v.outcomes(), map[string]string{
			"file": "file", "dir/x": "file", "link": "symbolic link", "fifo": "special file", "sock": "special file",
			"gone": "error: no such file or directory",
		})
		unix.Seek(d.fd, 0, 0)
	}
	w.release(d)
}

// FuzzParse: no buffer makes the parser of directory records read or loop
// beyond it.
func FuzzParse(f *testing.F) {
	record := slices.Concat(make([]byte, 16), []byte{24, 0, unix.DT_REG, 'a', 0, 0, 0, 0})
	f.Add(record)
	f.Add(slices.Concat(record, record[:20]))
	f.Add(slices.Concat(record[:16], []byte{0, 0}, record[18:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := new(chunk)
		c.parse(b)
		for _, e := range c.entries {
			if name := string(c.name(e)); name == "" || name == "." || name == ".." {
				t.Errorf("name %q", name)
			}
		}
	})
}
