package walk

import (
	"cmp"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// prefetch is the part of a file whose reading is started when it is
// opened, ahead of the worker that reads it; the kernel's own read-ahead
// does the rest.
const prefetch = 1 << 20

// openDir opens a directory below another, or reports why not.
func (r *reader) openDir(parent *dir, name string) *dir {
	w := r.w
	d := &dir{root: parent.root, parent: parent, name: name, fd: -1, refs: 1}
	var rel string
	if w.cfg.Exclude != nil || w.cfg.Include != nil {
		rel = d.entry().Rel
	}
	skip, err := Filtered, error(nil)
	if w.cfg.Exclude == nil || !w.cfg.Exclude(rel) {
		skip, err = r.enter(d)
	}
	if skip != "" || err != nil {
		e := d.entry()
		e.Skip, e.Err = skip, changedType(err)
		w.report(e)
		return nil
	}
	d.included = parent.included || w.cfg.Include == nil || w.cfg.Include(rel)
	return d
}

// enter opens d unless it is to be skipped.
func (r *reader) enter(d *dir) (Reason, error) {
	w := r.w
	at, err := w.use(d.parent)
	if err != nil {
		return "", err
	}
	defer w.unuse(d.parent)
	skip, err := r.mayEnter(d, at)
	if skip != "" || err != nil {
		return skip, err
	}
	fd, err := openToRead(at, d.name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil || InodeOf(&st) != d.id {
		unix.Close(fd)
		return "", cmp.Or(err, ErrMoved)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened(d, fd)
	return "", nil
}

// mayEnter looks at a directory before it is opened, since opening can mount
// (autofs) or hang (a dead network file system). It sets d.id.
func (r *reader) mayEnter(d *dir, at int) (Reason, error) {
	var st unix.Stat_t
	if err := fstatat(at, d.name, &st); err != nil {
		return "", err
	}
	d.id = InodeOf(&st)
	if d.id.Dev != d.parent.id.Dev && r.w.cfg.CrossFilesystems {
		fd, err := openat(at, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW) // mounts
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		var fs unix.Statfs_t
		if err := cmp.Or(fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
			return "", err
		}
		d.id = InodeOf(&st)
		if r.w.cfg.Pseudo != nil && r.w.cfg.Pseudo(uint32(fs.Type)) {
			return PseudoFS, nil
		}
	}
	if other := r.w.roots[d.id]; other != nil && other != d.root && other.IsDir() {
		return OwnPath, nil
	}
	if d.id.Dev != d.parent.id.Dev && !r.w.cfg.CrossFilesystems {
		return OtherFilesystem, nil
	}
	return "", nil
}

// changedType makes the errors of opening without following links say what
// happened.
func changedType(err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return &ChangedTypeError{To: "symbolic link"}
	case errors.Is(err, unix.ENOTDIR):
		return &ChangedTypeError{To: "file or symbolic link"}
	case errors.Is(err, unix.ENXIO):
		return &ChangedTypeError{To: "socket or device"}
	}
	return err
}

// file opens a regular file and hands it over, or says why not.
func (r *reader) file(d *dir, name string) {
	w := r.w
	e := d.child(name)
	if w.cfg.Exclude != nil && w.cfg.Exclude(e.Rel) ||
		!d.included && w.cfg.Include != nil && !w.cfg.Include(e.Rel) {
		e.Skip = Filtered
		w.report(e)
		return
	}
	at, err := w.use(d)
	if err != nil {
		e.Err = err
		w.report(e)
		return
	}
	fd := r.openFile(d, at, name, &e)
	w.unuse(d)
	if fd >= 0 {
		advise(fd, e.Stat.Size)
		e.File = os.NewFile(uintptr(fd), e.Path)
	}
	w.report(e)
}

// openFile opens a file and fills in the entry: an error, a reason to skip
// it, or neither, with the descriptor unless files are only counted.
func (r *reader) openFile(d *dir, at int, name string, e *Entry) int {
	var fd int
	if r.w.cfg.CountOnly {
		fd = -1
		if e.Err = fstatat(at, name, &e.Stat); e.Err == nil && e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
			e.Skip = Special
		}
	} else if fd, e.Err = openToRead(at, name, unix.O_NONBLOCK|unix.O_NOFOLLOW); e.Err == nil {
		e.Err = fstat(fd, &e.Stat)
		if e.Err == nil && e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
			e.Err = &ChangedTypeError{To: typeName(e.Stat.Mode)}
		}
	} else if fstatat(at, name, &e.Stat) == nil && e.Stat.Mode&unix.S_IFMT == unix.S_IFREG && r.otherOwner(&e.Stat) {
		e.Err, e.Skip = nil, OtherOwner // not ours, so that it cannot be opened is no matter
		return -1
	}
	if e.Err == nil && e.Skip == "" {
		e.Skip = r.skipFile(&e.Stat, d)
	}
	e.Err = changedType(e.Err)
	if fd >= 0 && (e.Err != nil || e.Skip != "") {
		unix.Close(fd)
		return -1
	}
	return fd
}

func (r *reader) otherOwner(st *unix.Stat_t) bool {
	return r.w.cfg.Owner != nil && !r.w.cfg.Owner(st.Uid)
}

func (r *reader) skipFile(st *unix.Stat_t, d *dir) Reason {
	w := r.w
	switch {
	case r.otherOwner(st):
		return OtherOwner
	case st.Dev != d.id.Dev && !w.cfg.CrossFilesystems:
		return OtherFilesystem
	case w.isOwn(st):
		return OwnOutput
	case w.roots[InodeOf(st)] != nil:
		return OwnPath
	case w.seen(st):
		return HardLink
	}
	return ""
}

// advise starts reading a file that a worker will soon read in full.
func advise(fd int, size int64) {
	if size > 0 {
		unix.Fadvise(fd, 0, min(size, prefetch), unix.FADV_WILLNEED) // advice may be ignored
	}
}
