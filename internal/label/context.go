package label

import (
	"bytes"
	"slices"

	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
)

// Contexts says which SELinux context a file should have. It is safe for
// concurrent use.
type Contexts interface {
	// Context returns the context as text, "" for a file that keeps what it
	// has.
	Context(f tree.File) (string, error)
}

// context returns the change of security.selinux that the file needs. From then
// on the file shows the new value, as EVM covers it.
func (j *labelling) context() ([]tree.Change, error) {
	if j.Contexts == nil {
		return nil, nil
	}
	context, err := j.Contexts.Context(j.file)
	if err != nil || context == "" {
		return nil, err
	}
	// The kernel and libselinux store the NUL behind the text, and EVM covers
	// what is stored.
	want := append([]byte(context), 0)
	old, err := tree.Value(j.file, imaevm.AttrSELinux)
	if err != nil || bytes.Equal(old, want) {
		return nil, err
	}
	j.newContext = true
	j.file = pending{File: j.file, attr: imaevm.AttrSELinux, value: want}
	return []tree.Change{{Attr: imaevm.AttrSELinux, Old: old, New: want}}, nil
}

// A pending file shows an attribute as it will be.
type pending struct {
	tree.File
	attr  string
	value []byte
}

// Unwrap returns the file as it is.
func (f pending) Unwrap() tree.File { return f.File }

func (f pending) Attr(name string) ([]byte, error) {
	if name == f.attr {
		return slices.Clone(f.value), nil
	}
	return f.File.Attr(name)
}

func (f pending) Attrs() ([]string, error) {
	names, err := f.File.Attrs()
	if err != nil || slices.Contains(names, f.attr) {
		return names, err
	}
	return append(names, f.attr), nil
}
