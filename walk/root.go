package walk

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Root is a tree or a single file to walk, opened before the walk starts.
type Root struct {
	path string
	file *os.File // a directory; of a file, an O_PATH descriptor
	stat unix.Stat_t
	fs   unix.Statfs_t
}

// clean is filepath.Clean, but for paths with "..": behind a link, that leads
// elsewhere than the text says.
func clean(name string) string {
	if !slices.Contains(strings.Split(name, "/"), "..") {
		return filepath.Clean(name)
	}
	if short := strings.TrimRight(name, "/"); short != "" {
		return short
	}
	return name
}

// A NotAFileError says that a path is neither a directory nor a regular file.
type NotAFileError struct{ Type string }

func (e *NotAFileError) Error() string {
	return "is a " + e.Type + ", neither a directory nor a regular file"
}

// Open opens a path as a root. A symbolic link is followed. The caller closes
// the root after the walk. The errors are of type *fs.PathError, and wrap a
// *NotAFileError for what is neither a directory nor a regular file.
func Open(name string) (*Root, error) {
	r := &Root{path: clean(name)}
	fail := func(err error) (*Root, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if name == "" {
		return fail(unix.ENOENT)
	}
	fd, err := openLong(r.path, unix.O_PATH)
	if err != nil {
		return fail(err)
	}
	r.file = os.NewFile(uintptr(fd), r.path)
	if err := fstat(fd, &r.stat); err != nil {
		r.Close()
		return fail(err)
	}
	if err := unix.Fstatfs(fd, &r.fs); err != nil {
		r.Close()
		return fail(err)
	}
	if t := r.stat.Mode & unix.S_IFMT; t != unix.S_IFDIR && t != unix.S_IFREG {
		r.Close()
		return fail(&NotAFileError{Type: typeName(t)})
	}
	return r, nil
}

// Close closes the root.
func (r *Root) Close() error { return r.file.Close() }

// Fd returns the descriptor, of O_PATH. It belongs to the root.
func (r *Root) Fd() uintptr { return r.file.Fd() }

// Path returns the path as it was given, without what does not count in it.
func (r *Root) Path() string { return r.path }

// IsDir reports whether the root is a directory.
func (r *Root) IsDir() bool { return r.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Stat returns what fstat said of the root.
func (r *Root) Stat() unix.Stat_t { return r.stat }

// Magic returns the superblock magic of the root's file system, 32 bits of
// statfs's f_type.
func (r *Root) Magic() uint32 { return uint32(r.fs.Type) }

// ReadOnly reports whether the root's file system is mounted read-only.
func (r *Root) ReadOnly() bool { return r.fs.Flags&unix.ST_RDONLY != 0 }

// Reopen opens the root for reading; the caller closes the file. The error is
// ErrMoved if the name stands for something else by now.
func (r *Root) Reopen() (*File, error) {
	return reopen(r.path, func(flags int) (int, error) { return openLong(r.path, flags) }, 0, &r.stat)
}

// reopen opens the file or directory that was described by want before, and fills
// in what fstat says of it now. The name is for messages.
func reopen(name string, open func(flags int) (int, error), flags int, want *unix.Stat_t) (*File, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK
	fd, err := open(flags | unix.O_NOATIME)
	if err == unix.EPERM {
		fd, err = open(flags)
	}
	if err != nil {
		return nil, changedType(err)
	}
	was := *want
	// A number that became free is soon another inode's, of any type.
	if err = fstat(fd, want); err == nil && (InodeOf(want) != InodeOf(&was) || (want.Mode^was.Mode)&unix.S_IFMT != 0) {
		err = ErrMoved
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &File{fd: fd, name: name}, nil
}
