package rpms

import (
	"errors"
	"fmt"
	"io"
	"math"

	"imaseal/internal/imaevm"
	"imaseal/internal/rpmfile"
	"imaseal/internal/tree"
)

// ErrPacked says that contents of a package are asked for, and payloads are not
// read.
var ErrPacked = errors.New("the content is packed, and is not read")

// A File is one of a package.
type File struct {
	in      *pkg
	index   int
	content io.ReaderAt // nil where payloads are not read
}

func (f *File) of() *rpmfile.File { return &f.in.head.Files[f.index] }

// Name implements tree.File.
func (f *File) Name() string { return f.in.path + ":" + f.Rel() }

// Rel implements tree.File.
func (f *File) Rel() string { return rel(f.of()) }

// rel is the path of a file relative to the root directory.
func rel(f *rpmfile.File) string { return f.Path[1:] }

// Full implements tree.File.
func (f *File) Full() string { return f.of().Path }

// Meta implements tree.File. The owner is root, or nobody known: packages have
// names of owners, and what number a name gets is for the host to say where the
// package is installed.
func (f *File) Meta() tree.Meta {
	m := tree.Meta{UID: math.MaxUint32, GID: math.MaxUint32, Mode: f.of().Mode, Size: f.of().Size}
	if f.of().User == "root" {
		m.UID = 0
	}
	return m
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	if f.content == nil {
		return 0, ErrPacked
	}
	return f.content.ReadAt(b, off)
}

// Attr implements tree.File.
func (f *File) Attr(name string) ([]byte, error) {
	label := f.in.labels[f.index]
	if name != imaevm.AttrIMA || label == nil {
		return nil, tree.ErrNoAttr
	}
	return append([]byte{}, label...), nil
}

// Attrs implements tree.File.
func (f *File) Attrs() ([]string, error) {
	if f.in.labels[f.index] == nil {
		return nil, nil
	}
	return []string{imaevm.AttrIMA}, nil
}

// Close implements tree.File.
func (f *File) Close() error { return nil }

// KnownDigest implements tree.Digested.
func (f *File) KnownDigest() (algorithm uint8, digest []byte) {
	d := f.of().Digest
	return d.Algorithm().Number(), d.Bytes()
}

// An AttrError says that a package cannot hold something.
type AttrError struct{ What string }

func (e *AttrError) Error() string { return "an RPM package holds no " + e.What }

// Unwrap returns errors.ErrUnsupported.
func (e *AttrError) Unwrap() error { return errors.ErrUnsupported }

// apply makes changes of labels, up to one that cannot be made. Each file has a
// place of its own, so that several workers can do that.
func (f *File) apply(changes []tree.Change) error {
	label := f.in.labels[f.index]
	for i, c := range changes {
		if err := check(c); err != nil {
			if i == 0 {
				return err
			}
			f.set(label)
			return &tree.PartialError{Done: changes[:i], Err: err}
		}
		label = c.New
	}
	f.set(label)
	return nil
}

func (f *File) set(label []byte) {
	f.in.labels[f.index] = label
	f.in.isChanged.Store(true)
}

// check refuses what no package can hold.
func check(c tree.Change) error {
	if c.Attr != imaevm.AttrIMA {
		return &AttrError{c.Attr}
	}
	if c.New == nil {
		return nil
	}
	if label, err := imaevm.ParseSignature(c.New); err != nil || label.Kind != imaevm.TypeSignature {
		return &AttrError{fmt.Sprintf("label of type %s, but signatures alone", kind(c.New))}
	}
	return nil
}

func kind(label []byte) imaevm.Type {
	if len(label) == 0 {
		return 0
	}
	return imaevm.Type(label[0])
}
