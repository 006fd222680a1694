package tarball

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"imaseal/internal/tarfile"
	"imaseal/internal/tarfile/pax"
	"imaseal/internal/tree"
)

// A File is an entry of an archive.
type File struct {
	archive *Archive
	entry   *tarfile.Entry
	rel     string
	content io.ReaderAt

	set  []pax.Change // what was applied
	head []byte       // the headers with that
}

// Name implements tree.File.
func (f *File) Name() string { return f.archive.path(f.rel) }

// path is what an entry is called in messages.
func (a *Archive) path(rel string) string { return a.name + ":" + rel }

// Rel implements tree.File.
func (f *File) Rel() string { return f.rel }

// Full implements tree.File.
func (f *File) Full() string { return "/" + f.rel }

// Meta implements tree.File. Of a sparse file Size is that of the file.
func (f *File) Meta() tree.Meta {
	e := f.entry
	return tree.Meta{UID: e.UID, GID: e.GID, Mode: unix.S_IFREG | e.Mode, Size: e.Size}
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.content.ReadAt(b, off)
	if p, ok := errors.AsType[*os.PathError](err); ok {
		err = p.Err
	}
	return n, err
}

// Attr implements tree.File.
func (f *File) Attr(name string) ([]byte, error) {
	if i := index(f.set, name); i >= 0 {
		if f.set[i].New == nil {
			return nil, tree.ErrNoAttr
		}
		return append([]byte{}, f.set[i].New...), nil
	}
	value, ok, err := f.entry.Attr(name)
	if err == nil && !ok {
		err = tree.ErrNoAttr
	}
	return value, err
}

// Attrs implements tree.File.
func (f *File) Attrs() ([]string, error) {
	var names []string
	for _, name := range f.entry.Attrs() {
		if index(f.set, name) < 0 {
			names = append(names, name)
		}
	}
	for _, c := range f.set {
		if c.New != nil {
			names = append(names, c.Attr)
		}
	}
	return names, nil
}

func index(set []pax.Change, name string) int {
	return slices.IndexFunc(set, func(c pax.Change) bool { return c.Attr == name })
}

// Close implements tree.File. The content stays until it is written.
func (f *File) Close() error { return nil }

// maxAttr is the largest value of an attribute (XATTR_SIZE_MAX in
// include/uapi/linux/limits.h).
const maxAttr = 64 << 10

// apply makes changes of attributes, up to one that cannot be made.
func (f *File) apply(changes []tree.Change) error {
	set := slices.Clone(f.set)
	for i, c := range changes {
		if err := check(c); err != nil {
			if i == 0 {
				return err
			}
			if err := f.apply(changes[:i]); err != nil {
				return err
			}
			return &tree.PartialError{Done: changes[:i], Err: err}
		}
		change := pax.Change{Attr: c.Attr, New: c.New}
		if i := index(set, c.Attr); i >= 0 {
			set[i] = change
		} else {
			set = append(set, change)
		}
	}
	head, err := f.entry.Edit(set)
	if err != nil {
		return err
	}
	f.set, f.head = set, head
	return nil
}

// check refuses a change that no archive can hold.
func check(c tree.Change) error {
	switch {
	case c.Attr == tree.SidecarAttr:
		return fmt.Errorf("a file beside another one in an archive: %w", errors.ErrUnsupported)
	case len(c.New) > maxAttr:
		return &tarfile.LimitError{What: "the value of " + c.Attr, Size: int64(len(c.New)), Max: maxAttr}
	}
	return nil
}
