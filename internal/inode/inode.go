// Package inode asks the kernel what stat does not tell of an open file: its
// flags, its generation, the UUID of its file system.
package inode

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of FS_IOC_GETFLAGS, include/uapi/linux/fs.h.
const (
	Immutable  = 0x10 // FS_IMMUTABLE_FL
	AppendOnly = 0x20 // FS_APPEND_FL
)

// Requests that x/sys lacks, include/uapi/linux/fs.h, include/uapi/linux/ext4.h,
// fs/xfs/libxfs/xfs_fs.h and include/uapi/linux/fsverity.h.
var (
	fsIocGetVersion    = ior('v', 1, longSize) // the kernel writes an int
	fsIocGetFSUUID     = ior(0x15, 0, 17)      // struct fsuuid2
	ext4IocGetFSUUID   = ior('f', 44, 8)       // struct fsuuid
	xfsIocFSGeometryV1 = ior('X', 100, geometrySize())
)

// fsIocMeasureVerity is _IOWR('f', 134, struct fsverity_digest), where reading and
// writing are the upper two bits on every architecture.
const fsIocMeasureVerity = 0xc0046686

// Architectures differ in the size of long, and in the bits that say that a
// request reads: the value of FS_IOC_GETFLAGS, which is _IOR('f', 1, long), has
// both. Kernel: include/uapi/asm-generic/ioctl.h, arch/*/include/uapi/asm/ioctl.h.
const (
	longSize = uintptr(unix.FS_IOC_GETFLAGS>>16) & 0xff
	reads    = uintptr(unix.FS_IOC_GETFLAGS) &^ (longSize<<16 | 0xffff)
)

// ior is _IOR: a request that reads size bytes.
func ior(group, number, size uintptr) uintptr { return reads | size<<16 | group<<8 | number }

// geometrySize is the size of struct xfs_fsop_geom_v1, whose padding at the end
// i386 does not have.
func geometrySize() uintptr {
	const padded, plain = 112, 108
	if runtime.GOARCH == "386" {
		return plain
	}
	return padded
}

// A File is an open file.
type File interface{ Fd() uintptr }

// Flags returns the inode's flags.
func Flags(f File) (uint32, error) {
	return unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
}

// SetFlags sets the inode's flags.
func SetFlags(f File, flags uint32) error {
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}

// Generation returns the inode's generation, i_generation. File systems
// without one give unix.ENOTTY.
func Generation(f File) (uint32, error) {
	n, err := unix.IoctlGetUint32(int(f.Fd()), uint(fsIocGetVersion))
	if err != nil {
		return 0, fmt.Errorf("asking for the inode's generation: %w", err)
	}
	return n, nil
}

// ErrNoUUID says that a file system does not tell its UUID.
var ErrNoUUID = errors.New("file system does not tell its UUID")

// UUID returns the UUID of the file's file system in the order of its text,
// which is that of the superblock, s_uuid: from FS_IOC_GETFSUUID (Linux 6.9),
// or from the requests that ext4 (Linux 6.0) and xfs had before, or by the
// device's name in /dev/disk/by-uuid. The error wraps ErrNoUUID.
func UUID(f File) ([16]byte, error) {
	var id struct {
		size uint8
		uuid [16]byte
	}
	if err := ioctl(f, fsIocGetFSUUID, unsafe.Pointer(&id)); err == nil && id.size == 16 {
		return id.uuid, nil
	}
	ext4 := struct {
		size, flags uint32 // struct fsuuid
		uuid        [16]byte
	}{size: 16}
	if err := ioctl(f, ext4IocGetFSUUID, unsafe.Pointer(&ext4)); err == nil {
		return ext4.uuid, nil
	}
	var geometry struct {
		_    [64]byte // block and log sizes, struct xfs_fsop_geom_v1
		uuid [16]byte
		_    [32]byte
	}
	if err := ioctl(f, xfsIocFSGeometryV1, unsafe.Pointer(&geometry)); err == nil {
		return geometry.uuid, nil
	}
	return byDevice(f)
}

// byDevice looks for the name that udev gave the file's device.
func byDevice(f File) ([16]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return [16]byte{}, fmt.Errorf("%w: %w", ErrNoUUID, err)
	}
	const dir = "/dev/disk/by-uuid"
	names, err := os.ReadDir(dir)
	if err != nil {
		return [16]byte{}, fmt.Errorf("%w: %w", ErrNoUUID, err)
	}
	for _, name := range names {
		var dev unix.Stat_t
		if unix.Stat(filepath.Join(dir, name.Name()), &dev) != nil || dev.Rdev != st.Dev {
			continue
		}
		return ParseUUID(name.Name())
	}
	return [16]byte{}, ErrNoUUID
}

// ParseUUID parses the text of a UUID, with or without dashes.
func ParseUUID(s string) ([16]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return [16]byte{}, fmt.Errorf("%q is not a UUID", s)
	}
	return [16]byte(b), nil
}

// VerityDigest returns the kernel's number of the hash algorithm of
// fs-verity (1 is sha256, 2 sha512) and the digest of the file. A file without
// fs-verity gives unix.ENODATA. Documentation/filesystems/fsverity.rst.
func VerityDigest(f File) (algorithm uint16, digest []byte, err error) {
	arg := struct {
		algorithm uint16
		size      uint16
		digest    [64]byte
	}{size: 64}
	if err := ioctl(f, fsIocMeasureVerity, unsafe.Pointer(&arg)); err != nil {
		return 0, nil, err
	}
	return arg.algorithm, arg.digest[:min(int(arg.size), len(arg.digest))], nil
}

func ioctl(f File, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
