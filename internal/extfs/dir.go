package extfs

import (
	"bytes"
	"cmp"
	"slices"
)

const (
	direntHead = 8 // bytes of an entry before its name
	direntTail = 12
	// tailType is the type of the entry that holds a block's checksum.
	tailType = 0xde
	// inlineParent is how long the number of the parent is in a directory that
	// its inode holds.
	inlineParent = 4
	maxNames     = 1 << 30 // bytes, of all names of a directory
)

// A Dir is the list of what is in a directory, in the order of names. The entries
// for itself and its parent are left out.
type Dir struct {
	names   []byte
	entries []dirent
}

type dirent struct {
	inode uint32
	at    uint32 // in names
	len   uint8
}

// Len is how many entries there are.
func (d *Dir) Len() int { return len(d.entries) }

// Entry returns the name of an entry, and its inode's number.
func (d *Dir) Entry(i int) (name string, inode uint32) {
	e := d.entries[i]
	return string(d.name(e)), e.inode
}

// Find returns the inode of a name, 0 for none.
func (d *Dir) Find(name string) uint32 {
	i, ok := slices.BinarySearchFunc(d.entries, name, func(e dirent, name string) int { return bytes.Compare(d.name(e), []byte(name)) })
	if !ok {
		return 0
	}
	return d.entries[i].inode
}

func (d *Dir) name(e dirent) []byte { return d.names[e.at : e.at+uint32(e.len)] }

// ReadDir reads a directory. The error may be ErrEncrypted.
func (fs *FS) ReadDir(in *Inode) (*Dir, error) {
	if in.flags&flagEncrypted != 0 {
		return nil, ErrEncrypted
	}
	d := new(Dir)
	var err error
	if in.flags&flagInline != 0 {
		err = fs.readInlineDir(in, d)
	} else {
		err = fs.readDirBlocks(in, d)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(d.entries, func(a, b dirent) int { return bytes.Compare(d.name(a), d.name(b)) })
	for i := range d.entries[:max(0, len(d.entries)-1)] {
		if bytes.Equal(d.name(d.entries[i]), d.name(d.entries[i+1])) {
			return nil, damaged(in.where(), "it has two entries %q", d.name(d.entries[i]))
		}
	}
	return d, nil
}

// readInlineDir reads entries that the inode holds: those in the place of its
// blocks, and those in its attribute.
func (fs *FS) readInlineDir(in *Inode, d *Dir) error {
	b, err := fs.inline(in)
	if err != nil {
		return err
	}
	if int64(len(b)) != in.Size {
		return damaged(in.where(), "it has %d bytes in itself, and should have %d", len(b), in.Size)
	}
	if err := fs.readEntries(in, d, b[inlineParent:len(in.blocks)]); err != nil {
		return err
	}
	return fs.readEntries(in, d, b[len(in.blocks):])
}

func (fs *FS) readDirBlocks(in *Inode, d *Dir) error {
	size := fs.super.blockSize
	if uint64(in.Size)%size != 0 || uint64(in.Size)/size > fs.super.blocks || in.Size == 0 {
		return damaged(in.where(), "a directory has %d bytes", in.Size)
	}
	runs, err := fs.dirRuns(in, uint64(in.Size)/size)
	if err != nil {
		return err
	}
	b := make([]byte, size)
	isFirst := true
	for _, r := range runs {
		for i := range r.length {
			if err := fs.block(b, r.physical+i, in.where()); err != nil {
				return err
			}
			// As __ext4_read_dirblock() in fs/ext4/namei.c knows it.
			isIndex := in.flags&flagIndex != 0 && (isFirst || fs.entryLength(u16(b, 4)) == len(b))
			if err := fs.readDirBlock(in, d, b, isIndex); err != nil {
				return err
			}
			isFirst = false
		}
	}
	return nil
}

// dirRuns returns where the blocks of a directory are, each of which it has once:
// else a small image could hold a directory that is larger than all memory.
func (fs *FS) dirRuns(in *Inode, end uint64) ([]run, error) {
	m := mapper{fs: fs, in: in}
	var runs []run
	for logical := uint64(0); logical < end; {
		r, err := m.find(logical)
		if err != nil {
			return nil, err
		}
		if r.physical == 0 {
			return nil, damaged(in.where(), "block %d of the directory is nowhere", logical)
		}
		r.length = min(r.length, end-logical)
		logical += r.length
		runs = append(runs, r)
	}
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b run) int { return cmp.Compare(a.physical, b.physical) })
	for i := range len(sorted) - 1 {
		if sorted[i].physical+sorted[i].length > sorted[i+1].physical {
			return nil, damaged(in.where(), "block %d is in the directory twice", sorted[i+1].physical)
		}
	}
	return runs, nil
}

// readDirBlock reads the entries of a block, which ends in a checksum where there
// are checksums, unless it is one of the index: what that has there may be left from
// when it was none.
func (fs *FS) readDirBlock(in *Inode, d *Dir, b []byte, isIndex bool) error {
	if isIndex || !fs.checksums() {
		return fs.readEntries(in, d, b)
	}
	body, tail := b[:len(b)-direntTail], b[len(b)-direntTail:]
	hasTail := u32(tail, 0) == 0 && u16(tail, 4) == direntTail && tail[6] == 0 && tail[7] == tailType
	switch {
	case !hasTail:
		return damaged(in.where(), "a block of the directory has no checksum")
	case u32(tail, 8) != crc(in.seed, body):
		return damaged(in.where(), "the checksum of a block of the directory is wrong")
	}
	return fs.readEntries(in, d, body)
}

// readEntries reads entries, which fill b. Kernel: __ext4_check_dir_entry() in
// fs/ext4/dir.c.
func (fs *FS) readEntries(in *Inode, d *Dir, b []byte) error {
	for at := 0; at < len(b); {
		if len(b)-at < direntHead {
			return damaged(in.where(), "an entry of the directory is cut off")
		}
		e := b[at:]
		length, nameLen := fs.entryLength(u16(e, 4)), int(e[6])
		if !fs.super.incompat.has(incompatFiletype) {
			nameLen = int(u16(e, 6))
		}
		inode := u32(e, 0)
		if length < direntHead || length%4 != 0 || length > len(e) || direntHead+nameLen > length {
			return damaged(in.where(), "an entry of the directory has %d bytes, its name %d", length, nameLen)
		}
		at += length
		name := e[direntHead : direntHead+nameLen]
		if inode == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		if nameLen == 0 || nameLen > 255 || bytes.ContainsAny(name, "/\x00") {
			return damaged(in.where(), "an entry of the directory has the name %.40q", name)
		}
		if len(d.names) > maxNames {
			return damaged(in.where(), "the directory is larger than any")
		}
		d.entries = append(d.entries, dirent{inode: inode, at: uint32(len(d.names)), len: uint8(nameLen)})
		d.names = append(d.names, name...)
	}
	return nil
}

// entryLength returns the length of an entry, which has 16 bits. Kernel:
// ext4_rec_len_from_disk().
func (fs *FS) entryLength(n uint16) int {
	size := int(fs.super.blockSize)
	if size < 1<<16 {
		return int(n)
	}
	if n == 0 || n == 1<<16-1 {
		return size
	}
	return int(n&^3) | int(n&3)<<16
}
