package keys

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"fmt"
	"math/big"
	"slices"

	"imaseal/internal/imaevm"
	"imaseal/sign"
)

// KeyV1 returns the key as version 1 has it, and false for a key that is not RSA.
func (p *Public) KeyV1() (imaevm.KeyV1, bool) {
	k, ok := p.key.(*rsa.PublicKey)
	if !ok {
		return imaevm.KeyV1{}, false
	}
	return imaevm.KeyV1{N: k.N, E: big.NewInt(int64(k.E))}, true
}

// KeyIDV1 returns the id that labels of version 1 name the key by, and false for
// a key that is not RSA.
func (p *Public) KeyIDV1() (imaevm.KeyIDV1, bool) {
	k, ok := p.KeyV1()
	if !ok {
		return 0, false
	}
	id, err := k.ID()
	return id, err == nil
}

// VerifyV1 checks a signature of version 1 as kernels do, which take it for an
// integer of any size. The error is sign.ErrSignature. Kernel:
// digsig_verify_rsa() and pkcs_1_v1_5_decode_emsa(), lib/digsig.c.
func (p *Public) VerifyV1(signed [sha1.Size]byte, sig []byte) error {
	k, ok := p.key.(*rsa.PublicKey)
	if !ok {
		return sign.ErrSignature
	}
	want := []byte{0, 1}
	for range k.Size() - len(signed) - 3 {
		want = append(want, 0xff)
	}
	want = append(append(want, 0), signed[:]...)
	m := new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(int64(k.E)), k.N)
	if string(m.FillBytes(make([]byte, k.Size()))) != string(want) {
		return sign.ErrSignature
	}
	return nil
}

// SignV1 implements sign.SignerV1, for RSA keys.
func (k *Key) SignV1(ctx context.Context, signed [sha1.Size]byte) ([]byte, error) {
	return k.backend.Sign(ctx, signed[:], crypto.Hash(0))
}

// A setV1 holds RSA keys by their ids of version 1.
type setV1 map[imaevm.KeyIDV1][]*Public

func (s setV1) add(p *Public) {
	id, ok := p.KeyIDV1()
	if ok && !slices.ContainsFunc(s[id], func(q *Public) bool { return q.equal(p.key) }) {
		s[id] = append(s[id], p)
	}
}

// VerifierV1 implements sign.VerifiersV1.
func (s setV1) VerifierV1(id imaevm.KeyIDV1) (sign.VerifierV1, error) {
	switch found := s[id]; len(found) {
	case 0:
		return nil, &sign.UnknownKeyError{KeyID: id}
	case 1:
		return found[0], nil
	default:
		return nil, ambiguous(id, found)
	}
}

// VerifierV1 makes a Key the sign.VerifiersV1 that know this key only.
func (k *Key) VerifierV1(id imaevm.KeyIDV1) (sign.VerifierV1, error) {
	if own, ok := k.KeyIDV1(); !ok || own != id {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return k.Public, nil
}

// VerifierV1 returns the RSA key with an id of version 1. It may have come with a
// certificate or without: either tells whether a label is right. The error is a
// *sign.UnknownKeyError or a *sign.AmbiguousKeyError.
func (v *Verifiers) VerifierV1(id imaevm.KeyIDV1) (sign.VerifierV1, error) {
	return v.old.VerifierV1(id)
}

// UserKeys returns those of the keys that a kernel can have for version 1. In its
// keyring they are keys of type "user" made of a public key, as evmctl import
// --rsa makes them of a PEM file. So these are the RSA keys that came without a
// certificate: which other versions need, and version 1 does not look at.
func (v *Verifiers) UserKeys() sign.VerifiersV1 { return v.user }

// indexV1 is index for version 1. A key in one file with its certificate is that
// of the certificate.
func (v *Verifiers) indexV1() {
	v.old, v.user = make(setV1), make(setV1)
	for _, p := range v.keys {
		v.old.add(p)
		isBeside := func(q *Public) bool { return q.cert != nil && q.source == p.source && q.equal(p.key) }
		if p.cert == nil && !slices.ContainsFunc(v.keys, isBeside) {
			v.user.add(p)
		}
	}
}

// ambiguous is the error for an id that several keys have.
func ambiguous(id fmt.Stringer, found []*Public) error {
	err := &sign.AmbiguousKeyError{KeyID: id}
	for _, p := range found {
		err.Keys = append(err.Keys, fmt.Sprintf("%s from %q", p.Kind(), p.source))
	}
	return err
}
