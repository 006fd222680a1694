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

// A Coverage is what an EVM label of a kind covers of a file.
type Coverage struct {
	Kind   imaevm.Type
	Attrs  []imaevm.Attr // those that count and are there, in the kernel's order
	Meta   imaevm.Meta
	Layout imaevm.Target
	Bare   bool // see EVM
}

// Input returns the bytes that are covered. The errors are those of imaevm.Input.
func (c Coverage) Input() ([]byte, error) {
	if c.Bare {
		return imaevm.Covered(c.Kind, c.Attrs, c.Meta, c.Layout), nil
	}
	return imaevm.Input(c.Kind, c.Attrs, c.Meta, c.Layout)
}

// Input returns what an EVM label of the kind covers of the file, as bytes. The
// errors are those of Cover and of Coverage.Input.
func (e EVM) Input(f tree.File, kind imaevm.Type, ima []byte) ([]byte, error) {
	c, err := e.Cover(f, kind, ima)
	if err != nil {
		return nil, err
	}
	return c.Input()
}

// Cover returns what an EVM label of the kind covers of the file, if its
// security.ima is ima. The error is a *NotBoundError for a label that needs the
// inode of a file without one, ErrMapped, or about reading the file.
func (e EVM) Cover(f tree.File, kind imaevm.Type, ima []byte) (Coverage, error) {
	c := Coverage{Kind: kind, Layout: e.Layout, Bare: e.Bare && kind != imaevm.TypePortable}
	var err error
	if e.Adapt != nil {
		if e.Instead, err = e.Adapt(f, kind, e.Instead); err != nil {
			return c, err
		}
	}
	if e.Instead.UID == nil || e.Instead.GID == nil {
		if err := CheckOwner(f); err != nil {
			return c, err
		}
	}
	names := e.Covered(kind)
	if c.Attrs, err = Protected(f, names, ima); err != nil {
		return c, err
	}
	c.Attrs = e.Instead.attrs(names, c.Attrs)
	m := f.Meta()
	c.Meta = imaevm.Meta{UID: m.UID, GID: m.GID, Mode: m.Mode}
	e.Instead.owner(&c.Meta)
	if kind != imaevm.TypePortable {
		err = e.bind(f, kind, &c.Meta)
	}
	return c, err
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
	var bound tree.Bound
	if i := e.Instead; i.Inode == nil || i.Generation == nil || e.UUID == nil && !e.NoUUID() {
		var ok bool
		if bound, ok = tree.As[tree.Bound](f); !ok {
			return &NotBoundError{Kind: kind}
		}
	}
	var err error
	if e.Instead.Inode != nil {
		meta.Inode = *e.Instead.Inode
	} else {
		meta.Inode = bound.Inode()
	}
	if e.Instead.Generation != nil {
		meta.Generation = *e.Instead.Generation
	} else if meta.Generation, err = bound.Generation(); err != nil {
		return err
	}
	switch {
	case e.NoUUID():
	case e.UUID != nil:
		meta.UUID = e.UUID
	default:
		var uuid [16]byte
		uuid, err = bound.UUID()
		meta.UUID = &uuid
	}
	return err
}

// Covered returns the names of the attributes that a kind of label covers where a
// file has them, in the kernel's order.
func (e EVM) Covered(kind imaevm.Type) []string {
	names := e.Counted()
	if kind == imaevm.TypePortable {
		names = e.Names()
	}
	return slices.Concat(names, e.Added)
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
