package mounted_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/carriertest"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// A dir is a mounted tree of the suite of carriers.
type dir struct {
	root string
	user bool // keeps attributes in user.*
}

// newDir returns a maker of trees below a directory, which is a new one each time
// where that is empty.
func newDir(below string, user bool) func(*testing.T, []carriertest.File) carriertest.Tree {
	return func(t *testing.T, files []carriertest.File) carriertest.Tree {
		root := below
		if root == "" {
			root = t.TempDir()
		}
		root, err := os.MkdirTemp(root, "tree")
		if err != nil {
			t.Fatal(err)
		}
		d := dir{root, user}
		for _, f := range files {
			name := filepath.Join(root, f.Name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			runtest.Write(t, name, f.Content)
			for attr, value := range f.Attrs {
				if err := unix.Setxattr(name, d.kept(attr), []byte(value), 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(name, os.FileMode(f.Mode)); err != nil {
				t.Fatal(err)
			}
		}
		treetest.Add(t, root, "link bin/link one\nlink loop loop\nfifo pipe\nsock socket\ndir nothing mode=0700")
		return d
	}
}

func (d dir) kept(attr string) string {
	if d.user {
		return "user." + strings.TrimPrefix(attr, "security.")
	}
	return attr
}

func (d dir) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	opened, err := mounted.Open([]string{d.root}, mounted.Config{Config: walk.Config{Workers: workers}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	if d.user {
		return runtest.User.Source(opened), runtest.User.Sink(new(mounted.Sink))
	}
	return opened, new(mounted.Sink)
}

// Dump tells all but ctime, and atime, which reading may change.
func (d dir) Dump(t *testing.T) map[string]string {
	all := make(map[string]string)
	err := filepath.WalkDir(d.root, func(name string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(name, d.root), "/")
		text := fmt.Sprintf("%o %d:%d %d links, mtime %v", st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" inode %d: %q", st.Ino, b)
		case unix.S_IFLNK:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			text += " -> " + to
		}
		all[rel] = text
		return d.dumpAttrs(all, name, rel)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (d dir) dumpAttrs(all map[string]string, name, rel string) error {
	b := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, b)
	if err != nil {
		return err
	}
	for attr := range strings.SplitSeq(strings.TrimRight(string(b[:n]), "\x00"), "\x00") {
		if attr == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(name, attr, value)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(attr, "user."); ok && d.user {
			attr = "security." + rest
		}
		all[carriertest.Attr(rel, attr)] = string(value[:n])
	}
	return nil
}

// refused is an attribute that no file system knows.
var refused = tree.Change{Attr: "nonsense.imaseal", New: []byte("x")}

func TestConformAsUser(t *testing.T) {
	runtest.Make(t, "") // or there are no user attributes
	carriertest.Conform(t, carriertest.Carrier{New: newDir("", true), Largest: 1024, Refused: refused, InPlace: true})
}

func TestConform(t *testing.T) {
	for _, fs := range []struct {
		name      string
		mebibytes int
		largest   int
		options   []string
	}{
		{"ext4", 64, 3900, []string{"-b4096"}},         // a block, with the entries of others
		{"ext4", 64, 64 << 10, []string{"-Oea_inode"}}, // an inode for each large value
		{"xfs", 320, 64 << 10, nil},
		{"btrfs", 128, 8000, nil}, // half a leaf of 16 KiB, so that it can grow
		{"tmpfs", 16, 64 << 10, nil},
	} {
		t.Run(strings.Join(append([]string{fs.name}, fs.options...), " "), func(t *testing.T) {
			root := treetest.Mount(t, fs.name, fs.mebibytes, fs.options...)
			carriertest.Conform(t, carriertest.Carrier{New: newDir(root, false), Largest: fs.largest, Refused: refused, InPlace: true})
		})
	}
}
