package extfs

import (
	"errors"
	"fmt"
	"slices"
)

// A NoRoomError says that an attribute does not fit beside the others of its
// file.
type NoRoomError struct {
	Attr       string
	Size, Room int // bytes: of the value, and that are left for it
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("there is no room for %d bytes of %s: %d are left in the block of the file's attributes", e.Size, e.Attr, e.Room)
}

// ErrOwnInode says that an attribute cannot be changed without leaving behind what
// e2fsck has to mend.
var ErrOwnInode = errors.New("its value has an inode of its own (ea_inode), which debugfs does not count right")

// A Room knows where debugfs puts attributes of a file, and so whether they fit,
// and what that takes. It goes by the rules of ext2fs_xattr_set() in libext2fs
// (lib/ext2fs/ext_attr.c), which are simpler than the kernel's: an attribute goes
// into the inode if it fits there beside those that are in it, else into the block.
// What it would put into an inode of its own (the feature ea_inode) does not fit:
// it does not count the blocks of that, and e2fsck would find an error.
type Room struct {
	fs          *FS
	body, block []slot
	bodySize    int
	owns        bool // a block that no other file has
	hadBlock    bool
}

// A slot is an attribute and what it takes.
type slot struct {
	name    string
	size    int  // bytes of the value that are stored beside the name
	head    int  // bytes of the entry
	inInode bool // the value has an inode of its own
}

// Room returns what there is for the attributes of a file.
func (a *Attrs) Room() *Room {
	r := &Room{fs: a.fs, body: slots(a.body), block: slots(a.block), hadBlock: a.in.acl != 0, owns: a.in.acl != 0 && !a.shared}
	if a.fs.super.inodeSize > oldInodeSize {
		extra := a.in.extra
		if extra == 0 {
			extra = max(a.fs.super.wantExtra, 4)
		}
		r.bodySize = int(a.fs.super.inodeSize) - oldInodeSize - extra - bodyHeader - listEnd
	}
	return r
}

func slots(attrs []attr) []slot {
	var s []slot
	for _, a := range attrs {
		size := a.size
		if a.inode != 0 {
			size = 0
		}
		s = append(s, slot{a.name, size, attrSize(a.short), a.inode != 0})
	}
	return s
}

func (s slot) need() int { return s.head + padded(s.size) }

func used(slots []slot) int {
	n := 0
	for _, s := range slots {
		n += s.need()
	}
	return n
}

// blockRoom is how many bytes of entries and values a block holds.
func (r *Room) blockRoom() int { return r.fs.BlockSize() - blockHeader - listEnd }

// Set gives an attribute a value of so many bytes. The error may be a *NoRoomError
// or ErrOwnInode.
func (r *Room) Set(name string, size int) error {
	s := slot{name: name, size: size, head: attrSize(len(split(name)))}
	if r.isInInode(name) {
		return ErrOwnInode
	}
	if r.fs.super.incompat.has(incompatEAInode) {
		if most := r.blockRoom() - attrSize(3); size > most { // EXT4_XATTR_MIN_LARGE_EA_SIZE
			return &NoRoomError{Attr: name, Size: size, Room: most}
		}
	}
	if r.put(s) {
		return nil
	}
	return &NoRoomError{Attr: name, Size: size, Room: max(0, r.blockRoom()-used(without(r.block, name))-s.head)}
}

// put puts an attribute into the inode or the block, if there is room.
func (r *Room) put(s slot) bool {
	body, block := without(r.body, s.name), without(r.block, s.name)
	switch {
	case s.need() <= r.bodySize-used(body):
		body = append(body, s)
	case s.need() <= r.blockRoom()-used(block):
		block = append(block, s)
	default:
		return false
	}
	r.body, r.block = body, block
	return true
}

// Remove removes an attribute. The error may be ErrOwnInode.
func (r *Room) Remove(name string) error {
	if r.isInInode(name) {
		return ErrOwnInode
	}
	r.body, r.block = without(r.body, name), without(r.block, name)
	return nil
}

func (r *Room) isInInode(name string) bool {
	is := func(s slot) bool { return s.inInode && s.name == name }
	return slices.ContainsFunc(r.body, is) || slices.ContainsFunc(r.block, is)
}

func without(slots []slot, name string) []slot {
	return slices.DeleteFunc(slices.Clone(slots), func(s slot) bool { return s.name == name })
}

// Need is how many bytes of the file system the attributes take that they did not
// take before. A block that is there is kept by debugfs, an empty one too.
func (r *Room) Need() int64 {
	if !r.owns && (r.hadBlock || len(r.block) > 0) {
		return r.fs.Unit()
	}
	return 0
}

// Most is how many bytes all attributes of a file may take in its block.
func (r *Room) Most() int { return r.blockRoom() }
