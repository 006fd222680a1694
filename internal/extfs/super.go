package extfs

import (
	"bytes"
	"io"
)

const (
	superAt, superSize = 1024, 1024
	superMagic         = 0xef53

	stateValid, stateErrors = 1, 2 // of s_state
	creatorHurd             = 1    // of s_creator_os
	checksumCRC32C          = 1    // of s_checksum_type

	oldInodeSize  = 128
	maxLogBlock   = 6 // blocks of 64 KiB
	maxLogCluster = 20
	minFirstInode = 11
	rootInode     = 2
)

// A super is what a superblock says.
type super struct {
	compat, incompat, roCompat features

	inodes     uint32
	firstInode uint32 // the first that is not reserved
	inodeSize  uint64
	perGroup   uint32 // inodes

	blocks, free   uint64
	first          uint64 // block of the first group
	blockSize      uint64
	ratio          uint64 // blocks that are allocated together
	blocksPerGroup uint64
	groups         uint64

	descSize    uint64
	firstMetaBG uint64 // block of descriptors that is elsewhere
	backups     [2]uint32

	wantExtra int // bytes of fields in a new inode beyond 128
	written   uint32
	uuid      [16]byte
}

// parse reads a superblock of a file system that may have so many bytes.
func (s *super) parse(b []byte, size int64) error {
	revision := u32(b, 0x4c)
	if revision > 1 {
		return damaged("superblock", "revision %d is not known", revision)
	}
	s.inodeSize, s.firstInode = oldInodeSize, minFirstInode
	if revision == 1 {
		s.compat, s.incompat, s.roCompat = features(u32(b, 0x5c)), features(u32(b, 0x60)), features(u32(b, 0x64))
		s.inodeSize, s.firstInode = uint64(u16(b, 0x58)), u32(b, 0x54)
	}
	if s.roCompat.has(roMetadataCsum) && (b[0x175] != checksumCRC32C || u32(b, 0x3fc) != crc(^uint32(0), b[:0x3fc])) {
		return damaged("superblock", "its checksum is wrong")
	}
	if err := s.checkFeatures(); err != nil {
		return err
	}
	if u32(b, 0x48) == creatorHurd {
		return &FeatureError{Names: []string{"inodes of GNU/Hurd"}}
	}
	copy(s.uuid[:], b[0x68:])
	s.written = u32(b, 0x30)
	s.backups = [2]uint32{u32(b, 0x24c), u32(b, 0x250)}
	s.wantExtra = int(u16(b, 0x15e))
	if err := s.parseBlocks(b, size); err != nil {
		return err
	}
	if err := s.parseInodes(b); err != nil {
		return err
	}
	return s.checkState(b)
}

// parseBlocks reads what there is about blocks and groups. Kernel:
// ext4_handle_clustersize(), ext4_check_geometry() in fs/ext4/super.c.
func (s *super) parseBlocks(b []byte, size int64) error {
	logBlock, logCluster := u32(b, 0x18), u32(b, 0x1c)
	isBigalloc := s.roCompat.has(roBigalloc)
	switch {
	case logBlock > maxLogBlock:
		return damaged("superblock", "blocks of 2^%d KiB are none", logBlock)
	case isBigalloc && (logCluster < logBlock || logCluster > maxLogCluster):
		return damaged("superblock", "clusters of 2^%d KiB do not hold blocks of 2^%d", logCluster, logBlock)
	}
	s.blockSize, s.ratio = 1024<<logBlock, 1
	if isBigalloc {
		s.ratio = 1 << (logCluster - logBlock)
	}
	s.blocks, s.free = uint64(u32(b, 0x04)), uint64(u32(b, 0x0c))
	s.descSize = 32
	if s.incompat.has(incompat64Bit) {
		s.blocks, s.free = high(u32(b, 0x04), u32(b, 0x150)), high(u32(b, 0x0c), u32(b, 0x158))
		s.descSize = uint64(u16(b, 0xfe))
		if s.descSize < 64 || s.descSize > 1024 || s.descSize&(s.descSize-1) != 0 {
			return damaged("superblock", "descriptors of groups have %d bytes", s.descSize)
		}
	}
	s.first = uint64(u32(b, 0x14))
	s.blocksPerGroup = uint64(u32(b, 0x20))
	s.firstMetaBG = uint64(u32(b, 0x104))
	wantFirst := uint64(0)
	if s.blockSize*s.ratio == 1024 {
		wantFirst = 1
	}
	switch {
	case s.first != wantFirst:
		return damaged("superblock", "the first block is %d", s.first)
	case s.blocksPerGroup == 0, s.blocksPerGroup%s.ratio != 0, s.blocksPerGroup/s.ratio > 8*s.blockSize:
		return damaged("superblock", "a group has %d blocks", s.blocksPerGroup)
	case s.blocks <= s.first, s.free > s.blocks:
		return damaged("superblock", "%d of %d blocks are free", s.free, s.blocks)
	case s.blocks > uint64(size)/s.blockSize:
		return damaged("superblock", "the file system has %d blocks of %d bytes, and there are only %d bytes: the image is cut off, or the partition smaller", s.blocks, s.blockSize, size)
	}
	s.groups = (s.blocks - s.first + s.blocksPerGroup - 1) / s.blocksPerGroup
	return nil
}

// parseInodes reads what there is about inodes.
func (s *super) parseInodes(b []byte) error {
	s.inodes, s.perGroup = u32(b, 0x00), u32(b, 0x28)
	perBlock := s.blockSize / max(s.inodeSize, 1)
	switch {
	case s.inodeSize < oldInodeSize, s.inodeSize > s.blockSize, s.inodeSize&(s.inodeSize-1) != 0:
		return damaged("superblock", "an inode has %d bytes", s.inodeSize)
	case uint64(s.perGroup) < perBlock, uint64(s.perGroup) > 8*s.blockSize:
		return damaged("superblock", "a group has %d inodes", s.perGroup)
	case uint64(s.inodes) != s.groups*uint64(s.perGroup):
		return damaged("superblock", "there are %d inodes, and %d groups of %d", s.inodes, s.groups, s.perGroup)
	case s.firstInode < minFirstInode, s.firstInode > s.inodes:
		return damaged("superblock", "the first inode is %d of %d", s.firstInode, s.inodes)
	case s.wantExtra%4 != 0, uint64(s.wantExtra) > s.inodeSize-oldInodeSize:
		return damaged("superblock", "inodes are to have %d bytes more", s.wantExtra)
	}
	return nil
}

// checkState refuses what has to be repaired first.
func (s *super) checkState(b []byte) error {
	switch state := u16(b, 0x3a); {
	case s.incompat.has(incompatRecover), s.roCompat.has(roOrphanPresent), u32(b, 0xe8) != 0:
		return ErrRecover
	case state&stateValid == 0, state&stateErrors != 0:
		return ErrUnclean
	}
	return nil
}

// hasSuper reports whether a group begins with a copy of the superblock. Kernel:
// ext4_bg_has_super() in fs/ext4/balloc.c.
func (s *super) hasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case s.compat.has(compatSparseSuper2):
		return group == uint64(s.backups[0]) || group == uint64(s.backups[1])
	case group <= 1, !s.roCompat.has(roSparseSuper):
		return true
	case group%2 == 0:
		return false
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// descriptor returns the place of a group's descriptor, in bytes. Kernel:
// descriptor_loc() in fs/ext4/super.c.
func (s *super) descriptor(group uint64) uint64 {
	perBlock := s.blockSize / s.descSize
	nr, at := group/perBlock, group%perBlock*s.descSize
	superBlock := superAt / s.blockSize
	if !s.incompat.has(incompatMetaBG) || nr < s.firstMetaBG {
		return (superBlock+1+nr)*s.blockSize + at
	}
	holder := nr * perBlock
	block := s.first + holder*s.blocksPerGroup
	if s.hasSuper(holder) {
		block++
	}
	if nr == 0 && superBlock > s.first {
		block++
	}
	return block*s.blockSize + at
}

// A ForeignError says that something is no file system of the family.
type ForeignError struct {
	Format string // what it is, "" where that is not known
}

func (e *ForeignError) Error() string {
	if e.Format == "" {
		return "there is no ext4 file system"
	}
	return "it is no ext4 file system, but " + e.Format
}

// formats are what one may take for an image, by bytes at a place.
var formats = []struct {
	at    int64
	magic string
	name  string
}{
	{0, "XFSB", "xfs"},
	{0, "hsqs", "squashfs"},
	{1024, "\xe2\xe1\xf5\xe0", "erofs"},
	{0x10040, "_BHRfS_M", "btrfs"},
	{1024, "\x10\x20\xf5\xf2", "f2fs"},
	{0x8001, "CD001", "an ISO 9660 image"},
	{0, "LUKS\xba\xbe", "encrypted (LUKS)"},
	{0x218, "LVM2 001", "a volume of LVM"},
	{0, "QFI\xfb", "a qcow2 image"},
	{0, "KDMV", "a VMDK image"},
	{0, "vhdxfile", "a VHDX image"},
	{0, "conectix", "a VHD image"},
	{0, "\x3a\xff\x26\xed", "a sparse image of Android"},
	{257, "ustar", "a tar archive"},
	{0, "\x1f\x8b", "compressed (gzip)"},
	{0, "\x28\xb5\x2f\xfd", "compressed (zstd)"},
	{0, "\xfd7zXZ\x00", "compressed (xz)"},
	{0, "BZh", "compressed (bzip2)"},
}

// foreign tells what is there.
func foreign(r io.ReaderAt, size int64) error {
	for _, f := range formats {
		b := make([]byte, len(f.magic))
		if f.at+int64(len(b)) <= size && readFull(r, b, f.at) == nil && bytes.Equal(b, []byte(f.magic)) {
			return &ForeignError{f.name}
		}
	}
	return &ForeignError{}
}
