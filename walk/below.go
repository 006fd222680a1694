package walk

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoOpenat2 says that names cannot be looked up below a directory.
var ErrNoOpenat2 = errors.New("the system call openat2 is needed, which this kernel does not have (before Linux 5.6), or a container forbids")

// OpenBase opens the directory that the names of a list are below: see
// Config.Base. The errors are of type *fs.PathError, and wrap ErrNoOpenat2 where
// that cannot be.
func OpenBase(name string) (*Root, error) {
	r, err := Open(name)
	if err != nil {
		return nil, err
	}
	err = unix.ENOTDIR
	if r.IsDir() {
		var fd int
		if fd, err = r.openBelow(".", unix.O_PATH, 0); err == nil {
			unix.Close(fd)
		}
	}
	switch err {
	case nil:
		return r, nil
	case unix.ENOSYS, unix.EPERM:
		err = ErrNoOpenat2
	}
	r.Close()
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

// openBelow opens a name below the directory, as if that were the root of the file
// system: neither links nor ".." lead out of it.
func (r *Root) openBelow(name string, flags int, resolve uint64) (int, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_LARGEFILE // which openat2 takes for nothing else
	}
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(r.file.Fd()), name, &how)
		// EAGAIN says that something was renamed meanwhile, or that somebody
		// has a lease on the file.
		if err != unix.EINTR && (err != unix.EAGAIN || tries >= maxRenames) {
			return fd, err
		}
	}
}

// maxRenames is how often a name is looked up again that others rename.
const maxRenames = 100

// find opens what a name stands for, for looking at, and returns its path below
// the directory without links in it, as far as that can be told.
func (r *Root) find(name string) (fd int, real string, err error) {
	real = strings.TrimPrefix(path.Clean("/"+name), "/")
	if real == "" {
		real = "."
	}
	const flags = unix.O_PATH | unix.O_NOFOLLOW
	fd, err = r.openBelow(name, flags, unix.RESOLVE_NO_SYMLINKS)
	if err != unix.ELOOP {
		return fd, real, err
	}
	if fd, err = r.openBelow(name, flags, 0); err != nil {
		return fd, real, err
	}
	base, err := descriptorPath(int(r.file.Fd()))
	if err != nil {
		return fd, real, nil
	}
	full, err := descriptorPath(fd)
	if below, ok := strings.CutPrefix(full, strings.TrimSuffix(base, "/")+"/"); ok && err == nil {
		real = below
	}
	return fd, real, nil
}

// descriptorPath is where a descriptor's file lies now.
func descriptorPath(fd int) (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}
