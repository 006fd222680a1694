// Package walk finds and opens the regular files of trees, with several
// directories read at once and no path resolved twice.
//
// Everything is opened relative to its directory's descriptor and without
// following symbolic links, and only what fstat says of the descriptor is
// believed. A tree can therefore be renamed, deepened beyond PATH_MAX or
// swapped for links while it is walked: what is handed over is always a
// regular file that was below the tree's directory. Entries of a directory are
// taken in the order of their inodes, so that a cold disk is read forwards.
// Memory does not grow with the tree, but for one word pair per inode with
// several links (three words more where there are shards), and the names of one
// directory where Workers is 1.
package walk

import (
	"container/list"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
)

// A Config says what a walk visits. The zero value visits every regular file
// on the file system of each tree, one directory at a time in lexical order.
type Config struct {
	// Workers is the number of directories read at once; 0 and 1 mean that
	// entries come in lexical order, as filepath.WalkDir gives them. With
	// more their order is unspecified. There are fewer if the process may not
	// open as many files.
	Workers int
	// CrossFilesystems enters other file systems that are mounted in a tree,
	// but never one that Pseudo knows.
	CrossFilesystems bool
	// Pseudo reports whether a file system with this superblock magic is not
	// to be entered; nil knows none.
	Pseudo func(magic uint32) bool
	// Include and Exclude filter by the path relative to the tree. Include
	// false leaves the path open to be included by one below it; Exclude true
	// of a directory leaves out all below. Files named as trees are not
	// filtered. Nil includes everything and excludes nothing.
	Include, Exclude func(rel string) bool
	// Owner reports whether files of this user are visited; nil visits all.
	// Files named as trees are not filtered.
	Owner func(uid uint32) bool
	// Own lists inodes that the run itself writes: its log, its report.
	Own []Inode
	// CountOnly hands over entries without opening their files, to count
	// them.
	CountOnly bool
	// Leave returns a reason to leave a file out under this name, or nothing:
	// another name of it may still be visited. It is asked about open files;
	// nil leaves out none.
	Leave func(e *Entry) reason.Code
	// Base is the directory that the names of Files are below, as if it were
	// the root of the file system: no link leads out of it. Nil means that the
	// names are paths like any. It stays open.
	Base *Root
	// Links are the inodes with several links that were visited already, and
	// those that this walk visits; nil stands for none. Walks that are one
	// run share it.
	Links *Links
	// EveryName visits an inode under each of its names, not under one alone.
	EveryName bool
	// Shard is the part that is visited, by the paths of what the walk comes
	// to; the rest is skipped. Directories are read in all shards, and what
	// goes wrong with one of them is told in all.
	Shard shard.Shard
	// Numbers says which inodes have several names, and so go by another one
	// than that which the walk comes to. Nil knows none.
	Numbers *Numbers
	// Collect makes the walk one that visits nothing, and fills Numbers for
	// another one with the same Config. It goes with CountOnly.
	Collect *Numbers
}

// An Inode names a file on this machine while it is mounted.
type Inode struct{ Dev, Ino uint64 }

// InodeOf returns the identity of what st describes.
func InodeOf(st *unix.Stat_t) Inode { return Inode{Dev: uint64(st.Dev), Ino: st.Ino} }

// An Entry is one thing the walk came upon: an open file, a skipped one, or a
// failure. Exactly one of File, Skip and Err is set; with Config.CountOnly,
// none of them is set for a file.
type Entry struct {
	// Path is for messages: the tree's path as it was given, joined with Rel.
	Path string
	// Rel is the path relative to the tree, or to Config.Base, or the base
	// name of a file that was named itself.
	Rel string
	// File is a regular file, open for reading. The receiver closes it.
	File *File
	// Stat is what fstat said of File after it was opened.
	Stat unix.Stat_t
	// Skip says why the walk does not answer for this path. Directories that
	// are read are not reported at all.
	Skip reason.Code
	// Err says why the path could not be opened or read. It is
	// fs.ErrNotExist if the path vanished during the walk, and a
	// *ChangedTypeError if it became something else.
	Err error

	walker *walker
	dir    *dir  // nil for what was named itself
	base   *Root // that it was named below; nil for none
}

// Named reports whether the file was named itself, not found in a tree.
func (e *Entry) Named() bool { return e.dir == nil }

// Below reports whether the file was named as one below Config.Base.
func (e *Entry) Below() bool { return e.base != nil }

// A ChangedTypeError says that a path was a regular file or a directory when
// its directory was read and something else when it was opened.
type ChangedTypeError struct{ To string }

func (e *ChangedTypeError) Error() string { return "became a " + e.To + " during the walk" }

// ErrMoved says that a directory, or a file given as a tree, was replaced by
// another during the walk.
var ErrMoved = errors.New("replaced during the walk")

// A Visitor receives entries, from as many goroutines at once as the walk has
// workers: the goroutine that opened a file waits for the visitor to be done
// with it. An error ends the walk; the visitor has by then closed the entry's
// file.
type Visitor func(Entry) error

// Walk visits the trees, one after the other, and returns when no call of
// visit is running any more. The error is that of visit or the cause of ctx,
// and otherwise nil: what could not be opened or read is an Entry. The roots
// stay open.
func Walk(ctx context.Context, roots []*Root, cfg Config, visit Visitor) error {
	return walk(ctx, roots, cfg, visit, standard)
}

func walk(ctx context.Context, roots []*Root, cfg Config, visit Visitor, bounds limits) error {
	w := newWalker(ctx, cfg, visit, bounds)
	w.roots = make(map[Inode]*Root)
	for _, r := range slices.Backward(roots) { // of those given twice, the first stays
		w.roots[InodeOf(&r.stat)] = r
	}
	for _, r := range roots {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.root(r); err != nil {
			return err
		}
	}
	return nil
}

func newWalker(ctx context.Context, cfg Config, visit Visitor, bounds limits) *walker {
	w := &walker{ctx: ctx, cfg: cfg, visit: visit}
	w.limits, w.cfg.Workers = bounds.fit(max(1, cfg.Workers), freeDescriptors())
	w.idle.L = &w.mu
	if w.cfg.Links == nil {
		w.cfg.Links = new(Links)
	}
	return w
}

type walker struct {
	ctx    context.Context // the walk's, for as long as the walk lasts
	cfg    Config
	visit  Visitor
	limits limits
	roots  map[Inode]*Root

	mu      sync.Mutex
	idle    sync.Cond // signalled when pending grows, a worker ends, or err is set
	pending []item    // a stack, so that few directories stay open
	waiting int       // names in pending
	busy    int       // workers that may still add to pending
	err     error
	open    list.List // directories with a descriptor, that to close first at the front
	closed  int       // directories without one in which names wait
}

// An item is what one worker takes at a time: a directory to read, or some
// names in one to open. It holds a reference on the directory.
type item struct {
	parent *dir
	names  []name
}

// A name is a directory entry with its inode number, and its type, DT_REG and so on.
type name struct {
	text string
	ino  uint64
	typ  uint8
}

// root visits a root, unless it was given before.
func (w *walker) root(r *Root) error {
	switch first := w.roots[InodeOf(&r.stat)]; {
	case first == r && r.IsDir():
		return w.tree(r)
	case first == r:
		return w.namedFile(r)
	case !r.IsDir() && r.stat.Nlink > 1 && r.path != first.path:
		return w.namedFile(r) // a hard link, if the other name was not left out
	}
	return nil
}

func (w *walker) tree(r *Root) error {
	d, err := w.rootDir(r)
	if err != nil {
		return w.visit(Entry{Path: r.path, Rel: ".", Err: err})
	}
	w.pending, w.waiting, w.err = nil, 0, nil
	ended := w.watch()
	workers := w.cfg.Workers
	w.busy = 1 // the root's reader
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			rd := newReader(w, workers == 1)
			if i == 0 {
				rd.read(d)
				w.done()
			}
			for {
				it, ok := w.next()
				if !ok {
					return
				}
				rd.take(it)
				w.done()
			}
		})
	}
	wg.Wait()
	err = ended()
	w.drop()
	return err
}

// watch ends the walk when its context ends. The function it returns is called when no
// worker is left, and returns the walk's error.
func (w *walker) watch() (ended func() error) {
	called := make(chan struct{})
	stop := context.AfterFunc(w.ctx, func() {
		defer close(called)
		w.fail(context.Cause(w.ctx))
	})
	return func() error {
		if !stop() {
			<-called
		}
		return w.err
	}
}

// next waits for an item. It returns false when the walk is over.
func (w *walker) next() (item, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) == 0 && w.busy > 0 && w.err == nil {
		w.idle.Wait()
	}
	if len(w.pending) == 0 || w.err != nil {
		return item{}, false
	}
	w.busy++
	return w.pop(), true
}

// pop takes the item that was pushed last. The lock is held.
func (w *walker) pop() item {
	last := len(w.pending) - 1
	it := w.pending[last]
	w.pending[last] = item{}
	w.pending = w.pending[:last]
	w.waiting -= len(it.names)
	return it
}

// tryPop takes an item if too many wait.
func (w *walker) tryPop() (item, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting <= w.limits.waiting || w.err != nil {
		return item{}, false
	}
	return w.pop(), true
}

func (w *walker) push(items ...item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range items {
		it.parent.refs++
		w.waiting += len(it.names)
	}
	w.pending = append(w.pending, items...)
	w.idle.Broadcast()
}

func (w *walker) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.idle.Broadcast()
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.idle.Broadcast()
}

func (w *walker) stopped() bool {
	if w.ctx.Err() != nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// drop releases what an ended walk left pending.
func (w *walker) drop() {
	for _, it := range w.pending {
		w.release(it.parent)
	}
	w.pending = nil
}

// report hands an entry over and remembers the visitor's error.
func (w *walker) report(e Entry) {
	if err := w.visit(e); err != nil {
		w.fail(err)
	}
}

func (w *walker) namedFile(r *Root) error {
	e := Entry{Path: r.path, Rel: filepath.Base(r.path), Stat: r.stat}
	w.openNamed(&e, 0)
	return w.visit(e)
}

// openNamed opens a file that is named itself, or says why it is skipped.
func (w *walker) openNamed(e *Entry, flags int) {
	switch {
	case w.isOtherNamed(e):
		e.Skip = reason.OtherShard
	case w.isOwn(&e.Stat):
		e.Skip = reason.OwnOutput
	case w.cfg.CountOnly:
		if !w.cfg.EveryName && w.cfg.Links.visit(&e.Stat) {
			e.Skip = reason.HardLink
		}
	default:
		if e.open(flags); e.Err != nil {
			return
		}
		if w.cfg.Leave != nil {
			e.Skip = w.cfg.Leave(e)
		}
		if e.Skip == "" && w.isLink(&e.Stat, -1, e.File.fd) {
			e.Skip = reason.HardLink
		}
		if e.Skip != "" {
			e.File.Close()
			e.File = nil
		}
	}
}

func (w *walker) isOwn(st *unix.Stat_t) bool {
	return slices.Contains(w.cfg.Own, InodeOf(st))
}
