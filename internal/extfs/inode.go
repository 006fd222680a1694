package extfs

import (
	"errors"
	"fmt"
)

// Types of inodes, of i_mode: S_IFMT of stat(2).
const (
	modeType    = 0o170000
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

// Flags of inodes, of i_flags.
const (
	flagCompressed = 0x4
	flagEncrypted  = 0x800
	flagIndex      = 0x1000
	flagExtents    = 0x80000
	flagVerity     = 0x100000
	flagEAInode    = 0x200000
	flagInline     = 0x10000000
)

const groupNoInodes = 1 // EXT4_BG_INODE_UNINIT

// Errors about files that cannot be read.
var (
	// ErrEncrypted says that what is in a file or directory is not known without
	// its key (fscrypt).
	ErrEncrypted = errors.New("it is encrypted (fscrypt), and cannot be read without its key")
	// ErrCompressed says that a file was compressed by e2compr.
	ErrCompressed = errors.New("it is compressed by e2compr, which no kernel of today reads")
)

// An Inode is a file, a directory, or something else.
type Inode struct {
	Number     uint32
	Mode       uint32 // st_mode of stat(2)
	UID, GID   uint32
	Size       int64
	Links      uint16
	Generation uint32

	flags  uint32
	blocks [60]byte // i_block
	acl    uint64   // the block of attributes, 0 for none
	extra  int      // bytes of fields beyond 128
	tail   []byte   // what stands behind them, attributes for the most part
	seed   uint32   // of checksums
}

// IsDir, IsRegular and IsSymlink tell what an inode is.
func (in *Inode) IsDir() bool { return in.Mode&modeType == modeDir }

// IsRegular reports whether it is a regular file.
func (in *Inode) IsRegular() bool { return in.Mode&modeType == modeRegular }

// IsSymlink reports whether it is a symbolic link.
func (in *Inode) IsSymlink() bool { return in.Mode&modeType == modeSymlink }

// IsVerity reports whether it is a file with an fs-verity digest.
func (in *Inode) IsVerity() bool { return in.flags&flagVerity != 0 }

// where is what an inode is called in messages.
func (in *Inode) where() string { return fmt.Sprintf("inode %d", in.Number) }

// Root returns the root directory.
func (fs *FS) Root() (*Inode, error) {
	in, err := fs.inode(rootInode)
	if err == nil && !in.IsDir() {
		err = damaged("the root directory", "it is none")
	}
	return in, err
}

// Inode returns an inode that a directory has a name of.
func (fs *FS) Inode(n uint32) (*Inode, error) {
	if n < fs.super.firstInode || n > fs.super.inodes {
		return nil, damaged(fmt.Sprintf("inode %d", n), "there is no such file")
	}
	in, err := fs.inode(n)
	switch {
	case err != nil:
		return nil, err
	case in.Links == 0 || in.Mode == 0:
		return nil, damaged(in.where(), "it is deleted, and still has a name")
	case in.flags&flagEAInode != 0:
		return nil, damaged(in.where(), "it holds an attribute, and has a name")
	}
	return in, nil
}

// inode reads an inode.
func (fs *FS) inode(n uint32) (*Inode, error) {
	where := fmt.Sprintf("inode %d", n)
	if n == 0 || n > fs.super.inodes {
		return nil, damaged(where, "there is no such inode")
	}
	table, err := fs.table((n - 1) / fs.super.perGroup)
	if err != nil {
		return nil, err
	}
	b := make([]byte, fs.super.inodeSize)
	at := table*fs.super.blockSize + uint64((n-1)%fs.super.perGroup)*fs.super.inodeSize
	if err := readFull(fs.r, b, int64(at)); err != nil {
		return nil, fmt.Errorf("%s: reading: %w", where, err)
	}
	return fs.parseInode(n, b)
}

// parseInode reads the fields of an inode. Kernel: __ext4_iget() in
// fs/ext4/inode.c.
func (fs *FS) parseInode(n uint32, b []byte) (*Inode, error) {
	in := &Inode{
		Number: n, Mode: uint32(u16(b, 0)), Links: u16(b, 0x1a), Generation: u32(b, 0x64), flags: u32(b, 0x20),
		UID: uint32(u16(b, 2)) | uint32(u16(b, 0x78))<<16, GID: uint32(u16(b, 0x18)) | uint32(u16(b, 0x7a))<<16,
		acl: high(u32(b, 0x68), uint32(u16(b, 0x76))),
	}
	copy(in.blocks[:], b[0x28:])
	size := uint64(u32(b, 4))
	if in.IsRegular() || fs.super.incompat.has(incompatLargeDir) {
		size = high(u32(b, 4), u32(b, 0x6c))
	}
	if size >= 1<<32*fs.super.blockSize {
		return nil, damaged(in.where(), "it has %d bytes, which is more than a file can", size)
	}
	in.Size = int64(size)
	in.seed = crcNumber(crcNumber(fs.seed, n), in.Generation)
	if len(b) > oldInodeSize {
		if in.extra = int(u16(b, 0x80)); in.extra%4 != 0 || in.extra > len(b)-oldInodeSize {
			return nil, damaged(in.where(), "its fields take %d bytes of %d", oldInodeSize+in.extra, len(b))
		}
		in.tail = b[oldInodeSize+in.extra:]
	}
	if fs.checksums() && !in.checksumFits(b) {
		return nil, damaged(in.where(), "its checksum is wrong")
	}
	return in, nil
}

// checksumFits checks i_checksum. Kernel: ext4_inode_csum_verify().
func (in *Inode) checksumFits(b []byte) bool {
	want := uint32(u16(b, 0x7c))
	mask := uint32(0xffff)
	zero := [2]byte{}
	sum := crc(crc(in.seed, b[:0x7c]), zero[:])
	if len(b) == oldInodeSize || in.extra < 4 {
		sum = crc(sum, b[0x7e:])
	} else {
		want |= uint32(u16(b, 0x82)) << 16
		mask = ^uint32(0)
		sum = crc(crc(crc(sum, b[0x7e:0x82]), zero[:]), b[0x84:])
	}
	return sum&mask == want
}

// table returns the first block of a group's inodes.
func (fs *FS) table(group uint32) (uint64, error) {
	fs.mu.Lock()
	block, known := fs.tables[group]
	fs.mu.Unlock()
	if known {
		return block, nil
	}
	block, err := fs.readTable(group)
	if err == nil {
		fs.mu.Lock()
		fs.tables[group] = block
		fs.mu.Unlock()
	}
	return block, err
}

func (fs *FS) readTable(group uint32) (uint64, error) {
	s := &fs.super
	where := fmt.Sprintf("group %d", group)
	at := s.descriptor(uint64(group))
	if at > (s.blocks-1)*s.blockSize {
		return 0, damaged(where, "its descriptor is not in the file system")
	}
	b := make([]byte, s.descSize)
	if err := readFull(fs.r, b, int64(at)); err != nil {
		return 0, fmt.Errorf("%s: reading its descriptor: %w", where, err)
	}
	block := uint64(u32(b, 0x08))
	if s.incompat.has(incompat64Bit) {
		block = high(u32(b, 0x08), u32(b, 0x28))
	}
	size := (uint64(s.perGroup)*s.inodeSize + s.blockSize - 1) / s.blockSize
	hasChecksum := s.roCompat.has(roGDTCsum) || fs.checksums()
	switch {
	case hasChecksum && u16(b, 0x1e) != fs.descriptorSum(group, b):
		return 0, damaged(where, "the checksum of its descriptor is wrong")
	case block <= s.first, block >= s.blocks, size > s.blocks-block:
		return 0, damaged(where, "its inodes, at block %d, are not in the file system", block)
	case hasChecksum && u16(b, 0x12)&groupNoInodes != 0:
		return 0, damaged(where, "it has no inodes, and one has a name")
	}
	return block, nil
}

// descriptorSum returns the checksum of a descriptor. Kernel:
// ext4_group_desc_csum() in fs/ext4/super.c.
func (fs *FS) descriptorSum(group uint32, b []byte) uint16 {
	const sum, behind = 0x1e, 0x20
	if fs.checksums() {
		c := crc(crcNumber(fs.seed, group), b[:sum])
		return uint16(crc(crc(c, []byte{0, 0}), b[behind:]))
	}
	number := []byte{byte(group), byte(group >> 8), byte(group >> 16), byte(group >> 24)}
	c := crc16(crc16(^uint16(0), fs.super.uuid[:]), number)
	return crc16(crc16(c, b[:sum]), b[behind:])
}
