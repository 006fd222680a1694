package walk

import (
	"cmp"
	"errors"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
)

// openDir opens a directory below another, or reports why not.
func (r *reader) openDir(parent *dir, name string) *dir {
	w := r.w
	d := &dir{root: parent.root, parent: parent, name: name, fd: -1, refs: 1}
	var rel string
	if w.cfg.Exclude != nil || w.cfg.Include != nil {
		rel = d.entry().Rel
	}
	skip, err := reason.Filtered, error(nil)
	if w.cfg.Exclude == nil || !w.cfg.Exclude(rel) {
		skip, err = r.enter(d)
	}
	if skip != "" || err != nil {
		e := d.entry()
		e.Skip, e.Err = skip, changedType(err)
		w.skipOther(&e)
		w.report(e)
		return nil
	}
	d.included = parent.included || w.cfg.Include == nil || w.cfg.Include(rel)
	return d
}

// enter opens d unless it is to be skipped.
func (r *reader) enter(d *dir) (reason.Code, error) {
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
func (r *reader) mayEnter(d *dir, at int) (reason.Code, error) {
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
			return reason.PseudoFS, nil
		}
	}
	if other := r.w.roots[d.id]; other != nil && other != d.root && other.IsDir() {
		return reason.OwnPath, nil
	}
	if d.id.Dev != d.parent.id.Dev && !r.w.cfg.CrossFilesystems {
		return reason.OtherFilesystem, nil
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
