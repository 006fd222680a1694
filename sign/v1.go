package sign

import (
	"fmt"

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
