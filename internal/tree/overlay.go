package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// WithOwner returns a source whose files belong to another user and group: those
// whose they will be where they are going.
func WithOwner(s Source, uid, gid uint32) Source {
	return WithFiles(s, func(f File) File { return owned{f, uid, gid} })
}

type owned struct {
	File
	uid, gid uint32
}

// Unwrap returns the file as it is.
func (f owned) Unwrap() File { return f.File }

func (f owned) Meta() Meta {
	m := f.File.Meta()
	m.UID, m.GID = f.uid, f.gid
	return m
}

// OwnersMapped implements Mapped: what the mount shows is no matter.
func (owned) OwnersMapped() (bool, error) { return false, nil }

// Overlay is a sink that writes nothing: the files, which are those of its
// Source, show what was applied until they are closed.
type Overlay struct{}

// Source returns a source with the files of another, which need not hold
// attributes: what they cannot hold is not set.
func (Overlay) Source(s Source) Source {
	return WithFiles(s, func(f File) File { return &overlaid{File: f} })
}

// Apply implements Sink.
func (Overlay) Apply(file File, changes []Change) error {
	f, ok := As[*overlaid](file)
	if !ok {
		return fmt.Errorf("%T shows no changes", file)
	}
	for _, c := range changes {
		if i := f.index(c.Attr); i >= 0 {
			f.set[i] = c
		} else {
			f.set = append(f.set, c)
		}
	}
	return nil
}

// Commit does nothing.
func (Overlay) Commit(context.Context) error { return nil }

// Abort does nothing.
func (Overlay) Abort() error { return nil }

type overlaid struct {
	File
	set []Change
}

// Unwrap returns the file as it is.
func (f *overlaid) Unwrap() File { return f.File }

func (f *overlaid) index(name string) int {
	return slices.IndexFunc(f.set, func(c Change) bool { return c.Attr == name })
}

func (f *overlaid) Attr(name string) ([]byte, error) {
	if i := f.index(name); i >= 0 {
		if f.set[i].New == nil {
			return nil, ErrNoAttr
		}
		return append([]byte{}, f.set[i].New...), nil
	}
	value, err := f.File.Attr(name)
	if errors.Is(err, errors.ErrUnsupported) {
		err = ErrNoAttr
	}
	return value, err
}

func (f *overlaid) Attrs() ([]string, error) {
	all, err := f.File.Attrs()
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	names := slices.DeleteFunc(all, func(name string) bool { return f.index(name) >= 0 })
	for _, c := range f.set {
		if c.New != nil {
			names = append(names, c.Attr)
		}
	}
	return names, err
}
