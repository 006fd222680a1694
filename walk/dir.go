package walk

import (
	"container/list"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpenDirs bounds the directories that stay open for the sake of names in
// them that wait. Beyond it the one that was opened first is closed, since
// the names that came last have their turn first, and opened again when its
// turn comes: trees both deep and wide need no more descriptors than others.
const maxOpenDirs = 256

// A dir is a directory that is read, or has names in it that wait.
type dir struct {
	root     *Root
	parent   *dir   // nil for the tree itself
	name     string // empty for the tree itself
	id       Inode
	included bool // the path or one above it is included by the filter

	// Guarded by walker.mu.
	fd   int           // -1 while closed for want of descriptors
	elem *list.Element // in walker.open, while fd is not -1
	refs int           // readers and waiting names
	uses int           // users of fd at this moment
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
	return Entry{Path: b.String(), Rel: b.String()[rel:], dir: d}
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

func (w *walker) rootDir(r *Root) (*dir, error) {
	fd, err := openToRead(int(r.file.Fd()), ".", unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := &dir{root: r, id: InodeOf(&r.stat), fd: -1, refs: 1}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened(d, fd)
	return d, nil
}

// opened gives d its descriptor, and takes those of others if there are too
// many. The lock is held.
func (w *walker) opened(d *dir, fd int) {
	d.fd = fd
	d.elem = w.open.PushBack(d)
	for e := w.open.Front(); e != d.elem && w.open.Len() > w.limits.openDirs; {
		first := e.Value.(*dir)
		e = e.Next()
		if first.uses == 0 {
			w.close(first)
			w.closed++
		}
	}
}

// close closes d. The lock is held.
func (w *walker) close(d *dir) {
	unix.Close(d.fd)
	d.fd = -1
	w.open.Remove(d.elem)
}

// release gives up a reference and closes the directory with the last one.
func (w *walker) release(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.refs--
	switch {
	case d.refs > 0:
	case d.fd < 0:
		w.closed--
	default:
		if w.closed > 0 {
			w.handBack(d)
		}
		w.close(d)
	}
}

// handBack opens again, before d is closed for good, the directories above it
// that names wait in, if the nearest one is closed: the walk is likely to go
// on there, and from d it is few steps, where reopen takes as many as the tree
// is deep. If it fails, reopen will say why. The lock is held.
func (w *walker) handBack(d *dir) {
	nearest := d.parent
	for nearest != nil && nearest.refs == 0 {
		nearest = nearest.parent
	}
	if nearest == nil || nearest.fd >= 0 {
		return
	}
	at, own := d.fd, false // own: at is no directory's yet
	for up := d.parent; up != nil && up.fd < 0 && w.closed > 0 && w.open.Len() <= w.limits.openDirs/2+1; up = up.parent {
		fd, err := openToRead(at, "..", unix.O_DIRECTORY)
		if own {
			unix.Close(at)
		}
		if err != nil {
			return
		}
		at, own = fd, true
		if up.refs == 0 {
			continue
		}
		var st unix.Stat_t
		if err := fstat(at, &st); err != nil || InodeOf(&st) != up.id {
			break
		}
		own = false
		up.fd = at
		up.elem = w.open.PushFront(up) // it has its turn after all that are open
		w.closed--
	}
	if own {
		unix.Close(at)
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
		w.closed--
		w.opened(d, fd)
	}
	d.uses++
	return d.fd, nil
}

func (w *walker) unuse(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.uses--
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
