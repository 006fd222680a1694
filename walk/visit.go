package walk

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
)

// files opens some files of a directory, then hands them over one by one.
func (r *reader) files(d *dir, names []name) {
	w := r.w
	at, err := w.use(d)
	entries := make([]Entry, 0, len(names))
	for _, n := range names {
		e := d.child(n.text)
		e.Err, e.walker = err, w
		switch {
		case w.isOther(d, at, n, e.Rel):
			e.Err, e.Skip = nil, reason.OtherShard
		case w.cfg.Exclude != nil && w.cfg.Exclude(e.Rel),
			!d.included && w.cfg.Include != nil && !w.cfg.Include(e.Rel):
			e.Err, e.Skip = nil, reason.Filtered
		case err == nil:
			if fd := r.openFile(d, at, n, &e); fd >= 0 {
				r.adviser.advise(fd, e.Stat.Size)
				e.File = &File{fd: fd, name: e.Path}
			}
		}
		entries = append(entries, e)
	}
	if err == nil {
		w.unuse(d)
	}
	w.visitAll(entries)
}

// visitAll hands entries over, until the walk is stopped.
func (w *walker) visitAll(entries []Entry) {
	for i := range entries {
		if w.stopped() {
			if f := entries[i].File; f != nil {
				f.Close()
			}
			continue
		}
		w.report(entries[i])
	}
}

// openFile opens a file and fills in the entry: an error, a reason to skip
// it, or neither, with the descriptor unless files are only counted.
func (r *reader) openFile(d *dir, at int, n name, e *Entry) int {
	fd := -1
	if !r.w.cfg.CountOnly {
		fd = r.openRegular(at, n.text, e)
	} else if e.Err = fstatat(at, n.text, &e.Stat); e.Err == nil && !isRegular(&e.Stat) {
		e.Skip = reason.Special
	}
	if r.w.cfg.Collect != nil {
		if e.Err == nil && e.Skip == "" {
			r.w.collect(e, at, n.ino)
		}
		return -1
	}
	if e.Err == nil && e.Skip == "" {
		e.Skip = r.skipFile(e, d, at, fd)
	}
	e.Err = changedType(e.Err)
	if fd >= 0 && (e.Err != nil || e.Skip != "") {
		unix.Close(fd)
		return -1
	}
	return fd
}

// openRegular opens what its directory says is a regular file, and looks at it. It
// returns no descriptor if it cannot be opened.
func (r *reader) openRegular(at int, name string, e *Entry) int {
	fd, err := openToRead(at, name, unix.O_NONBLOCK|unix.O_NOFOLLOW)
	switch {
	case err == nil:
		if e.Err = fstat(fd, &e.Stat); e.Err == nil && !isRegular(&e.Stat) {
			e.Err = &ChangedTypeError{To: typeName(e.Stat.Mode)}
		}
		return fd
	case fstatat(at, name, &e.Stat) == nil && isRegular(&e.Stat) && r.otherOwner(&e.Stat):
		e.Skip = reason.OtherOwner // not ours, so that it cannot be opened is no matter
	default:
		e.Err = err
	}
	return -1
}

func (r *reader) otherOwner(st *unix.Stat_t) bool {
	return r.w.cfg.Owner != nil && !r.w.cfg.Owner(st.Uid)
}

// skipFile says why a file is not visited, if it is not. Its directory is open
// as at, and it is open itself as fd, unless files are only counted.
func (r *reader) skipFile(e *Entry, d *dir, at, fd int) reason.Code {
	w, st := r.w, &e.Stat
	root := w.roots[InodeOf(st)]
	switch {
	case r.otherOwner(st):
		return reason.OtherOwner
	case InodeOf(st).Dev != d.id.Dev && !w.cfg.CrossFilesystems && !sameMount(at, fd, filepath.Base(e.Rel)):
		return reason.OtherFilesystem
	case w.isOwn(st):
		return reason.OwnOutput
	case root != nil && (st.Nlink < 2 || root.path == e.Path):
		return reason.OwnPath
	case root != nil && w.cfg.Leave == nil && !w.cfg.EveryName && namesOne(st, at, fd): // with Leave that name may be left out, and this is as good
		return reason.HardLink
	}
	if w.cfg.Leave != nil && fd >= 0 {
		e.File = &File{fd: fd, name: e.Path}
		defer func() { e.File = nil }()
		if skip := w.cfg.Leave(e); skip != "" {
			return skip
		}
	}
	if w.isLink(st, at, fd) {
		return reason.HardLink
	}
	return ""
}

// sameMount reports whether a file is on its directory's mount. Files of
// overlayfs are, but have the device number of the layer that they come from.
func sameMount(at, fd int, name string) bool {
	dir, ok := mountOf(at, "")
	if fd >= 0 {
		at, name = fd, ""
	}
	file, found := mountOf(at, name)
	return ok && found && file == dir
}

// An adviser starts reading files that will soon be read in full. Where the
// last files were in memory already, it asks for one in adviseEvery only, to
// find out whether the next are.
type adviser struct{ warm int }

const (
	adviseEvery = 16
	// coldAdvice is how long advice takes at least if something has to be
	// read: pages have to be allocated and a request to be made. Where all
	// is in memory the call takes a microsecond or two.
	coldAdvice = 15 * time.Microsecond
)

func (a *adviser) advise(fd int, size int64) {
	if size == 0 {
		return
	}
	if a.warm > 0 {
		a.warm--
		return
	}
	start := time.Now()
	unix.Fadvise(fd, 0, min(size, prefetch), unix.FADV_WILLNEED) // advice may be ignored
	if time.Since(start) < coldAdvice {
		a.warm = adviseEvery - 1
	}
}
