package ext4

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/extfs"
	"imaseal/internal/tree"
	"imaseal/internal/tree/carriertest"
	"imaseal/internal/treetest"
)

// A carrier is an image of the suite of carriers.
type carrier struct {
	name   string // with the part
	path   string
	offset int64
}

// newCarrier returns a maker of images, which begin at an offset of a file.
func newCarrier(offset int64, options ...string) func(*testing.T, []carriertest.File) carriertest.Tree {
	return func(t *testing.T, files []carriertest.File) carriertest.Tree {
		root := treetest.Make(t, "dir nothing mode=0700\nlink link link\nfifo pipe\n")
		var commands []string
		for _, f := range files {
			path := filepath.Join(root, f.Name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f.Content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, os.FileMode(f.Mode)); err != nil {
				t.Fatal(err)
			}
			for attr, value := range f.Attrs {
				file := filepath.Join(t.TempDir(), "value")
				if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
					t.Fatal(err)
				}
				commands = append(commands, fmt.Sprintf("ea_set -f %s \"/%s\" %s", file, f.Name, attr))
			}
		}
		if err := os.Link(filepath.Join(root, files[0].Name), filepath.Join(root, "zz-hard")); err != nil {
			t.Fatal(err)
		}
		image := treetest.Ext4(t, root, 6, append([]string{"-O", "^has_journal"}, options...)...)
		treetest.Debugfs(t, image, commands...)
		c := carrier{image, image, offset}
		if offset > 0 {
			c.path = shift(t, image, offset)
			c.name = fmt.Sprintf("%s@%d", c.path, offset)
		}
		return c
	}
}

// shift copies a file behind so many bytes of something else, and puts something
// behind it.
func shift(t *testing.T, image string, offset int64) string {
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	path := image + ".disk"
	all := append([]byte(strings.Repeat("?", int(offset))), b...)
	if err := os.WriteFile(path, append(all, "behind"...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Open implements carriertest.Tree.
func (c carrier) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	im, err := Open(c.name, Config{Jobs: workers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	s, err := im.NewSink(context.WithoutCancel(t.Context()), Output{InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort() })
	return im, s
}

// Dump implements carriertest.Tree.
func (c carrier) Dump(t *testing.T) map[string]string {
	dump := make(map[string]string)
	b, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	dump["before"], dump["behind"] = string(b[:c.offset]), string(b[len(b)-8:])
	b = b[c.offset:]
	treetest.Fsck(t, fmt.Sprintf("%s?offset=%d", c.path, c.offset))
	fs, err := extfs.Open(strings.NewReader(string(b)), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	root, err := fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	dumpDir(t, fs, root, "", dump, make(map[uint32]bool))
	return dump
}

func dumpDir(t *testing.T, fs *extfs.FS, in *extfs.Inode, path string, dump map[string]string, seen map[uint32]bool) {
	d, err := fs.ReadDir(in)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Len() {
		name, number := d.Entry(i)
		name = strings.TrimPrefix(path+"/"+name, "/")
		in, err := fs.Inode(number)
		if err != nil {
			t.Fatal(err)
		}
		content := ""
		switch {
		case in.IsDir():
			dumpDir(t, fs, in, name, dump, seen)
		case in.IsRegular():
			c, err := fs.Content(in)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(io.NewSectionReader(c, 0, in.Size))
			if err != nil {
				t.Fatal(err)
			}
			content = string(b)
		}
		dump[name] = fmt.Sprintf("inode %d, generation %d, mode %o, %d:%d, %d links, %q", number, in.Generation, in.Mode, in.UID, in.GID, in.Links, content)
		if seen[number] {
			continue // its attributes are those of its first name
		}
		seen[number] = true
		attrs, err := fs.Attrs(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, attr := range attrs.Names() {
			value, err := attrs.Value(attr)
			if err != nil {
				t.Fatal(err)
			}
			dump[carriertest.Attr(name, attr)] = string(value)
		}
	}
}

// blockRoom is what is left in a block of attributes for a value of the suite, if
// the other one is in the inode.
func blockRoom(block int) int { return block - 36 - 28 }

func TestConform(t *testing.T) {
	for name, c := range map[string]struct {
		offset  int64
		largest int
		options []string
	}{
		"4k blocks":               {0, blockRoom(4096), []string{"-b", "4096"}},
		"1k blocks, at an offset": {1 << 20, blockRoom(1024), []string{"-b", "1024"}},
		"128-byte inodes":         {0, blockRoom(4096) - 28 - 12, []string{"-b", "4096", "-I", "128"}},
		"inline data":             {0, blockRoom(4096), []string{"-O", "inline_data,^has_journal", "-I", "512", "-b", "4096"}},
	} {
		t.Run(name, func(t *testing.T) {
			carriertest.Conform(t, carriertest.Carrier{
				New: newCarrier(c.offset, c.options...), Largest: c.largest,
				Refused: tree.Change{Attr: "security.imaseal-b", New: make([]byte, 64<<10+1)},
			})
		})
	}
}
