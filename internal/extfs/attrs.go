package extfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	attrMagic     = 0xea020000
	attrHead      = 16 // bytes of an entry before its name
	attrPad       = 4
	bodyHeader    = 4  // bytes before the entries in an inode
	blockHeader   = 32 // and in a block
	maxAttrValue  = 64 << 10
	inlineAttr    = "system.data"
	listEnd       = 4 // bytes of zeros behind the last entry
	blockRefcount = 4 // h_refcount
	blockChecksum = 16
)

// prefixes are what names of attributes begin with, by e_name_index. Kernel:
// fs/ext4/xattr.h.
var prefixes = map[uint8]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// Errors about attributes.
var (
	// ErrNoAttr says that a file has no such attribute.
	ErrNoAttr = errors.New("there is no such attribute")
	// ErrNoAttrs says that a file system holds none.
	ErrNoAttrs = errors.New("the file system holds no attributes (it has no feature ext_attr)")
)

// An attr is an attribute.
type attr struct {
	name  string // "" for one of a kind that has none
	short int    // bytes of the name as it is stored
	size  int
	value []byte // nil if inode holds it
	inode uint32
}

// Attrs are the attributes of a file.
type Attrs struct {
	fs    *FS
	in    *Inode
	body  []attr // in the inode
	block []attr // in its block
	// shared says that other files have the same block.
	shared bool
}

// Attrs reads the attributes of a file, but for values in inodes of their own.
// Kernel: fs/ext4/xattr.c.
func (fs *FS) Attrs(in *Inode) (*Attrs, error) {
	a := &Attrs{fs: fs, in: in}
	if len(in.tail) >= bodyHeader && in.extra > 0 && u32(in.tail, 0) == attrMagic {
		var err error
		if a.body, err = fs.attrList(in, in.tail[bodyHeader:], in.tail[bodyHeader:]); err != nil {
			return nil, err
		}
	}
	if in.acl == 0 {
		return a, nil
	}
	b := make([]byte, fs.super.blockSize)
	if err := fs.block(b, in.acl, in.where()); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	refcount := u32(b, blockRefcount)
	switch {
	case u32(b, 0) != attrMagic, u32(b, 8) != 1, refcount == 0:
		return nil, damaged(in.where(), "block %d does not hold attributes", in.acl)
	case fs.checksums() && !fs.attrSumFits(in.acl, b):
		return nil, damaged(in.where(), "the checksum of block %d, of attributes, is wrong", in.acl)
	}
	a.shared = refcount > 1
	var err error
	a.block, err = fs.attrList(in, b[blockHeader:], b)
	return a, err
}

func (fs *FS) attrSumFits(block uint64, b []byte) bool {
	sum := crcNumber(crcNumber(fs.seed, uint32(block)), uint32(block>>32))
	sum = crc(crc(sum, b[:blockChecksum]), make([]byte, 4))
	return crc(sum, b[blockChecksum+4:]) == u32(b, blockChecksum)
}

// attrList reads a list of attributes. Places of values are counted from the
// beginning of area. Kernel: check_xattrs().
func (fs *FS) attrList(in *Inode, list, area []byte) ([]attr, error) {
	var all []attr
	at := 0
	for len(list)-at >= listEnd && u32(list, at) != 0 {
		if len(list)-at < attrHead {
			return nil, damaged(in.where(), "an attribute is cut off")
		}
		e := list[at:]
		size := attrSize(int(e[0]))
		if size+listEnd > len(e) {
			return nil, damaged(in.where(), "the name of an attribute is cut off")
		}
		all = append(all, attr{
			name: attrName(e[1], e[attrHead:attrHead+int(e[0])]), short: int(e[0]), size: int(u32(e, 8)), inode: u32(e, 4),
		})
		at += size
	}
	names := len(area) - len(list) + at + listEnd // where values may begin
	at = 0
	for i := range all {
		a, e := &all[i], list[at:]
		at += attrSize(a.short)
		offset := int(u16(e, 2))
		switch {
		case a.size < 0 || a.size > maxAttrValue:
			return nil, damaged(in.where(), "the attribute %.60q has %d bytes", a.name, uint32(a.size))
		case a.inode != 0 && !fs.super.incompat.has(incompatEAInode):
			return nil, damaged(in.where(), "the attribute %.60q is in an inode, and the file system has no ea_inode", a.name)
		case a.inode != 0:
			continue
		case a.size > 0 && (offset < names || offset+a.size > len(area)):
			return nil, damaged(in.where(), "the attribute %.60q, %d bytes at %d, is not among the values", a.name, a.size, offset)
		case a.size == 0:
			a.value = []byte{}
			continue
		}
		a.value = area[offset : offset+a.size]
	}
	return all, nil
}

// attrSize is how long an entry is with a name of n bytes.
func attrSize(n int) int { return attrHead + padded(n) }

func padded(n int) int { return (n + attrPad - 1) &^ (attrPad - 1) }

// attrName returns the name of an attribute, or nothing for a kind that has none.
func attrName(index uint8, short []byte) string {
	prefix, ok := prefixes[index]
	if !ok {
		return ""
	}
	return prefix + string(short)
}

func (a *Attrs) all() []attr { return slices.Concat(a.body, a.block) }

// Names returns the names of the attributes that programs see, in no order.
func (a *Attrs) Names() []string {
	var names []string
	for _, x := range a.all() {
		if x.name != "" && x.name != inlineAttr {
			names = append(names, x.name)
		}
	}
	return names
}

// Value returns the value of an attribute, which may be empty; the error may be
// ErrNoAttr. It is not to be written to.
func (a *Attrs) Value(name string) ([]byte, error) {
	for _, x := range a.all() {
		if x.name != name || name == "" {
			continue
		}
		if x.inode == 0 {
			return x.value, nil
		}
		return a.fs.attrInode(x)
	}
	return nil, ErrNoAttr
}

// attrInode reads a value that has an inode of its own. Kernel:
// ext4_xattr_inode_get().
func (fs *FS) attrInode(x attr) ([]byte, error) {
	in, err := fs.inode(x.inode)
	if err != nil {
		return nil, err
	}
	if !in.IsRegular() || in.flags&flagEAInode == 0 || in.flags&flagInline != 0 || in.Links == 0 || in.Size != int64(x.size) {
		return nil, damaged(in.where(), "it should hold %d bytes of the attribute %.60q", x.size, x.name)
	}
	c, err := fs.Content(in)
	if err != nil {
		return nil, err
	}
	b := make([]byte, x.size)
	return b, readFull(c, b, 0)
}

// split returns the part of a name that is stored.
func split(name string) (short string) {
	for _, index := range []uint8{3, 2, 8, 6, 4, 7, 1} { // the longest first
		if rest, ok := strings.CutPrefix(name, prefixes[index]); ok {
			return rest
		}
	}
	return name
}
