package relabel

import (
	"os"

	"golang.org/x/sys/unix"
)

// Inode flags of FS_IOC_GETFLAGS, include/uapi/linux/fs.h.
const (
	immutableFlag = 0x10 // FS_IMMUTABLE_FL
	appendFlag    = 0x20 // FS_APPEND_FL
)

func getFlags(f *os.File) (uint32, error) { return unix.IoctlGetUint32(fd(f), unix.FS_IOC_GETFLAGS) }

func setFlags(f *os.File, flags uint32) error {
	return unix.IoctlSetPointerInt(fd(f), unix.FS_IOC_SETFLAGS, int(flags))
}
