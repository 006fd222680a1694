package extfs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// open opens an image.
func open(t testing.TB, image string) *FS {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// dump returns all that there is to a file system, by path.
func dump(t testing.TB, fs *FS) map[string]string {
	t.Helper()
	found := make(map[string]string)
	root, err := fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	dumpDir(t, fs, root, "", found)
	return found
}

func dumpDir(t testing.TB, fs *FS, in *Inode, path string, found map[string]string) {
	t.Helper()
	d, err := fs.ReadDir(in)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for i := range d.Len() {
		name, number := d.Entry(i)
		if d.Find(name) != number {
			t.Errorf("%s is not found", name)
		}
		child, err := fs.Inode(number)
		if err != nil {
			t.Fatalf("%s/%s: %v", path, name, err)
		}
		full := path + "/" + name
		if full == "/lost+found" {
			continue
		}
		dumpInode(t, fs, child, full, found)
		if child.IsDir() {
			dumpDir(t, fs, child, full, found)
		}
	}
}

func dumpInode(t testing.TB, fs *FS, in *Inode, path string, found map[string]string) {
	t.Helper()
	content := []byte{}
	if in.IsRegular() {
		c, err := fs.Content(in)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if content, err = io.ReadAll(io.NewSectionReader(c, 0, in.Size)); err != nil || int64(len(content)) != in.Size {
			t.Fatalf("%s: %d of %d bytes, %v", path, len(content), in.Size, err)
		}
	}
	found[path] = entry(in.Mode, in.UID, in.GID, content)
	attrs, err := fs.Attrs(in)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, name := range attrs.Names() {
		value, err := attrs.Value(name)
		if err != nil {
			t.Errorf("%s: %s: %v", path, name, err)
		}
		if !strings.HasPrefix(name, "system.posix_acl") { // which programs see in another form
			found[path+" "+name] = string(value)
		}
	}
}

func entry(mode, uid, gid uint32, content []byte) string {
	return fmt.Sprintf("%o %d:%d %d bytes %.16q %x", mode, uid, gid, len(content), content, sha256.Sum256(content))
}

// dumpTree returns the same of a tree that the kernel reads.
func dumpTree(t testing.TB, root string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if err != nil || name == "/" || name == "/lost+found" {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := []byte{}
		if d.Type().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		found[name] = entry(st.Mode, st.Uid, st.Gid, content)
		names, err := xattr.LList(path)
		if err != nil {
			return err
		}
		for _, attr := range names {
			if strings.HasPrefix(attr, "system.posix_acl") {
				continue
			}
			value, err := xattr.LGet(path, attr)
			if err != nil {
				return err
			}
			found[name+" "+attr] = string(value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func compare(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[name]; !ok {
			t.Errorf("%q is not found", name)
		} else if value != want[name] {
			t.Errorf("%q is %.80q, want %.80q", name, value, want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%q is found, and was not made", name)
	}
}

// fill makes a tree with all kinds of contents, names and attributes.
func fill(t testing.TB, root string) {
	t.Helper()
	var spec strings.Builder
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 160, 161, 1023, 1024, 1025, 4095, 4096, 4097, 70000} {
		fmt.Fprintf(&spec, "file size/%d content=%q\n", n, text(n))
	}
	for i := range 1200 {
		fmt.Fprintf(&spec, "file many/%s%d\n", strings.Repeat("long_", i%37), i)
	}
	spec.WriteString(`
dir empty mode=0700
file bin/set-id mode=6755 content=program
file "odd/new\nline" content=a
file "odd/\xff\xfe" content=b
link link many
hard odd/hard bin/set-id
fifo pipe
file big/hole content=begin size=2000000
file big/empty size=3000000
`)
	treetest.Add(t, root, spec.String())
	long := filepath.Join(root, "long-link")
	if err := os.Symlink(strings.Repeat("x", 300), long); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "big/parts"), 900, 8192)
	for path, size := range map[string]int{"size/0": 10, "size/1": 60, "size/60": 61, "size/4096": 300, "many/0": 1, "bin/set-id": 200} {
		attrs(t, filepath.Join(root, path), size)
	}
}

// write makes a file of many parts, which begin at multiples of so many bytes.
func write(t testing.TB, path string, parts, step int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range parts {
		if _, err := f.WriteAt([]byte(text(100)), i*step); err != nil {
			t.Fatal(err)
		}
	}
}

func attrs(t testing.TB, path string, size int) {
	t.Helper()
	for _, name := range []string{"user.a", "user.b"} {
		if err := xattr.Set(path, name, []byte(text(size))); err != nil {
			t.Skipf("needs attributes in %s: %v", path, err)
		}
	}
}

// text returns n bytes of which no part is like another.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d of %d, ", i, n)
	}
	return b.String()[:n]
}

// images are file systems of all forms.
var images = map[string][]string{
	"default":         nil,
	"1k":              {"-b", "1024"},
	"2k":              {"-b", "2048", "-I", "512"},
	"64k":             {"-b", "65536", "-N", "2000"},
	"128-byte inodes": {"-I", "128"},
	"no checksums":    {"-O", "^metadata_csum,uninit_bg"},
	"ext2":            {"-t", "ext2", "-b", "1024"},
	"ext3":            {"-t", "ext3", "-I", "256", "-O", "^dir_index,^filetype"},
	"inline":          {"-O", "inline_data"},
	"inline 1k":       {"-O", "inline_data", "-b", "1024", "-I", "1024"},
	"bigalloc":        {"-O", "bigalloc", "-C", "16384"},
	"bigalloc 1k":     {"-O", "bigalloc", "-b", "1024", "-C", "4096"},
	"meta_bg":         {"-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024"},
	"32 bits":         {"-O", "^64bit,^flex_bg,^resize_inode,^sparse_super"},
	"sparse_super2":   {"-O", "sparse_super2,^resize_inode", "-b", "1024"},
	"seed":            {"-O", "metadata_csum_seed"},
	"casefold":        {"-O", "casefold"},
	"others":          {"-O", "encrypt,verity,large_dir,project,orphan_file,stable_inodes,quota,mmp"},
}

func TestReads(t *testing.T) {
	root := treetest.Make(t, "")
	fill(t, root)
	want := dumpTree(t, root)
	for name, options := range images {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := treetest.Ext4(t, root, 64, options...)
			got, want := dump(t, open(t, image)), maps.Clone(want)
			if strings.HasPrefix(name, "inline") { // mke2fs cuts them off (e2fsprogs 1.47.0)
				for _, hole := range []string{"/big/hole", "/big/empty"} {
					delete(got, hole)
					delete(want, hole)
				}
			}
			compare(t, got, want)
		})
	}
}

// TestReadsUnwritten reads blocks that are allocated, and were never written.
func TestReadsUnwritten(t *testing.T) {
	root := treetest.Make(t, "file f content=begin size=100000")
	image := treetest.Ext4(t, root, 8)
	treetest.Debugfs(t, image, "fallocate /f 2 10")
	got := dump(t, open(t, image))
	if want := entry(0o100644, uint32(os.Getuid()), uint32(os.Getgid()), append([]byte("begin"), make([]byte, 99995)...)); got["/f"] != want {
		t.Errorf("%.100q", got["/f"])
	}
}
