package walk

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// openat is openat(2) with O_CLOEXEC and the EINTR retry.
func openat(at int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); err != unix.EINTR {
			return err
		}
	}
}

func fstatat(at int, name string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(at, name, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		if err != unix.EINTR {
			return err
		}
	}
}

// mountOf returns the number of the mount that a file is on: that of at itself
// if name is empty. Before Linux 5.8 there is none.
func mountOf(at int, name string) (uint64, bool) {
	var st unix.Statx_t
	for {
		const flags = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
		if err := unix.Statx(at, name, flags, unix.STATX_MNT_ID, &st); err != unix.EINTR {
			return st.Mnt_id, err == nil && st.Mask&unix.STATX_MNT_ID != 0
		}
	}
}

// openToRead opens for reading, with O_NOATIME where it is allowed, since
// labelling a file is not using it. What should be a regular file is opened
// with O_NONBLOCK, so that a fifo in its place blocks nobody.
func openToRead(at int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY
	fd, err := openat(at, name, flags|unix.O_NOATIME)
	if err == unix.EPERM {
		fd, err = openat(at, name, flags)
	}
	return fd, err
}

// openLong opens a path that may be longer than PATH_MAX, following links.
func openLong(name string, flags int) (int, error) {
	fd, err := openat(unix.AT_FDCWD, name, flags)
	if !errors.Is(err, unix.ENAMETOOLONG) || len(name) < unix.PathMax {
		return fd, err
	}
	at, own := unix.AT_FDCWD, false
	for len(name) >= unix.PathMax {
		cut := strings.LastIndexByte(name[:unix.PathMax-1], '/')
		if cut <= 0 {
			break
		}
		next, err := openat(at, name[:cut], unix.O_PATH|unix.O_DIRECTORY)
		if own {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, own, name = next, true, strings.TrimLeft(name[cut:], "/")
	}
	fd, err = openat(at, name, flags)
	if own {
		unix.Close(at)
	}
	return fd, err
}

func isRegular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// typeName names the type bits of a mode.
func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "regular file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	}
	return "file of unknown type"
}
