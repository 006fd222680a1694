package sign

import (
	"context"
	"fmt"
	"slices"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// A VerifierV1 checks signatures of version 1 with one public key: over what
// imaevm.SignatureV1.Signed returns, with PKCS#1 v1.5 padding and without a
// DigestInfo. The error for a signature that is not the key's is ErrSignature.
type VerifierV1 interface {
	VerifyV1(signed [20]byte, sig []byte) error
}

// VerifiersV1 finds the key for an id of version 1. The errors are those of
// Verifiers. What implements Verifiers may implement this too.
type VerifiersV1 interface {
	VerifierV1(id imaevm.KeyIDV1) (VerifierV1, error)
}

// A SignerV1 makes signatures of version 1 with one private key: as a VerifierV1
// checks them. KeyIDV1 returns false for a key that is not RSA.
type SignerV1 interface {
	KeyIDV1() (imaevm.KeyIDV1, bool)
	SignV1(ctx context.Context, signed [20]byte) ([]byte, error)
}

// DigestsV1 returns the algorithms that labels of version 1 have a number for.
func DigestsV1() []hash.Algorithm { return []hash.Algorithm{hash.SHA1, hash.SHA256} }

// LabelV1 signs d and returns the label of version 1. Its timestamp, which nobody
// reads as one, is the kernel's number of the algorithm: so a kernel that takes the
// first byte for that (imaevm.ParseEVMSignatureV1) finds it, and the same digest
// gives the same label. The error is an *UnsupportedError for an algorithm that is
// none of DigestsV1 and for a key that is not RSA; others are the Signer's.
func LabelV1(ctx context.Context, s SignerV1, d hash.Digest) (imaevm.SignatureV1, error) {
	number := slices.Index(DigestsV1(), d.Algorithm())
	id, isRSA := s.KeyIDV1()
	switch {
	case !isRSA:
		return imaevm.SignatureV1{}, &UnsupportedError{Kind: imaevm.TypeSignature, Version: 1, Why: "keys of version 1 are RSA"}
	case number < 0:
		return imaevm.SignatureV1{}, &UnsupportedError{Kind: imaevm.TypeSignature, Version: 1, Why: "digests of version 1 are sha1 and sha256, not " + d.Algorithm().String()}
	}
	l := imaevm.SignatureV1{
		Timestamp: uint32(d.Algorithm().Number()), Algorithm: imaevm.AlgorithmRSA, Hash: byte(number), KeyID: id, Count: 1,
	}
	var err error
	if l.Raw, err = s.SignV1(ctx, l.Signed(d)); err != nil {
		return imaevm.SignatureV1{}, err
	}
	l.Bits = uint16(len(l.Raw) * 8)
	return l, nil
}

// VerifyV1 checks a label of version 1 over the digest of the content. Kernels
// take their default algorithm for that, the label names one
// (imaevm.SignatureV1.ContentAlgorithm). The errors are those of Verify.
func VerifyV1(l imaevm.SignatureV1, d hash.Digest, keys VerifiersV1) error {
	if l.Algorithm != imaevm.AlgorithmRSA {
		return &UnsupportedError{Kind: l.Type(), Version: 1, Why: fmt.Sprintf("by a key of algorithm %d, and there is RSA only", l.Algorithm)}
	}
	v, err := keys.VerifierV1(l.KeyID)
	if err != nil {
		return err
	}
	if err := v.VerifyV1(l.Signed(d), l.Raw); err != nil {
		return badSignature(l.KeyID, err)
	}
	return nil
}

// verifyV1 is Verify for version 1, where the keys may be for others only.
func verifyV1(l imaevm.SignatureV1, d hash.Digest, keys Verifiers) error {
	known, ok := keys.(VerifiersV1)
	if !ok {
		return &UnknownKeyError{KeyID: l.KeyID}
	}
	if a, ok := l.ContentAlgorithm(); !ok {
		return &UnsupportedError{Kind: l.Type(), Version: 1, Why: fmt.Sprintf("over a digest of unknown algorithm %d", l.Hash)}
	} else if a != d.Algorithm() {
		return fmt.Errorf("a %s digest for a %s signature", d.Algorithm(), a)
	}
	return VerifyV1(l, d, known)
}
