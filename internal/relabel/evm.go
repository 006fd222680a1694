package relabel

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/sign"
	"imaseal/walk"
)

// An EVMView is what a target's EVM covers of a file. It is safe for
// concurrent use.
type EVMView struct {
	Store attr.Store
	// Counted are the attributes that the target's kernel was built with, in
	// its order: those that HMACs and inode-bound signatures cover.
	Counted []string
	// Added are attributes that root adds at run time, in their order. They
	// count for every kind of label.
	Added []string
	// UUID is that of the target's file system, nil for that of the file.
	// NoUUID is a kernel without CONFIG_EVM_ATTR_FSUUID.
	UUID   *[16]byte
	NoUUID bool
	Target imaevm.Target

	mu    sync.Mutex
	uuids map[uint64]uuidOrError // by device
}

type uuidOrError struct {
	uuid [16]byte
	err  error
}

// input returns what a label of the kind covers of the file, if its
// security.ima is ima.
func (v *EVMView) input(e *walk.Entry, kind imaevm.Type, ima []byte) ([]byte, error) {
	attrs, err := v.attrs(e, kind, ima)
	if err != nil {
		return nil, err
	}
	meta := imaevm.Meta{Inode: e.Stat.Ino, UID: e.Stat.Uid, GID: e.Stat.Gid, Mode: e.Stat.Mode}
	if kind != imaevm.TypePortable {
		if meta.Generation, err = inode.Generation(e.File); err != nil {
			return nil, err
		}
		if !v.NoUUID {
			uuid, err := v.uuid(e)
			if err != nil {
				return nil, err
			}
			meta.UUID = &uuid
		}
	}
	return imaevm.Input(kind, attrs, meta, v.Target)
}

// attrs returns the file's attributes that count, in the kernel's order.
func (v *EVMView) attrs(e *walk.Entry, kind imaevm.Type, ima []byte) ([]imaevm.Attr, error) {
	names := v.Counted
	if kind == imaevm.TypePortable {
		names = nil
		for _, p := range imaevm.Protected() {
			names = append(names, p.Name)
		}
	}
	return protected(v.Store, e, slices.Concat(names, v.Added), ima)
}

// protected returns those of the attributes that the file has, in the order of
// their names, but for security.evm, which does not cover itself. Of security.ima
// the value is ima; nil stands for none.
func protected(s attr.Store, e *walk.Entry, names []string, ima []byte) ([]imaevm.Attr, error) {
	there, err := s.List(e.File)
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
			value, err := s.Get(e.File, name)
			if err == attr.ErrNotSet {
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

func (v *EVMView) uuid(e *walk.Entry) ([16]byte, error) {
	if v.UUID != nil {
		return *v.UUID, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.uuids[e.Stat.Dev]
	if !ok {
		known.uuid, known.err = inode.UUID(e.File)
		if v.uuids == nil {
			v.uuids = make(map[uint64]uuidOrError)
		}
		v.uuids[e.Stat.Dev] = known
	}
	return known.uuid, known.err
}

// EVMLabels makes EVM labels.
type EVMLabels struct {
	View *EVMView
	// Kinds is the kind of label by the class of the file. A class without
	// one gets no label.
	Kinds map[plan.Class]imaevm.Type
	Algo  hash.Algorithm // of signatures
	Key   *SigningKey
	HMAC  *imaevm.HMACKey
}

// wantEVM returns the EVM label that the file should carry instead of the one in
// the result, for a security.ima that will be ima. newIMA says that it will be
// another than it was, so that no old label can fit.
func (f *labelling) wantEVM(ctx context.Context, ima []byte, newIMA bool) ([]byte, error) {
	old := f.res.EVM
	kind, ok := f.EVM.Kinds[f.class]
	if !ok {
		return old, nil
	}
	if t, known := evmType(old); !known && !f.Force {
		return nil, fmt.Errorf("security.evm %w: %s", ErrUnknownLabel, t)
	}
	if !newIMA && kind == imaevm.TypeHMAC && f.class == plan.Hash && !f.ReplaceSignatures {
		keep, err := f.EVM.keeps(f.entry, ima, old)
		if err != nil {
			return nil, fmt.Errorf("checking security.evm: %w", err)
		}
		if keep {
			f.res.Outcome, f.res.Reason = report.Kept, "EVM signature"
			return old, nil
		}
	}
	want, err := f.EVM.label(ctx, f.entry, kind, ima, old, f.Force)
	if err != nil {
		return nil, fmt.Errorf("making security.evm: %w", err)
	}
	return want, nil
}

// evmType returns the type of a label in security.evm, and whether it is one
// that belongs there, or there is none.
func evmType(label []byte) (imaevm.Type, bool) {
	if len(label) == 0 {
		return 0, true
	}
	t := imaevm.Type(label[0])
	return t, t == imaevm.TypeHMAC || t == imaevm.TypeSignature || t == imaevm.TypePortable
}

// keeps reports whether the label in place is a signature that no HMAC should
// replace: one of another key, or one that is right.
func (m *EVMLabels) keeps(e *walk.Entry, ima, old []byte) (bool, error) {
	s, err := imaevm.ParseSignature(old)
	if err != nil {
		return false, nil
	}
	if m.Key == nil || s.KeyID != m.Key.Signer.KeyID() {
		return true, nil
	}
	input, err := m.View.input(e, s.Kind, ima)
	if err != nil {
		return false, err
	}
	d, err := hash.Sum(s.Alg, input)
	return err == nil && sign.Verify(s, d, m.Key.Own) == nil, nil
}

// label returns the EVM label of the kind: the old one if that is valid.
func (m *EVMLabels) label(ctx context.Context, e *walk.Entry, kind imaevm.Type, ima, old []byte, force bool) ([]byte, error) {
	input, err := m.View.input(e, kind, ima)
	if err != nil {
		return nil, err
	}
	if kind == imaevm.TypeHMAC {
		return m.HMAC.Sum(input).AppendBinary(nil)
	}
	d, err := hash.Sum(m.Algo, input)
	if err != nil {
		return nil, err
	}
	return m.Key.label(ctx, kind, d, old, force)
}
