package walk

import (
	"context"
	"errors"
	"iter"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotListed says that a listed file is not there. It is no fs.ErrNotExist:
// nothing vanished, the list is wrong.
var ErrNotListed = errors.New("no such file or directory, but it is in the list")

// Files visits the files of a list instead of trees, in its order. A link is
// not followed and a directory not entered, since lists of a package's or a
// tree's names hold both; they are skipped. The list's own error ends the walk
// and is returned. Of cfg, only Own and CountOnly count: a file that is named
// itself is not filtered.
func Files(ctx context.Context, names iter.Seq2[string, error], cfg Config, visit Visitor) error {
	w := &walker{cfg: cfg, links: make(map[Inode]struct{})}
	for name, err := range names {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := visit(w.listed(clean(name))); err != nil {
			return err
		}
	}
	return nil
}

// listed opens a listed file, or says why not.
func (w *walker) listed(name string) Entry {
	e, ok := statFile(name)
	switch {
	case errors.Is(e.Err, unix.ENOENT):
		e.Err = ErrNotListed
	case !ok:
	case w.isOwn(&e.Stat):
		e.Skip = OwnOutput
	case w.seen(&e.Stat):
		e.Skip = HardLink
	case !w.cfg.CountOnly:
		e.open()
	}
	return e
}

// OpenFile opens a regular file by its path. Directories above it may be links,
// the file itself may not. As in a walk, the entry says what became of it: an
// Err that is fs.ErrNotExist if there is none.
func OpenFile(name string) Entry {
	e, ok := statFile(clean(name))
	if ok {
		e.open()
	}
	return e
}

// statFile looks at a path through an O_PATH descriptor, since opening a
// device can act on it, and reports whether it is a regular file.
func statFile(name string) (Entry, bool) {
	e := Entry{Path: name, Rel: filepath.Base(name)}
	at, err := openLong(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err == nil {
		err = fstat(at, &e.Stat)
		unix.Close(at)
	}
	if err != nil {
		e.Err = err
		return e, false
	}
	switch e.Stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return e, true
	case unix.S_IFDIR:
		e.Skip = Directory
	case unix.S_IFLNK:
		e.Skip = Symlink
	default:
		e.Skip = Special
	}
	return e, false
}

// open opens the file that statFile looked at.
func (e *Entry) open() {
	e.File, e.Err = openNamed(e.Path, unix.O_NOFOLLOW, &e.Stat)
	if e.Err == nil {
		advise(int(e.File.Fd()), e.Stat.Size)
	}
}
