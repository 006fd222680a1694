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
	parent   *dir   // nil for the tree itself
	name     string // empty for the tree itself
	id       Inode
	included bool // the path or one above it is included by the filter

	// Guarded by walker.mu.
	fd   int // -1 while closed for want of descriptors
	refs int // readers and waiting names
	uses int // users of fd at this moment
}

// child returns an entry with the paths of a name in d. They are put together
// when they are needed: a directory that keeps its own path would make memory
// grow with the square of a tree's depth.
func (d *dir) child(name string) Entry {
	tree := d.root.path
	size := len(tree) + 1 + len(name)
	for up := d; up.parent != nil; up = up.parent {
		size += len(up.name) + 1
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(tree)
	if !strings.HasSuffix(tree, "/") {
		b.WriteByte('/')
	}
	rel := b.Len()
	d.write(&b)
	b.WriteString(name)
	return Entry{Path: b.String(), Rel: b.String()[rel:]}
}

// write writes the path of d relative to the tree, with a slash behind it.
func (d *dir) write(b *strings.Builder) {
	if d.parent != nil {
		d.parent.write(b)
		b.WriteString(d.name)
		b.WriteByte('/')
	}
}

// entry returns an entry with the paths of d.
func (d *dir) entry() Entry {
	if d.parent == nil {
		return Entry{Path: d.root.path, Rel: "."}
	}
	return d.parent.child(d.name)
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
	fd, err := openToRead(int(r.file.Fd()), ".", unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	w.open++
	return &dir{root: r, id: InodeOf(&r.stat), fd: fd, refs: 1}, nil
}

// release gives up a reference and closes the directory with the last one.
func (w *walker) release(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.refs--
	if d.refs == 0 && d.fd < 0 {
		w.closed--
	}
	w.maybeClose(d)
}

// maybeClose closes d if nobody needs it, or if too many are open and nobody
// uses it right now. The lock is held.
func (w *walker) maybeClose(d *dir) {
	switch {
	case d.fd < 0 || d.uses > 0 || d.refs > 0 && w.open <= w.limits.openDirs:
		return
	case d.refs > 0:
		w.closed++
	case w.closed > 0:
		w.handBack(d)
	}
	unix.Close(d.fd)
	d.fd = -1
	w.open--
}

// handBack opens the nearest directory above d that names wait in, if it was
// closed, before d itself is closed for good: the walk is likely to go on
// there, and from d it is few steps, where reopen takes as many as the tree is
// deep. If it fails, reopen will say why. The lock is held.
func (w *walker) handBack(d *dir) {
	to := d.parent
	for to != nil && to.refs == 0 {
		to = to.parent
	}
	if to == nil || to.fd >= 0 {
		return
	}
	at := d.fd
	for up := d; up != to; up = up.parent {
		fd, err := openToRead(at, "..", unix.O_DIRECTORY)
		if at != d.fd {
			unix.Close(at)
		}
		if err != nil {
			return
		}
		at = fd
	}
	var st unix.Stat_t
	if err := fstat(at, &st); err != nil || InodeOf(&st) != to.id {
		unix.Close(at)
		return
	}
	to.fd = at
	w.open++
	w.closed--
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
		w.closed--
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
// is open, name by name. The lock is held: this is rare, see handBack.
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
		fd, err := openToRead(at, name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
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
	was := *want
	// A number that became free is soon another inode's, of any type.
	if err = fstat(fd, want); err == nil && (InodeOf(want) != InodeOf(&was) || (want.Mode^was.Mode)&unix.S_IFMT != 0) {
		err = ErrMoved
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
