package mounted

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/inode"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// errNoContent says that an inode has none that could be read.
var errNoContent = errors.New("it is no regular file, and has no content")

// visitItself visits the paths as what they are themselves, in their order.
func (t *Tree) visitItself(ctx context.Context, visit func(tree.Found) error) error {
	for _, name := range t.cfg.Itself {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := visit(t.itself(name)); err != nil {
			return err
		}
	}
	return nil
}

// itself opens what a path names, be it a symbolic link.
func (t *Tree) itself(name string) tree.Found {
	found := t.OpenFile(name)
	switch {
	case found.Skip == "" && errors.Is(found.Err, fs.ErrNotExist):
		return tree.Found{Path: name, Err: opening(ErrNoPath)}
	case found.Skip == "":
		return found
	}
	n, err := t.openNode(name)
	if err != nil {
		return tree.Found{Path: name, Err: opening(err)}
	}
	return tree.Found{Path: name, File: n}
}

// A node is an inode that is no regular file. It is a tree.Bound and a tree.Mapped.
// Its descriptor is one of O_PATH, but a directory's.
type node struct {
	tree *Tree
	name string
	fd   *walk.File
	stat unix.Stat_t
}

func (t *Tree) openNode(name string) (*node, error) {
	n := &node{tree: t, name: name}
	var err error
	if n.fd, n.stat, err = walk.OpenNode(name); err != nil {
		return nil, err
	}
	return n, nil
}

// Name implements tree.File.
func (n *node) Name() string { return n.name }

// Rel implements tree.File.
func (n *node) Rel() string { return filepath.Base(n.name) }

// Full implements tree.File.
func (n *node) Full() string { return n.tree.full(n.name) }

// Meta implements tree.File.
func (n *node) Meta() tree.Meta {
	return tree.Meta{UID: n.stat.Uid, GID: n.stat.Gid, Mode: n.stat.Mode}
}

// ReadAt implements io.ReaderAt.
func (n *node) ReadAt([]byte, int64) (int, error) { return 0, errNoContent }

var _ io.ReaderAt = (*node)(nil)

// Attr implements tree.File.
func (n *node) Attr(name string) ([]byte, error) {
	value, err := attr.GetUnopened(n.fd, name)
	if err == attr.ErrNotSet {
		return nil, tree.ErrNoAttr
	}
	return value, err
}

// Attrs implements tree.File.
func (n *node) Attrs() ([]string, error) { return attr.ListUnopened(n.fd) }

// Close implements tree.File.
func (n *node) Close() error { return n.fd.Close() }

// Inode implements tree.Bound.
func (n *node) Inode() uint64 { return n.stat.Ino }

// Generation implements tree.Bound. The kernel tells it of what can be opened only:
// of others it is 0, which need not be so.
func (n *node) Generation() (uint32, error) {
	if n.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, nil
	}
	return inode.Generation(n.fd)
}

// UUID implements tree.Bound.
func (n *node) UUID() ([16]byte, error) {
	if n.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return inode.UUID(n.fd)
	}
	dir, err := walk.OpenDir(filepath.Dir(n.name))
	if err != nil {
		return [16]byte{}, pathless(err)
	}
	defer dir.Close()
	return inode.UUID(dir)
}

// OwnersMapped implements tree.Mapped.
func (n *node) OwnersMapped() (bool, error) { return n.tree.ownersMapped(int(n.fd.Fd())) }

// beside returns a descriptor of the directory that the node is in, or of itself.
func (n *node) beside() (int, error) {
	dir := filepath.Dir(n.name)
	if n.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		dir = n.name
	}
	return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// set makes changes, as that of a Sink.
func (n *node) set(changes []tree.Change) error {
	return each(changes, func(c tree.Change) error {
		switch {
		case c.Attr == tree.SidecarAttr:
			return errNoContent
		case c.New != nil:
			return attr.SetUnopened(n.fd, c.Attr, c.New)
		}
		err := attr.RemoveUnopened(n.fd, c.Attr)
		if err == attr.ErrNotSet {
			err = nil
		}
		return err
	})
}
