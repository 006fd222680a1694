package ext4

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"imaseal/internal/extfs"
	"imaseal/internal/tree"
)

// A File is a file of an image. It is a tree.Bound, tree.Placed and tree.Verity.
type File struct {
	image   *Image
	in      *extfs.Inode
	rel     string
	content *extfs.Content

	attrs *extfs.Attrs // nil until they are asked for
	set   []tree.Change
	need  int64 // bytes that set takes
}

// Name implements tree.File.
func (f *File) Name() string { return f.image.pathOf(f.rel) }

// Rel implements tree.File.
func (f *File) Rel() string { return f.rel }

// Full implements tree.File.
func (f *File) Full() string { return "/" + f.rel }

// Meta implements tree.File.
func (f *File) Meta() tree.Meta {
	return tree.Meta{UID: f.in.UID, GID: f.in.GID, Mode: f.in.Mode, Size: f.in.Size}
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) { return f.content.ReadAt(b, off) }

// load reads the attributes, once.
func (f *File) load() error {
	if f.attrs != nil {
		return nil
	}
	var err error
	f.attrs, err = f.image.fs.Attrs(f.in)
	return err
}

// Attr implements tree.File.
func (f *File) Attr(name string) ([]byte, error) {
	if i := index(f.set, name); i >= 0 {
		if f.set[i].New == nil {
			return nil, tree.ErrNoAttr
		}
		return append([]byte{}, f.set[i].New...), nil
	}
	return f.stored(name)
}

// stored returns what the image has.
func (f *File) stored(name string) ([]byte, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	value, err := f.attrs.Value(name)
	if err == extfs.ErrNoAttr {
		return nil, tree.ErrNoAttr
	}
	return append([]byte{}, value...), err
}

// Attrs implements tree.File.
func (f *File) Attrs() ([]string, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(f.attrs.Names(), func(name string) bool { return index(f.set, name) >= 0 })
	for _, c := range f.set {
		if c.New != nil {
			names = append(names, c.Attr)
		}
	}
	return names, nil
}

func index(set []tree.Change, name string) int {
	return slices.IndexFunc(set, func(c tree.Change) bool { return c.Attr == name })
}

// Close implements tree.File.
func (f *File) Close() error { return nil }

// Inode implements tree.Bound.
func (f *File) Inode() uint64 { return uint64(f.in.Number) }

// Generation implements tree.Bound.
func (f *File) Generation() (uint32, error) { return f.in.Generation, nil }

// UUID implements tree.Bound.
func (f *File) UUID() ([16]byte, error) { return f.image.fs.UUID(), nil }

// Filesystem implements tree.Placed. As what ext2 and ext3 are mounted is not
// known.
func (f *File) Filesystem() (tree.Filesystem, error) {
	uuid := f.image.fs.UUID()
	fs := tree.Filesystem{Magic: unix.EXT4_SUPER_MAGIC, UUID: &uuid}
	if f.image.fs.IsExt4() {
		fs.Type = "ext4"
	}
	return fs, nil
}

// NoAttributes implements tree.Placed.
func (f *File) NoAttributes() bool { return false }

// VerityDigest implements tree.Verity.
func (f *File) VerityDigest() (algorithm uint16, digest []byte, err error) {
	return f.content.VerityDigest()
}

// A FullError says that the file system in an image has no space left.
type FullError struct{ Need, Free int64 } // bytes

func (e *FullError) Error() string {
	return fmt.Sprintf("its attributes need %d bytes more, and the file system in the image has %d free", e.Need, e.Free)
}

// apply makes changes of attributes, up to one that cannot be made.
func (f *File) apply(changes []tree.Change) error {
	for i, c := range changes {
		if err := f.change(c); err != nil {
			if i > 0 {
				err = &tree.PartialError{Done: changes[:i], Err: err}
			}
			return err
		}
	}
	return nil
}

// change makes a change if there is room for it.
func (f *File) change(c tree.Change) error {
	if c.Attr == tree.SidecarAttr {
		return fmt.Errorf("a file beside another one in an image: %w", errors.ErrUnsupported)
	}
	if err := f.load(); err != nil {
		return err
	}
	set := slices.DeleteFunc(slices.Clone(f.set), func(s tree.Change) bool { return s.Attr == c.Attr })
	set = append(set, tree.Change{Attr: c.Attr, New: c.New})
	room := f.attrs.Room()
	for _, s := range f.really(set) {
		var err error
		if s.New == nil {
			err = room.Remove(s.Attr)
		} else {
			err = room.Set(s.Attr, len(s.New))
		}
		if err != nil {
			return err
		}
	}
	more := room.Need() - f.need
	if left := f.image.left.Add(-more); left < 0 && more > 0 {
		f.image.left.Add(more)
		return &FullError{Need: more, Free: left + more}
	}
	f.set, f.need = set, f.need+more
	return nil
}

// really returns the changes that differ from what is stored, first those that make
// room: debugfs makes them in this order.
func (f *File) really(set []tree.Change) []tree.Change {
	var removed, given []tree.Change
	for _, c := range set {
		old, err := f.stored(c.Attr)
		switch {
		case err == tree.ErrNoAttr && c.New == nil, err == nil && tree.Same(old, c.New):
		case c.New == nil:
			removed = append(removed, c)
		default:
			given = append(given, c)
		}
	}
	return append(removed, given...)
}
