package inode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errDamaged = errors.New("attributes that cannot be read")

// Sizes and places in bytes of what ext4 has on the disk, fs/ext4/ext4.h and
// fs/ext4/xattr.h.
const (
	ext4Superblock   = 1024
	ext4PerGroup     = 0x28 // s_inodes_per_group, in the superblock
	ext4InodeSize    = 0x58 // s_inode_size
	ext4OldInode     = 128
	ext4ExtraSize    = 0x80 // i_extra_isize, in the inode
	ext4FileACL      = 0x68 // i_file_acl_lo
	ext4FileACLHigh  = 0x76
	ext4AttrMagic    = 0xea020000
	ext4BlockHeader  = 32
	ext4InodeHeader  = 4
	ext4Entry        = 16
	ext4NameSecurity = 6 // EXT4_XATTR_INDEX_SECURITY
)

// A fiemap is struct fiemap with one extent, include/uapi/linux/fiemap.h.
type fiemap struct {
	start, length          uint64
	flags, mapped, count   uint32
	_                      uint32
	logical, physical, len uint64
	_                      [2]uint64
	extentFlags            uint32
	_                      [3]uint32
}

// ext4Capability has ext4 say where a file's attributes are, and reads them from its
// block device, whose cache is the one that ext4 itself writes to.
func ext4Capability(f File) (int, error) {
	const attributes, inline = 2, 0x200 // FIEMAP_FLAG_XATTR, FIEMAP_EXTENT_DATA_INLINE
	where := fiemap{length: ^uint64(0), flags: attributes, count: 1}
	const request = 0xc020660b // FS_IOC_FIEMAP, of which the size is that of an array without elements
	if err := ioctl(f, request, unsafe.Pointer(&where)); err != nil {
		return 0, err
	}
	if where.mapped == 0 {
		return 0, errGone
	}
	device, err := openDevice(f)
	if err != nil {
		return 0, err
	}
	defer device.Close()
	if where.extentFlags&inline == 0 {
		block, err := readAt(device, int64(where.physical), int(where.len))
		if err != nil {
			return 0, err
		}
		return ext4Find(block, ext4BlockHeader)
	}
	return ext4Inode(device, f, int64(where.physical))
}

// ext4Inode looks into the inode of a file, and the block with what does not fit
// there. Of the inode ext4 tells the place as if it were the first one of its block
// (ext4_iomap_xattr_fiemap(), fs/ext4/extents.c).
func ext4Inode(device *os.File, f File, place int64) (int, error) {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &st), unix.Fstatfs(int(f.Fd()), &fs)); err != nil {
		return 0, err
	}
	super, err := readAt(device, ext4Superblock, ext4Superblock)
	if err != nil {
		return 0, err
	}
	size, perGroup := int64(binary.LittleEndian.Uint16(super[ext4InodeSize:])), int64(binary.LittleEndian.Uint32(super[ext4PerGroup:]))
	blockSize := int64(fs.Bsize)
	if size <= ext4OldInode || size > blockSize || perGroup == 0 {
		return 0, errDamaged
	}
	start := place/blockSize*blockSize + (int64(st.Ino)-1)%perGroup*size%blockSize
	inode, err := readAt(device, start, int(size))
	if err != nil {
		return 0, err
	}
	extra := int(binary.LittleEndian.Uint16(inode[ext4ExtraSize:]))
	if int64(ext4OldInode+extra) > size {
		return 0, errDamaged
	}
	if n, err := ext4Find(inode[ext4OldInode+extra:], ext4InodeHeader); err != errGone {
		return n, err
	}
	block := int64(binary.LittleEndian.Uint16(inode[ext4FileACLHigh:]))<<32 | int64(binary.LittleEndian.Uint32(inode[ext4FileACL:]))
	if block == 0 {
		return 0, errGone
	}
	area, err := readAt(device, block*blockSize, int(blockSize))
	if err != nil {
		return 0, err
	}
	return ext4Find(area, ext4BlockHeader)
}

// ext4Find returns the size of security.capability among the attributes behind a
// header.
func ext4Find(area []byte, header int) (int, error) {
	if len(area) < header || binary.LittleEndian.Uint32(area) != ext4AttrMagic {
		return 0, errDamaged
	}
	for area = area[header:]; len(area) >= 4 && binary.LittleEndian.Uint32(area) != 0; {
		name := int(area[0])
		if len(area) < ext4Entry+name {
			return 0, errDamaged
		}
		if area[1] == ext4NameSecurity && string(area[ext4Entry:ext4Entry+name]) == attrCapability {
			return int(binary.LittleEndian.Uint32(area[8:])), nil
		}
		area = area[min(len(area), (ext4Entry+name+3)&^3):]
	}
	return 0, errGone
}

// openDevice opens the block device that a file is on, for reading.
func openDevice(f File) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	dev := uint64(st.Dev)
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return nil, err
	}
	_, name, _ := strings.Cut(string(text), "DEVNAME=")
	name, _, _ = strings.Cut(name, "\n")
	device, err := os.Open("/dev/" + name)
	if err != nil {
		return nil, err
	}
	var is unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &is); err != nil || uint64(is.Rdev) != dev || is.Mode&unix.S_IFMT != unix.S_IFBLK {
		device.Close()
		return nil, errors.New("/dev/" + name + " is another device")
	}
	return device, nil
}

func readAt(r io.ReaderAt, offset int64, size int) ([]byte, error) {
	const most = 1 << 16 // the largest block
	if offset < 0 || size <= 0 || size > most {
		return nil, errDamaged
	}
	b := make([]byte, size)
	_, err := r.ReadAt(b, offset)
	return b, err
}
