package walk

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpenDirs bounds the directories that stay open for the sake of names in
// them that wait. Beyond it a directory is closed and opened again by its
// chain of names when its turn comes: trees both deep and wide need no more
// descriptors than others.
const maxOpenDirs = 256

// A dir is a directory that is read, or has names in it that wait.
type dir struct {
	root     *Root
	parent   *dir // nil for the tree itself
	name     string
	path     string
	rel      string // "." for the tree itself
	id       Inode
	included bool // the path or one above it is included by the filter

	// Guarded by walker.mu.
	fd   int // -1 while closed for want of descriptors
	refs int // readers and waiting names
	uses int // users of fd at this moment
}

// entry returns the entry of a name in d. Rel is a part of Path, since there
// are as many as there are files.
func (d *dir) entry(name string) Entry {
	path := joinPath(d.path, name)
	rel := len(name)
	if d.rel != "." {
		rel += len(d.rel) + 1
	}
	return Entry{Path: path, Rel: path[len(path)-rel:]}
}

func joinPath(tree, rel string) string {
	switch {
	case rel == ".":
		return tree
	case tree == "/":
		return "/" + rel
	}
	return tree + "/" + rel
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

func (w *walker) rootDir(r *Root) (*dir, error) {
	fd, err := openat(int(r.file.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	w.open++
	return &dir{root: r, path: r.path, rel: ".", id: InodeOf(&r.stat), fd: fd, refs: 1}, nil
}

// release gives up a reference and closes the directory with the last one.
func (w *walker) release(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.refs--
	w.maybeClose(d)
}

// maybeClose closes d if nobody needs it, or if too many are open and nobody
// uses it right now. The lock is held.
func (w *walker) maybeClose(d *dir) {
	if d.fd >= 0 && d.uses == 0 && (d.refs == 0 || w.open > w.limits.openDirs) {
		unix.Close(d.fd)
		d.fd = -1
		w.open--
	}
}

// use returns the descriptor of d, valid until unuse.
func (w *walker) use(d *dir) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.fd < 0 {
		fd, err := w.reopen(d)
		if err != nil {
			return -1, err
		}
		d.fd = fd
		w.open++
	}
	d.uses++
	return d.fd, nil
}

func (w *walker) unuse(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.uses--
	w.maybeClose(d)
}

// reopen opens a directory that was closed, from the nearest one above it that
// is open, name by name. The lock is held: this is rare.
func (w *walker) reopen(d *dir) (int, error) {
	var chain []*dir
	from := d
	for ; from != nil && from.fd < 0; from = from.parent {
		chain = append(chain, from)
	}
	at, own := int(d.root.file.Fd()), false
	if from != nil {
		at = from.fd
	}
	for i := len(chain) - 1; i >= 0; i-- {
		name := chain[i].name
		if chain[i].parent == nil {
			name = "."
		}
		fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if own {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, own = fd, true
		var st unix.Stat_t
		if err := fstat(at, &st); err != nil || InodeOf(&st) != chain[i].id {
			unix.Close(at)
			if err == nil {
				err = ErrMoved
			}
			return -1, err
		}
	}
	return at, nil
}

// A Root is a tree or a single file to walk, opened before the walk starts.
type Root struct {
	path string
	file *os.File // a directory; of a file, an O_PATH descriptor
	stat unix.Stat_t
	fs   unix.Statfs_t
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
func (r *Root) Reopen() (*os.File, error) { return openNamed(r.path, 0, &r.stat) }

// openNamed opens by its name the file or directory that was described by
// want before, and fills in what fstat says of it now.
func openNamed(name string, flags int, want *unix.Stat_t) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK
	fd, err := openLong(name, flags|unix.O_NOATIME)
	if err == unix.EPERM {
		fd, err = openLong(name, flags)
	}
	if err != nil {
		return nil, changedType(err)
	}
	id := InodeOf(want)
	if err = fstat(fd, want); err == nil && InodeOf(want) != id {
		err = ErrMoved
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
