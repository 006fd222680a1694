package extfs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// smallImages are images without checksums, so that what is changed in them is
// looked at, and with something of each kind. They are in testdata, compressed;
// go test -run TestSmallImages -make makes them anew.
var smallImages = map[string][]string{
	"extents":  {"-O", "^has_journal,^metadata_csum,^uninit_bg,^resize_inode,^flex_bg"},
	"inline":   {"-O", "^has_journal,^metadata_csum,^uninit_bg,^resize_inode,^flex_bg,inline_data,ea_inode"},
	"pointers": {"-O", "^has_journal,^metadata_csum,^uninit_bg,^resize_inode,^flex_bg,^extents,^64bit,^dir_index"},
}

var makeImages = flag.Bool("make", false, "make the images in testdata")

func smallPath(name string) string { return "testdata/" + name + ".img.gz" }

// TestSmallImages makes the images, or reads them.
func TestSmallImages(t *testing.T) {
	for name, options := range smallImages {
		if !*makeImages {
			if err := walk(t, small(t, name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		root := treetest.Make(t, "file a content=a\nfile d/f size=5000\ndir e\nlink l d\nhard d/h a\n")
		write(t, root+"/parts", 400, 2048)
		for i := range 20 {
			treetest.Add(t, root, fmt.Sprintf("file many/%s%d\n", strings.Repeat("x", 100), i))
		}
		attrs(t, root+"/a", 10)
		attrs(t, root+"/d/f", 150)
		image := treetest.Ext4(t, root, 2, append([]string{"-b", "1024", "-N", "80"}, options...)...)
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(smallPath(name), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func small(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(smallPath(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bounded fails the test where something is read that is not there.
type bounded struct {
	t testing.TB
	b []byte
}

func (r bounded) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(b)) > int64(len(r.b)) {
		r.t.Errorf("%d bytes at %d are read, of %d", len(b), off, len(r.b))
		return 0, io.EOF
	}
	return copy(b, r.b[off:]), nil
}

// walk reads all that there is in an image, and returns the first error.
func walk(t testing.TB, image []byte) error {
	fs, err := Open(bounded{t, image}, int64(len(image)))
	if err != nil {
		return err
	}
	root, err := fs.Root()
	if err != nil {
		return err
	}
	var first error
	fail := func(err error) {
		if first == nil {
			first = err
		}
	}
	queue, seen := []*Inode{root}, map[uint32]bool{rootInode: true}
	for len(queue) > 0 {
		in := queue[0]
		queue = queue[1:]
		d, err := fs.ReadDir(in)
		if err != nil {
			fail(err)
			continue
		}
		for i := range d.Len() {
			_, number := d.Entry(i)
			child, err := fs.Inode(number)
			if err != nil {
				fail(err)
				continue
			}
			if child.IsDir() && !seen[number] {
				queue = append(queue, child)
			}
			seen[number] = true
			fail(read(fs, child))
		}
	}
	return first
}

// read reads the beginning and the end of a file, and its attributes.
func read(fs *FS, in *Inode) error {
	attrs, err := fs.Attrs(in)
	if err != nil {
		return err
	}
	for _, name := range attrs.Names() {
		if _, err := attrs.Value(name); err != nil {
			return err
		}
	}
	attrs.Room().Need()
	if in.IsSymlink() {
		_, err := fs.target(in)
		return err
	}
	if !in.IsRegular() {
		return nil
	}
	c, err := fs.Content(in)
	if err != nil {
		return err
	}
	c.VerityDigest()
	b := make([]byte, 16<<10)
	if _, err := c.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	if _, err := c.ReadAt(b, max(0, in.Size-int64(len(b)))); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// places are where something stands in an image.
type places struct {
	fs    *FS
	image []byte
}

func (p places) inode(t *testing.T, name string) (at int) {
	in, err := p.fs.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &p.fs.super
	table, err := p.fs.table((in.Number - 1) / s.perGroup)
	if err != nil {
		t.Fatal(err)
	}
	return int(table*s.blockSize + uint64((in.Number-1)%s.perGroup)*s.inodeSize)
}

// content is where the first block of a file is.
func (p places) content(t *testing.T, name string) (at int) {
	in, err := p.fs.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&mapper{fs: p.fs, in: in}).find(0)
	if err != nil {
		t.Fatal(err)
	}
	return int(r.physical * p.fs.super.blockSize)
}

func put16(b []byte, at int, v uint16) { binary.LittleEndian.PutUint16(b[at:], v) }
func put32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }

func TestSuperblocksThatLie(t *testing.T) {
	image := small(t, "extents")
	if err := walk(t, image); err != nil {
		t.Fatal(err)
	}
	const s = superAt
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"no magic", func(b []byte) { put16(b, s+0x38, 0) }, "there is no ext4"},
		{"revision", func(b []byte) { put32(b, s+0x4c, 2) }, "revision 2"},
		{"block size", func(b []byte) { put32(b, s+0x18, 7) }, "blocks of 2^7 KiB"},
		{"other block size", func(b []byte) { put32(b, s+0x18, 2) }, "the first block is 1"},
		{"huge block size", func(b []byte) { put32(b, s+0x18, 1<<31) }, "superblock: blocks of"},
		{"first block", func(b []byte) { put32(b, s+0x14, 5) }, "the first block is 5"},
		{"blocks", func(b []byte) { put32(b, s+0x04, 1<<30) }, "cut off"},
		{"no blocks", func(b []byte) { put32(b, s+0x04, 0) }, "are free"},
		{"free blocks", func(b []byte) { put32(b, s+0x0c, 1<<30) }, "are free"},
		{"blocks of groups", func(b []byte) { put32(b, s+0x20, 0) }, "a group has 0 blocks"},
		{"many blocks of groups", func(b []byte) { put32(b, s+0x20, 8193) }, "a group has 8193 blocks"},
		{"inodes", func(b []byte) { put32(b, s, 1<<20) }, "there are 1048576 inodes"},
		{"inodes of groups", func(b []byte) { put32(b, s+0x28, 0) }, "a group has 0 inodes"},
		{"inode size", func(b []byte) { put16(b, s+0x58, 0) }, "an inode has 0 bytes"},
		{"odd inode size", func(b []byte) { put16(b, s+0x58, 300) }, "an inode has 300 bytes"},
		{"large inodes", func(b []byte) { put16(b, s+0x58, 2048) }, "an inode has 2048 bytes"},
		{"first inode", func(b []byte) { put32(b, s+0x54, 3) }, "the first inode is 3"},
		{"extra size", func(b []byte) { put16(b, s+0x15e, 0xfffc) }, "65532 bytes more"},
		{"descriptor size", func(b []byte) { put16(b, s+0xfe, 63) }, "descriptors of groups have 63"},
		{"state", func(b []byte) { put16(b, s+0x3a, 0) }, "not marked as clean"},
		{"errors", func(b []byte) { put16(b, s+0x3a, 3) }, "not marked as clean"},
		{"recovery", func(b []byte) { b[s+0x60] |= 4 }, "needs recovery"},
		{"orphans", func(b []byte) { put32(b, s+0xe8, 12) }, "needs recovery"},
		{"orphan file", func(b []byte) { b[s+0x66] |= 1 }, "needs recovery"},
		{"compression", func(b []byte) { b[s+0x60] |= 1 }, "the file system has compression, which is not understood"},
		{"journal device", func(b []byte) { b[s+0x60] |= 8 }, "has journal_dev,"},
		{"unknown", func(b []byte) { b[s+0x5f], b[s+0x63], b[s+0x67] = 0x80, 0x80, 0x80 }, "has FEATURE_C31, FEATURE_I31, FEATURE_R31,"},
		{"hurd", func(b []byte) { put32(b, s+0x48, 1) }, "GNU/Hurd"},
		{"checksum", func(b []byte) { b[s+0x65] |= 4 }, "its checksum is wrong"},
		{"table", func(b []byte) { put32(b, 2048+8, 1<<20) }, "its inodes, at block 1048576, are not in"},
		{"table at the end", func(b []byte) { put32(b, 2048+8, uint32(len(b)/1024)-1) }, "are not in the file system"},
		{"root", func(b []byte) { put32(b, 2048+8, 1) }, "group 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(image)
			tt.change(b)
			if err := walk(t, b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestFilesThatLie(t *testing.T) {
	image := small(t, "extents")
	fs, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	p := places{fs, image}
	a, dir, many, parts := p.inode(t, "a"), p.inode(t, "d"), p.inode(t, "many"), p.inode(t, "parts")
	names, middle := p.content(t, "d"), int(u32(image, parts+0x28+16))*1024
	node := int(u32(image, middle+16)) * 1024
	block := int(u32(image, p.inode(t, "d/f")+0x68)) * 1024
	if u32(image, block) != attrMagic || u16(image, node) != extentMagic {
		t.Fatal("the image is not what the test takes it for")
	}
	const body = oldInodeSize + 32 // of a
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"deleted", func(b []byte) { put16(b, a+0x1a, 0) }, "it is deleted"},
		{"value with a name", func(b []byte) { put32(b, a+0x20, flagEAInode) }, "holds an attribute"},
		{"encrypted", func(b []byte) { put32(b, a+0x20, flagEncrypted) }, "it is encrypted"},
		{"encrypted directory", func(b []byte) { put32(b, dir+0x20, flagEncrypted|flagExtents) }, "it is encrypted"},
		{"compressed", func(b []byte) { put32(b, a+0x20, flagCompressed) }, "e2compr"},
		{"inline", func(b []byte) { put32(b, a+0x20, flagInline) }, "has no inline_data"},
		{"huge", func(b []byte) { put32(b, a+0x6c, 1<<31) }, "more than a file can"},
		{"fields", func(b []byte) { put16(b, a+0x80, 200) }, "its fields take 328"},
		{"odd fields", func(b []byte) { put16(b, a+0x80, 3) }, "its fields take 131"},

		{"extents: magic", func(b []byte) { put16(b, parts+0x28, 0) }, "a node of its extents"},
		{"extents: depth", func(b []byte) { put16(b, parts+0x28+6, 9) }, "at depth 9"},
		{"extents: other depth", func(b []byte) { put16(b, parts+0x28+6, 3) }, "is at depth 1, and should be at 2"},
		{"extents: entries", func(b []byte) { put16(b, parts+0x28+2, 5) }, "a node of its extents has 5"},
		{"extents: child", func(b []byte) { put32(b, parts+0x28+16, 1<<30) }, "block 1073741824 is not in"},
		{"extents: itself", func(b []byte) { put32(b, middle+16, uint32(middle/1024)) }, "of its extents is at"},
		{"extents: none", func(b []byte) { put16(b, node+2, 0) }, "of its extents has none"},
		{"extents: order", func(b []byte) { put32(b, node+24, 0) }, "entry 1 of its extents is at 0"},
		{"extents: beyond the parent", func(b []byte) { put32(b, node+12*20, 1<<31) }, "and not between"},
		{"extents: overlap", func(b []byte) { put16(b, node+12+4, 100) }, "has 100 blocks, and the next one is at"},
		{"extents: empty", func(b []byte) { put16(b, node+12+4, 0) }, "has 0 blocks"},
		{"extents: outside", func(b []byte) { put32(b, node+12+8, 3072) }, "is not in the file system"},
		{"extents: far outside", func(b []byte) { put16(b, node+12+6, 0xffff) }, "is not in the file system"},
		{"extents: superblock", func(b []byte) { put32(b, node+12+8, 1) }, "is not in the file system"},

		{"directory: size", func(b []byte) { put32(b, dir+4, 1000) }, "a directory has 1000 bytes"},
		{"directory: empty", func(b []byte) { put32(b, dir+4, 0) }, "a directory has 0 bytes"},
		{"directory: hole", func(b []byte) { put32(b, dir+4, 4096) }, "block 1 of the directory is nowhere"},
		{"directory: huge", func(b []byte) { put32(b, dir+4, 1<<30) }, "a directory has 1073741824 bytes"},
		{"directory: twice the same", func(b []byte) { twice(b, many) }, "is in the directory twice"},
		{"entry: no length", func(b []byte) { put16(b, names+4, 0) }, "has 0 bytes"},
		{"entry: odd length", func(b []byte) { put16(b, names+4, 13) }, "has 13 bytes"},
		{"entry: beyond the block", func(b []byte) { put16(b, names+4, 2000) }, "has 2000 bytes"},
		{"entry: long name", func(b []byte) { b[names+6] = 50 }, "its name 50"},
		{"entry: no name", func(b []byte) { b[names+24+6] = 0 }, `has the name ""`},
		{"entry: slash", func(b []byte) { b[names+24+8] = '/' }, `has the name "/"`},
		{"entry: no inode", func(b []byte) { put32(b, names+24, 100000) }, "there is no such file"},
		{"entry: the root", func(b []byte) { put32(b, names+24, 2) }, "there is no such file"},
		{"entry: reserved", func(b []byte) { put32(b, names+24, 8) }, "there is no such file"},
		{"entry: two of a name", func(b []byte) { b[names+24+8] = 'h' }, `two entries "h"`},

		{"attribute: offset", func(b []byte) { put16(b, a+body+4+2, 1000) }, "is not among the values"},
		{"attribute: into names", func(b []byte) { put16(b, a+body+4+2, 4) }, "is not among the values"},
		{"attribute: size", func(b []byte) { put32(b, a+body+4+8, 90) }, "is not among the values"},
		{"attribute: huge", func(b []byte) { put32(b, a+body+4+8, 1<<31) }, "has 2147483648 bytes"},
		{"attribute: name", func(b []byte) { b[a+body+4] = 255 }, "the name of an attribute is cut off"},
		{"attribute: inode", func(b []byte) { put32(b, a+body+4+4, 12) }, "has no ea_inode"},
		{"attributes: block", func(b []byte) { put32(b, a+0x68, 1<<20) }, "block 1048576 is not in"},
		{"attributes: other block", func(b []byte) { put32(b, a+0x68, uint32(names/1024)) }, "does not hold attributes"},
		{"attributes: unused", func(b []byte) { put32(b, block+4, 0) }, "does not hold attributes"},
		{"attributes: two blocks", func(b []byte) { put32(b, block+8, 2) }, "does not hold attributes"},
		{"attributes: no end", func(b []byte) { endless(b, block) }, "is cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(image)
			tt.change(b)
			if err := walk(t, b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// twice lets the first two extents of a directory be the same block.
func twice(b []byte, inode int) {
	n := inode + 0x28
	block := u32(b, n+12+8)
	put32(b, inode+4, 2048)
	put16(b, n+2, 2)
	for i := range 2 {
		e := n + 12*(1+i)
		put32(b, e, uint32(i))
		put16(b, e+4, 1)
		put16(b, e+6, 0)
		put32(b, e+8, block)
	}
}

// endless fills a block with names of attributes.
func endless(b []byte, block int) {
	for at := block + blockHeader; at < block+1024; at += attrHead {
		put32(b, at, 0x100)
		put32(b, at+8, 0)
	}
}

// TestTruncated cuts an image off everywhere.
func TestTruncated(t *testing.T) {
	image := small(t, "extents")
	for size := 0; size < len(image); size += 1021 {
		err := walk(t, image[:size])
		if _, isForeign := errors.AsType[*ForeignError](err); !isForeign && (err == nil || !strings.Contains(err.Error(), "cut off")) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, f := range formats {
		b := make([]byte, 0x11000)
		copy(b[f.at:], f.magic)
		_, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil || err.Error() != "it is no ext4 file system, but "+f.name {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	for _, size := range []int{0, 1, 1023, 1024, 2047, 5000} {
		if _, err := Open(bytes.NewReader(make([]byte, size)), int64(size)); err == nil || err.Error() != "there is no ext4 file system" {
			t.Errorf("%d zeros: %v", size, err)
		}
	}
}
