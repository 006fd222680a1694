package target

import (
	"errors"
	"slices"

	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
)

// A NotBoundError says that a label needs the inode that a file will have, and
// that what carries the file cannot know it.
type NotBoundError struct{ Kind imaevm.Type }

func (e *NotBoundError) Error() string {
	return "an EVM label of type " + e.Kind.String() + " covers the inode, which the file gets when it is unpacked"
}

// ErrMapped says that a file's owner is not the one that EVM covers.
var ErrMapped = errors.New("the mount shows other owners than the file system has, which are those that EVM covers")

// Input returns what an EVM label of the kind covers of the file, if its
// security.ima is ima. The error is a *NotBoundError for a label that needs the
// inode of a file without one, ErrMapped, or about reading the file.
func (e EVM) Input(f tree.File, kind imaevm.Type, ima []byte) ([]byte, error) {
	if err := CheckOwner(f); err != nil {
		return nil, err
	}
	attrs, err := e.attrs(f, kind, ima)
	if err != nil {
		return nil, err
	}
	m := f.Meta()
	meta := imaevm.Meta{UID: m.UID, GID: m.GID, Mode: m.Mode}
	if kind != imaevm.TypePortable {
		if err := e.bind(f, kind, &meta); err != nil {
			return nil, err
		}
	}
	return imaevm.Input(kind, attrs, meta, e.Layout)
}

// CheckOwner returns ErrMapped if the file's owner is not to be seen as EVM has it.
// Kernel: hmac_add_misc() in security/integrity/evm/evm_crypto.c takes i_uid and
// i_gid as the file system has them.
func CheckOwner(f tree.File) error {
	mapped, ok := tree.As[tree.Mapped](f)
	if !ok {
		return nil
	}
	is, err := mapped.OwnersMapped()
	if err == nil && is {
		err = ErrMapped
	}
	return err
}

// bind fills in what binds a label to the inode.
func (e EVM) bind(f tree.File, kind imaevm.Type, meta *imaevm.Meta) error {
	bound, ok := tree.As[tree.Bound](f)
	if !ok {
		return &NotBoundError{Kind: kind}
	}
	meta.Inode = bound.Inode()
	var err error
	if meta.Generation, err = bound.Generation(); err != nil || e.NoUUID() {
		return err
	}
	if e.UUID != nil {
		meta.UUID = e.UUID
		return nil
	}
	uuid, err := bound.UUID()
	meta.UUID = &uuid
	return err
}

// attrs returns the file's attributes that count, in the kernel's order.
func (e EVM) attrs(f tree.File, kind imaevm.Type, ima []byte) ([]imaevm.Attr, error) {
	names := e.Counted()
	if kind == imaevm.TypePortable {
		names = e.Names()
	}
	return Protected(f, slices.Concat(names, e.Added), ima)
}

// Names returns the attributes that portable signatures cover, without those
// that are added.
func (e EVM) Names() []string {
	var names []string
	for _, a := range e.Attrs {
		names = append(names, a.Name)
	}
	return names
}

// Protected returns those of the attributes that the file has, in the order of
// their names, but for security.evm, which does not cover itself. Of security.ima
// the value is ima; nil stands for none.
func Protected(f tree.File, names []string, ima []byte) ([]imaevm.Attr, error) {
	there, err := f.Attrs()
	if err != nil {
		return nil, err
	}
	var attrs []imaevm.Attr
	for _, name := range names {
		switch {
		case name == imaevm.AttrIMA && ima != nil:
			attrs = append(attrs, imaevm.Attr{Name: name, Value: ima})
		case name == imaevm.AttrIMA, name == imaevm.AttrEVM, !slices.Contains(there, name):
		default:
			value, err := f.Attr(name)
			if err == tree.ErrNoAttr {
				continue // listed, but not stored: a security module shows it
			}
			if err != nil {
				return nil, err
			}
			attrs = append(attrs, imaevm.Attr{Name: name, Value: value})
		}
	}
	return attrs, nil
}
