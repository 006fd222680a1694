package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"imaseal/internal/imaevm"
	"imaseal/keys/kernelcert"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// Verifiers is a set of public keys: what a keyring of the kernel would be.
// It is safe for concurrent use.
type Verifiers struct {
	all      []*Public // as they were read, but for bare keys whose certificate is there
	keys     []*Public
	byID     map[imaevm.KeyID][]*Public
	old      setV1 // for version 1: all RSA keys
	user     setV1 // likewise, those that kernels can have
	warnings []Warning
}

var errNoPublic = errors.New("neither certificate nor key in it")

// OpenVerifiers reads public keys from files and from the files in
// directories, not further down: certificates, in DER or PEM, several to a
// file too; public keys, as PKIX or PKCS#1; private keys that are not
// encrypted. The same key from several places counts once, and a bare key
// whose certificate is there not at all, since the kernel finds it by the
// certificate. A named file that holds nothing of use is an error; what is of
// no use in a directory or among other keys is a warning.
func OpenVerifiers(paths ...string) (*Verifiers, error) {
	v := &Verifiers{}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if err := v.addDir(path); err != nil {
				return nil, err
			}
			continue
		}
		left, err := v.addFile(path)
		if err != nil {
			return nil, err
		}
		v.warnings = append(v.warnings, left...)
	}
	v.indexV1()
	all := v.keys
	v.all = slices.DeleteFunc(slices.Clone(all), func(p *Public) bool {
		return p.cert == nil && slices.ContainsFunc(all, func(q *Public) bool { return q.cert != nil && q.equal(p.key) })
	})
	v.index()
	for _, p := range v.keys {
		v.warnings = append(v.warnings, p.check()...)
	}
	return v, nil
}

// addDir adds the keys in the files of a directory.
func (v *Verifiers) addDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	before := len(v.keys)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			continue
		}
		left, err := v.addFile(path)
		if err != nil {
			left = []Warning{{Unusable, dir, "left out: " + err.Error()}}
		}
		v.warnings = append(v.warnings, left...)
	}
	if len(v.keys) == before {
		return fmt.Errorf("%q: %w", dir, errNoPublic)
	}
	return nil
}

// addFile adds the keys in a file, and returns warnings about those left out.
func (v *Verifiers) addFile(path string) ([]Warning, error) {
	found, err := keyfile.OpenPublic(path)
	if err != nil {
		return nil, err
	}
	before, left := len(v.keys), found.Left
	for _, c := range found.Certificates {
		p, err := publicOf(c, path)
		if err != nil {
			left = append(left, err)
			continue
		}
		v.keys = append(v.keys, p)
	}
	for _, k := range found.Keys {
		p, err := newPublic(k, path)
		if err != nil {
			left = append(left, err)
			continue
		}
		v.keys = append(v.keys, p)
	}
	switch {
	case len(v.keys) == before && len(left) > 0:
		return nil, fmt.Errorf("%q: %w", path, left[0])
	case len(v.keys) == before:
		return nil, fmt.Errorf("%q: %w", path, errNoPublic)
	}
	var warnings []Warning
	for _, err := range left {
		warnings = append(warnings, Warning{Unusable, path, "left out: " + err.Error()})
	}
	return warnings, nil
}

// index drops what is there twice, and sorts the rest by id. A key is found by all
// ids of its certificates.
func (v *Verifiers) index() {
	v.keys, v.byID = nil, make(map[imaevm.KeyID][]*Public)
	for _, p := range v.all {
		isSame := func(q *Public) bool { return q.hasID == p.hasID && q.id == p.id && q.equal(p.key) }
		if !slices.ContainsFunc(v.keys, isSame) {
			v.keys = append(v.keys, p)
		}
		for _, id := range p.ids() {
			if !slices.ContainsFunc(v.byID[id], func(q *Public) bool { return q.equal(p.key) }) {
				v.byID[id] = append(v.byID[id], p)
			}
		}
	}
}

// For returns the keys of the set that a kernel can have: without those whose
// certificate it does not load, or with which it cannot verify. Keys of which that
// is not known stay. Its Warnings are about both. Keys without a certificate stay,
// for whatever they stand for.
func (v *Verifiers) For(k kernelcert.Kernel) *Verifiers {
	kept := &Verifiers{old: v.old, user: v.user}
	for _, p := range v.all {
		w, isLeft := p.judge(k)
		if !isLeft {
			kept.all = append(kept.all, p)
		}
		if w.Kind != 0 {
			kept.warnings = append(kept.warnings, w)
		}
	}
	kept.index()
	return kept
}

// Keys returns the keys of the set, in the order they were read.
func (v *Verifiers) Keys() []*Public { return slices.Clone(v.keys) }

// Warnings returns what is questionable about the keys, and what was left out. Of
// a set that For has returned it is only what the kernel makes of the certificates.
func (v *Verifiers) Warnings() []Warning { return v.warnings }

// Verifier returns the key with the id. The error is a *sign.UnknownKeyError
// or a *sign.AmbiguousKeyError.
func (v *Verifiers) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	found := v.byID[id]
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		unknown := &sign.UnknownKeyError{KeyID: id}
		for _, p := range v.keys {
			if p.hasID && tail(p.sha1[:]) == id {
				unknown.KnownAs = append(unknown.KnownAs, p.id)
			}
		}
		return nil, unknown
	}
	return nil, ambiguous(id, found)
}
