// Package extfs reads file systems of the family ext2, ext3 and ext4 from an image:
// files, directories and attributes, by inode. It writes nothing.
//
// It is strict: what it does not understand it refuses by name, what contradicts
// itself is an error that says where, and nothing that an image says makes it read
// outside of it, hold more than a directory in memory, or go on without an end.
// Where there are checksums of metadata (the feature metadata_csum) they are
// checked.
//
// The layout, all numbers little endian:
//
//	superblock   1,024 bytes, at byte 1,024
//	descriptors  one of 32 bytes or more a group of blocks: where its inodes are
//	inodes       of s_inode_size bytes; number n is in group (n-1)/s_inodes_per_group
//
// An inode says where its content is, by a tree of extents, by blocks of pointers
// to blocks (ext2, ext3), or has it itself (inline_data). A directory's content is
// a list of names and inodes; its index (dir_index) looks like names that were
// deleted. Attributes stand behind the fields of an inode, and in one block more.
//
// Kernel: fs/ext4/ext4.h, super.c, inode.c, extents.c, dir.c, xattr.c;
// Documentation/filesystems/ext4.
package extfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
)

// A DamagedError says that a part of a file system contradicts itself, or what
// surrounds it.
type DamagedError struct {
	Where string // such as "inode 12"
	Why   string
}

func (e *DamagedError) Error() string { return e.Where + ": " + e.Why }

func damaged(where, format string, args ...any) error {
	return &DamagedError{where, fmt.Sprintf(format, args...)}
}

// A FeatureError says that a file system has features that are not known here, or
// that stand in the way.
type FeatureError struct {
	Names []string
	// Writing says that it can be read.
	Writing bool
}

func (e *FeatureError) Error() string {
	names := strings.Join(e.Names, ", ")
	if e.Writing {
		return "the file system has " + names + ", with which its labels cannot be changed"
	}
	return "the file system has " + names + ", which is not understood here"
}

// Errors about file systems that must be repaired before anything else.
var (
	// ErrRecover says that a journal, or a list of deleted files, has to be gone
	// through.
	ErrRecover = errors.New("the file system was not unmounted: its journal needs recovery")
	// ErrUnclean says that the file system is in use, was in use when its host
	// broke down, or that an error was found in it.
	ErrUnclean = errors.New("the file system is not marked as clean")
)

// An FS is a file system in an image. It is safe for concurrent use.
type FS struct {
	r     io.ReaderAt
	super super
	seed  uint32 // of checksums

	mu     sync.Mutex
	tables map[uint32]uint64 // the blocks of groups' inodes
}

// Open reads the superblock of a file system that is the first thing in r, which
// has size bytes. The error may be a *ForeignError, a *FeatureError, ErrRecover, or
// ErrUnclean.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	fs := &FS{r: r, tables: make(map[uint32]uint64)}
	b := make([]byte, superSize)
	if size < superAt+superSize || readFull(r, b, superAt) != nil || u16(b, 0x38) != superMagic {
		return nil, foreign(r, size)
	}
	if err := fs.super.parse(b, size); err != nil {
		return nil, err
	}
	fs.seed = crc(^uint32(0), fs.super.uuid[:])
	if fs.super.incompat.has(incompatCsumSeed) {
		fs.seed = u32(b, 0x270)
	}
	return fs, nil
}

// UUID is that of the file system, in the order of its text.
func (fs *FS) UUID() [16]byte { return fs.super.uuid }

// BlockSize is the size of a block in bytes.
func (fs *FS) BlockSize() int { return int(fs.super.blockSize) }

// Size is how many bytes the file system has.
func (fs *FS) Size() int64 { return int64(fs.super.blocks * fs.super.blockSize) }

// Free is how many bytes of it are free.
func (fs *FS) Free() int64 { return int64(fs.super.free * fs.super.blockSize) }

// Unit is the least that can be allocated, in bytes: a block, or a cluster of them
// (the feature bigalloc).
func (fs *FS) Unit() int64 { return int64(fs.super.blockSize * fs.super.ratio) }

// Written is when the superblock was written last, in seconds since 1970.
func (fs *FS) Written() uint32 { return fs.super.written }

// IsExt4 reports whether only the ext4 driver's own features are in use, and not
// just those of ext2 and ext3, which can be mounted under these names, too.
func (fs *FS) IsExt4() bool {
	return fs.super.incompat&^oldIncompat != 0 || fs.super.roCompat&^oldRoCompat != 0
}

// checksums reports whether metadata have checksums.
func (fs *FS) checksums() bool { return fs.super.roCompat.has(roMetadataCsum) }

// block reads a block into b, which has the size of one.
func (fs *FS) block(b []byte, n uint64, where string) error {
	if n < fs.super.first || n >= fs.super.blocks {
		return damaged(where, "block %d is not in the file system", n)
	}
	if err := readFull(fs.r, b, int64(n*fs.super.blockSize)); err != nil {
		return fmt.Errorf("%s: reading block %d: %w", where, n, err)
	}
	return nil
}

// readFull reads all of b, or returns an error.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func u16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

// high returns a number of which the upper half stands elsewhere.
func high(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc goes on with a checksum as the kernel does (crc32c_le), that is without
// turning it round at both ends.
func crc(sum uint32, b []byte) uint32 { return ^crc32.Update(^sum, castagnoli, b) }

// crcNumber goes on with a number of 32 bits.
func crcNumber(sum, n uint32) uint32 {
	return crc(sum, binary.LittleEndian.AppendUint32(nil, n))
}

// crc16 is the checksum of descriptors where metadata have no others. Kernel:
// lib/crc/crc16.c.
func crc16(sum uint16, b []byte) uint16 {
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			sum = sum>>1 ^ sum&1*0xa001
		}
	}
	return sum
}
