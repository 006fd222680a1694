package extfs

import (
	"bytes"
	"testing"
)

// FuzzImage reads images of which some bytes are others: each patch is a place, of
// three bytes, and what stands there then.
func FuzzImage(f *testing.F) {
	images := [][]byte{small(f, "extents"), small(f, "inline"), small(f, "pointers")}
	f.Add(0, []byte{0, 4, 0x38, 0})
	f.Add(1, []byte{0, 8, 8, 1, 0, 8, 9, 1})
	f.Add(2, []byte{0, 4, 0x18, 2})
	f.Fuzz(func(t *testing.T, which int, patches []byte) {
		b := bytes.Clone(images[uint(which)%uint(len(images))])
		for ; len(patches) >= 4; patches = patches[4:] {
			at := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
			b[at%len(b)] = patches[3]
		}
		walk(t, b)
	})
}

// FuzzSuper reads superblocks.
func FuzzSuper(f *testing.F) {
	image := small(f, "extents")
	f.Add(image[superAt:superAt+superSize], int64(len(image)))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if len(b) != superSize || size < 0 {
			return
		}
		var s super
		if s.parse(b, size) == nil {
			s.descriptor(s.groups - 1)
		}
	})
}

// FuzzAttrs reads lists of attributes.
func FuzzAttrs(f *testing.F) {
	f.Add([]byte{1, 6, 24, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0, 0, 0, 0, 0, 'x', 'y', 'z', 0}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, head uint8) {
		fs := &FS{super: super{blockSize: 4096, inodeSize: 256, ratio: 1}}
		list := b[min(int(head), len(b)):]
		all, err := fs.attrList(&Inode{}, list, b)
		total := 0
		for _, a := range all {
			total += attrSize(a.short)
		}
		if err == nil && total > len(list) {
			t.Errorf("%d attributes in %d bytes", len(all), len(list))
		}
	})
}

// FuzzDir reads blocks of directories.
func FuzzDir(f *testing.F) {
	f.Add([]byte{12, 0, 0, 0, 12, 0, 1, 1, 'a', 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := &FS{super: super{blockSize: 1024, incompat: incompatFiletype}}
		d := new(Dir)
		if fs.readEntries(&Inode{}, d, b) == nil && len(d.names) > len(b) {
			t.Errorf("names of %d bytes in %d", len(d.names), len(b))
		}
	})
}
