// Package mounted is the carrier of file systems that are mounted: its trees are
// directories and files of this machine, its files descriptors.
//
// Others can write to the files while a run goes on. So each attempt to label one
// begins with a read lease, which the kernel grants only if nobody has the file
// open for writing, and while it lasts nobody can: see [File.Begin]. Where a file
// system has no leases, times tell of changes.
//
// Attributes are changed in place, one call each, and made lasting by one
// syncfs(2) for each file system at the end.
package mounted

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// A Config says what a Tree visits.
type Config struct {
	walk.Config // without Leave, Links and Base, which are the Tree's
	// List are files besides the roots; nil for none. Their names are below
	// the directory Below, as if it were the root of the file system, unless
	// that is empty.
	List  *List
	Below string
	// Itself are paths that are visited themselves, before all else: what they name
	// is not entered, be it a directory, nor followed, be it a link. What is no
	// regular file has attributes and no content.
	Itself []string
	// Check returns an error for a root that is not to be walked; nil checks none.
	Check func(*walk.Root) error
	// Lenient makes roots that cannot be opened, or are not to be walked, failures
	// of the walk, unless there are no others.
	Lenient bool
	// Leave returns a reason to leave a file out under this name, or nothing:
	// another name of it may still be visited. Nil leaves out none.
	Leave func(tree.File) reason.Code
}

// A Tree is a tree.Source of roots and listed files. It is safe for concurrent
// use.
type Tree struct {
	roots    []*walk.Root
	base     *walk.Root   // that the list's names are below; nil for none
	missing  []tree.Found // roots that could not be opened
	cfg      Config
	wd       string        // the working directory when the tree was opened
	leaseFor time.Duration // how long a lease surely lasts

	setLease func(fd uintptr, kind int) error // but in tests, that of this package

	noLeases    atomic.Bool // some file system has none
	deniedLease atomic.Bool // some file is another user's, and CAP_LEASE is missing
	unseenMount atomic.Bool // some mount is not in /proc/self/mountinfo

	numbering sync.Mutex
	numbers   *walk.Numbers // nil while nobody has needed them

	mu    sync.Mutex
	known map[uint64]*filesystem // by device
	// mapped says which mounts map owners, by their numbers.
	mapped map[uint64]bool
}

// Open opens the paths as roots, and returns the error of the first that cannot be
// opened, an *fs.PathError; of a Lenient tree only if there is no other. The caller
// closes the tree.
func Open(paths []string, cfg Config) (*Tree, error) {
	t := &Tree{
		cfg: cfg, leaseFor: leaseTime(), setLease: setLease,
		known: make(map[uint64]*filesystem), mapped: make(map[uint64]bool),
	}
	var err error
	if t.wd, err = os.Getwd(); err != nil {
		t.wd = ""
	}
	if cfg.Below != "" {
		base, err := walk.OpenBase(cfg.Below)
		if t.base, err = t.check(cfg.Below, base, err); err != nil {
			t.Close()
			return nil, err
		}
	}
	var first error
	for _, name := range paths {
		root, err := t.open(name)
		if err == nil {
			t.roots = append(t.roots, root)
			continue
		}
		if !cfg.Lenient {
			t.Close()
			return nil, err
		}
		if first == nil {
			first = err
		}
		t.missing = append(t.missing, tree.Found{Path: name, Err: opening(unnamed(err))})
	}
	if first != nil && len(t.roots) == 0 && cfg.List == nil {
		return nil, first
	}
	return t, nil
}

// open opens a root and checks it.
func (t *Tree) open(name string) (*walk.Root, error) {
	root, err := walk.Open(name)
	return t.check(name, root, err)
}

// check closes a root that is not to be walked.
func (t *Tree) check(name string, root *walk.Root, err error) (*walk.Root, error) {
	if err != nil || t.cfg.Check == nil {
		return root, err
	}
	if err := t.cfg.Check(root); err != nil {
		root.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return root, nil
}

// ErrNoPath says that a path that was given is not there. It is no fs.ErrNotExist:
// nothing vanished.
var ErrNoPath = errors.New("no such file or directory")

// unnamed drops the name of a root that cannot be opened from the error.
func unnamed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoPath
	}
	return pathless(err)
}

// Close closes the roots and the list.
func (t *Tree) Close() error {
	for _, r := range t.roots {
		r.Close()
	}
	if t.base != nil {
		t.base.Close()
	}
	if t.cfg.List != nil {
		t.cfg.List.Close()
	}
	return nil
}

// Notes implements tree.Noter, for runs that write: it tells once of files that could
// not be leased, and of mounts that could not be looked at.
func (t *Tree) Notes() reason.List {
	const timesTell = ", so that only times tell whether a file was written to while it was read"
	var notes reason.List
	if t.noLeases.Load() {
		notes = append(notes, reason.Reason{Code: reason.NoLeases, Words: "a file system here has no leases" + timesTell})
	}
	if t.deniedLease.Load() {
		notes = append(notes, reason.Reason{Code: reason.NoLeases, Words: "leases of other users' files need CAP_LEASE" + timesTell})
	}
	if t.unseenMount.Load() {
		notes = append(notes, reason.New(reason.UnseenMount, "a mount is not in /proc/self/mountinfo, as in a chroot: EVM labels are made as if it did not map owners"))
	}
	return notes
}

// Walk implements tree.Source.
func (t *Tree) Walk(ctx context.Context, visit func(tree.Found) error) error {
	if err := t.visitItself(ctx, visit); err != nil {
		return err
	}
	for _, m := range t.missing {
		if err := visit(m); err != nil {
			return err
		}
	}
	return t.find(ctx, t.walkConfig(), func(e walk.Entry) error {
		return visit(t.found(e))
	})
}

// opening says what was tried.
func opening(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("opening: %w", err)
}

// found returns an entry of a walk as what it is to a run.
func (t *Tree) found(e walk.Entry) tree.Found {
	found := tree.Found{Path: e.Path, Skip: e.Skip, Err: opening(e.Err)}
	if e.Skip != "" {
		found.Rel = e.Within()
	}
	if e.File != nil {
		found.File = &File{tree: t, entry: e}
	}
	return found
}

func (t *Tree) walkConfig() walk.Config {
	cfg := t.cfg.Config
	if leave := t.cfg.Leave; leave != nil {
		cfg.Leave = func(e *walk.Entry) reason.Code { return leave(&File{tree: t, entry: *e}) }
	}
	return cfg
}

// Count implements tree.Counter, with one worker of its own. It counts nothing
// where the list can be read once only.
func (t *Tree) Count(ctx context.Context, each func(size int64)) error {
	return t.count(ctx, func(e *walk.Entry) { each(e.Stat.Size) })
}

func (t *Tree) count(ctx context.Context, each func(*walk.Entry)) error {
	if !t.Countable() {
		return nil
	}
	cfg := t.cfg.Config
	cfg.CountOnly, cfg.Workers = true, 1
	return t.find(ctx, cfg, func(e walk.Entry) error { // what it cannot find, the walk reports
		if e.Skip == "" && e.Err == nil {
			each(&e)
		}
		return nil
	})
}

// Countable reports whether the files can be found more than once.
func (t *Tree) Countable() bool { return t.cfg.List == nil || t.cfg.List.Again() }

// find visits what cfg says. Of a shard, it goes through all names before, so that
// those of one inode stay together.
func (t *Tree) find(ctx context.Context, cfg walk.Config, visit walk.Visitor) error {
	if cfg.Shard.Divides() {
		var err error
		if cfg.Numbers, err = t.collect(ctx); err != nil {
			return err
		}
	}
	return t.visit(ctx, cfg, visit)
}

// collect returns the numbers of inodes with several names, which it finds once.
func (t *Tree) collect(ctx context.Context) (*walk.Numbers, error) {
	t.numbering.Lock()
	defer t.numbering.Unlock()
	if t.numbers != nil {
		return t.numbers, nil
	}
	cfg := t.cfg.Config
	cfg.CountOnly, cfg.Shard, cfg.Collect = true, shard.Shard{}, new(walk.Numbers)
	err := t.visit(ctx, cfg, func(walk.Entry) error { return nil }) // what it cannot find, the walk reports
	if err != nil {
		return nil, err
	}
	t.numbers = cfg.Collect
	return t.numbers, nil
}

func (t *Tree) visit(ctx context.Context, cfg walk.Config, visit walk.Visitor) error {
	cfg.Links, cfg.Base = new(walk.Links), t.base
	if t.cfg.List != nil {
		if err := walk.Files(ctx, t.cfg.List.Names(ctx), cfg, visit); err != nil {
			return err
		}
	}
	return walk.Walk(ctx, t.roots, cfg, visit)
}

// OpenFile opens one file by its path, as walk.OpenFile does. What is not there
// gives an Err that is fs.ErrNotExist.
func (t *Tree) OpenFile(name string) tree.Found {
	return t.found(walk.OpenFile(name))
}

// OpenPath opens one regular file by its path, of which a symbolic link is
// followed. The errors are of type *fs.PathError.
func (t *Tree) OpenPath(name string) (tree.File, error) {
	root, err := walk.Open(name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if root.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EISDIR}
	}
	file, err := root.Reopen()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: pathless(err)}
	}
	return &File{tree: t, entry: walk.Entry{Path: root.Path(), Rel: path.Base(root.Path()), File: file, Stat: root.Stat()}}, nil
}

// full returns the absolute path of a name. It does not clean it: behind a link,
// ".." leads elsewhere than the text says.
func (t *Tree) full(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return strings.TrimRight(t.wd, "/") + "/" + name
}

// A filesystem is what is known of one file system.
type filesystem struct {
	once sync.Once
	fs   tree.Filesystem
	err  error // of statfs(2)
	uuid [16]byte
	// uuidErr is why the UUID is not known.
	uuidErr error
}

// filesystem returns what is known of a file's file system, which is asked once.
func (t *Tree) filesystem(f *File) *filesystem {
	t.mu.Lock()
	known := t.known[f.dev()]
	if known == nil {
		known = new(filesystem)
		t.known[f.dev()] = known
	}
	t.mu.Unlock()
	known.once.Do(func() { known.ask(f) })
	return known
}

func (s *filesystem) ask(f *File) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.fd(), &st); err != nil {
		s.err = fmt.Errorf("asking for the file system: %w", err)
	}
	s.fs.Magic = uint32(st.Type)
	if name, err := mountType(f.fd()); err == nil {
		s.fs.Type, s.fs.Subtype, _ = strings.Cut(name, ".")
	}
	if s.uuid, s.uuidErr = inodeUUID(f); s.uuidErr == nil {
		s.fs.UUID = &s.uuid
	}
}
