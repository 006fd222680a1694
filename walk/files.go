package walk

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
)

// ErrNotListed says that a listed file is not there. It is no fs.ErrNotExist:
// nothing vanished, the list is wrong.
var ErrNotListed = errors.New("no such file or directory, but it is in the list")

// Files visits the files of a list instead of trees, in its order if there is
// one worker. A link is not followed and a directory not entered, since lists
// of a package's or a tree's names hold both; they are skipped. The list's own
// error ends the walk and is returned. Of cfg, only Workers, Own, CountOnly, Leave,
// Links and what is about shards count: a file that is named itself is not filtered.
func Files(ctx context.Context, names iter.Seq2[string, error], cfg Config, visit Visitor) error {
	return files(ctx, names, cfg, visit, standard)
}

func files(ctx context.Context, names iter.Seq2[string, error], cfg Config, visit Visitor, bounds limits) error {
	w := newWalker(ctx, cfg, visit, bounds)
	batches := make(chan []string)
	var workers sync.WaitGroup
	for range w.cfg.Workers {
		workers.Go(func() {
			for batch := range batches {
				w.listedAll(batch)
			}
		})
	}
	var batch []string
	var listErr error
	for name, err := range names {
		if listErr = err; err != nil || w.stopped() {
			break
		}
		if batch = append(batch, clean(name)); len(batch) == w.limits.batch {
			batches <- batch
			batch = nil
		}
	}
	if len(batch) > 0 {
		batches <- batch
	}
	close(batches)
	workers.Wait()
	switch {
	case w.err != nil:
		return w.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return listErr
}

// listedAll opens some listed files, then hands them over one by one.
func (w *walker) listedAll(names []string) {
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		if w.stopped() {
			break
		}
		entries = append(entries, w.listed(name))
	}
	w.visitAll(entries)
}

// listed opens a listed file, or says why not.
func (w *walker) listed(name string) Entry {
	e, ok := statFile(w.cfg.Base, name)
	switch {
	case !ok && !w.cfg.Shard.HasPath(e.Within()):
		e.Err, e.Skip = nil, reason.OtherShard
	case errors.Is(e.Err, unix.ENOENT):
		e.Err = ErrNotListed
	case !ok:
	default:
		w.openNamed(&e, unix.O_NOFOLLOW)
	}
	return e
}

// OpenFile opens a regular file by its path. Directories above it may be links,
// the file itself may not. As in a walk, the entry says what became of it: an
// Err that is fs.ErrNotExist if there is none.
func OpenFile(name string) Entry {
	e, ok := statFile(nil, clean(name))
	if ok {
		e.open(unix.O_NOFOLLOW)
	}
	return e
}

// statFile looks at a path through an O_PATH descriptor, since opening a
// device can act on it, and reports whether it is a regular file. The path is below
// base, unless that is nil.
func statFile(base *Root, name string) (Entry, bool) {
	e := Entry{Path: name, Rel: filepath.Base(name), base: base}
	var at int
	var err error
	if base == nil {
		at, err = openLong(name, unix.O_PATH|unix.O_NOFOLLOW)
	} else {
		at, e.Rel, err = base.find(name)
		e.Path = base.path
		if e.Rel != "." {
			e.Path = strings.TrimSuffix(base.path, "/") + "/" + e.Rel // Join would take ".." out of the base
		}
	}
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
		e.Skip = reason.Directory
	case unix.S_IFLNK:
		e.Skip = reason.Symlink
	default:
		e.Skip = reason.Special
	}
	return e, false
}

// open opens the file that e.Stat describes.
func (e *Entry) open(flags int) {
	e.File, e.Err = reopen(e.Path, e.openPath(e.Path, e.Rel), flags, &e.Stat)
	if e.Err == nil && e.Stat.Size > 0 {
		unix.Fadvise(int(e.File.Fd()), 0, min(e.Stat.Size, prefetch), unix.FADV_WILLNEED) // advice may be ignored
	}
}

// openPath returns what opens a path: that below the base, if there is one.
func (e *Entry) openPath(path, below string) func(flags int) (int, error) {
	if e.base != nil {
		return func(flags int) (int, error) { return e.base.openBelow(below, flags, 0) }
	}
	return func(flags int) (int, error) { return openLong(path, flags) }
}

// WithDir calls f with a descriptor of the directory that holds the entry and
// the entry's name in it, for what stands beside the file. It may be called
// while the entry is visited; the descriptor is valid during the call.
func (e *Entry) WithDir(f func(at int, name string) error) error {
	name := filepath.Base(e.Path)
	if e.dir != nil {
		at, err := e.walker.use(e.dir)
		if err != nil {
			return err
		}
		defer e.walker.unuse(e.dir)
		return f(at, name)
	}
	at, err := e.openPath(filepath.Dir(e.Path), filepath.Dir(e.Rel))(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return f(at, name)
}

// OpenNode opens what is no regular file by its path: a directory for reading, what
// else there is, also a symbolic link itself, with O_PATH.
func OpenNode(name string) (*File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openLong(clean(name), unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, st, err
	}
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &File{fd: fd, name: name}, st, nil
	}
	unix.Close(fd)
	f, err := reopen(name, func(flags int) (int, error) { return openLong(clean(name), flags) }, unix.O_DIRECTORY|unix.O_NOFOLLOW, &st)
	return f, st, err
}

// OpenDir opens a directory by its path.
func OpenDir(name string) (*File, error) {
	fd, err := openLong(clean(name), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &File{fd: fd, name: name}, nil
}
