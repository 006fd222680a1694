package apply

import (
	"bytes"
	"fmt"
	"slices"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// compare returns what EVM would find other than what the record's label was made
// for; nil for nothing.
func compare(f tree.File, r *labelfile.Record) (*MetaError, error) {
	if err := target.CheckOwner(f); err != nil {
		return nil, err
	}
	is, was := f.Meta(), r.EVM.Meta
	switch {
	case is.UID != was.UID:
		return &MetaError{"the owner", fmt.Sprint(is.UID), fmt.Sprint(was.UID)}, nil
	case is.GID != was.GID:
		return &MetaError{"the group", fmt.Sprint(is.GID), fmt.Sprint(was.GID)}, nil
	case is.Mode != was.Mode:
		return &MetaError{"the mode", fmt.Sprintf("%#o", is.Mode), fmt.Sprintf("%#o", was.Mode)}, nil
	}
	if r.EVM.Kind != imaevm.TypePortable {
		if mismatch, err := compareInode(f, r); mismatch != nil || err != nil {
			return mismatch, err
		}
	}
	return compareAttrs(f, r)
}

func compareInode(f tree.File, r *labelfile.Record) (*MetaError, error) {
	bound, ok := tree.As[tree.Bound](f)
	if !ok {
		return nil, &target.NotBoundError{Kind: r.EVM.Kind}
	}
	was := r.EVM.Meta
	if is := bound.Inode(); is != was.Inode {
		return &MetaError{"the inode", fmt.Sprint(is), fmt.Sprint(was.Inode)}, nil
	}
	generation, err := bound.Generation()
	if err != nil {
		return nil, err
	}
	if generation != was.Generation {
		return &MetaError{"the inode's generation", fmt.Sprint(generation), fmt.Sprint(was.Generation)}, nil
	}
	if was.UUID == nil {
		return nil, nil
	}
	uuid, err := bound.UUID()
	if err == nil && uuid != *was.UUID {
		return &MetaError{"the file system's UUID", fmt.Sprintf("%x", uuid), fmt.Sprintf("%x", *was.UUID)}, nil
	}
	return nil, err
}

// compareAttrs compares the attributes that count, as they will be.
func compareAttrs(f tree.File, r *labelfile.Record) (*MetaError, error) {
	there, err := target.Protected(f, r.EVM.Covered(), r.IMA)
	if err != nil {
		return nil, err
	}
	find := func(attrs []imaevm.Attr, name string) ([]byte, bool) {
		i := slices.IndexFunc(attrs, func(a imaevm.Attr) bool { return a.Name == name })
		if i < 0 {
			return nil, false
		}
		return attrs[i].Value, true
	}
	for _, name := range r.EVM.Covered() {
		if name == imaevm.AttrIMA || name == imaevm.AttrSELinux && r.SELinux != nil {
			continue // which will be what it is to be
		}
		is, isThere := find(there, name)
		was, wasThere := find(r.EVM.Attrs, name)
		if isThere != wasThere || !bytes.Equal(is, was) {
			return &MetaError{name, shown(is, isThere), shown(was, wasThere)}, nil
		}
	}
	return nil, nil
}

// shown is a value in words.
func shown(value []byte, there bool) string {
	if !there {
		return "none"
	}
	return fmt.Sprintf("%q", bytes.TrimSuffix(value, []byte{0}))
}

// check refuses labels that are not those of the record: hashes always, signatures
// as far as there are keys.
func (j *applying) check(r labelfile.Record) error {
	switch l, err := imaevm.Parse(r.IMA); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrWrongLabel, err)
	case l.Type() == imaevm.TypeHMAC, l.Type() == imaevm.TypePortable:
		return ErrWrongLabel
	default:
		if h, ok := l.(imaevm.HashLabel); ok {
			d, err := j.digest(h.Digest.Algorithm())
			if err == nil && d != h.Digest {
				err = ErrWrongLabel
			}
			if err != nil {
				return err
			}
		} else if err := j.verify(imaevm.AttrIMA, l, func(a hash.Algorithm) (hash.Digest, error) {
			if r.Verity {
				return r.Digest, nil
			}
			return j.digest(a)
		}); err != nil {
			return err
		}
	}
	if r.EVM == nil {
		return nil
	}
	l, err := imaevm.Parse(r.EVMLabel)
	if err != nil || l.Type() != r.EVM.Kind {
		return fmt.Errorf("security.evm: %w", ErrWrongLabel)
	}
	return j.verify(imaevm.AttrEVM, l, func(a hash.Algorithm) (hash.Digest, error) { return covered(r, a) })
}

// verify verifies a signature, if there are keys for that. HMACs pass: nobody but
// the kernel has that key.
func (j *applying) verify(attr string, l imaevm.Label, digest func(hash.Algorithm) (hash.Digest, error)) error {
	s, ok := l.(imaevm.Signature)
	if j.Keys == nil || l.Type() == imaevm.TypeHMAC {
		return nil
	}
	if !ok {
		return &SignatureError{attr, fmt.Errorf("%w", ErrWrongLabel)}
	}
	d, err := digest(s.Alg)
	if err != nil {
		return err
	}
	if err := sign.Verify(s, d, j.Keys); err != nil {
		return &SignatureError{attr, err}
	}
	return nil
}
