package kernelkey

import (
	"crypto/ecdsa"
	"errors"
	"math/big"
	"syscall"

	"imaseal/keys/p256"
)

// An ECDSAKey checks signatures by an ECDSA key. It is safe for concurrent use, and
// faster the more there are by a P-256 key.
type ECDSAKey struct {
	key  *ecdsa.PublicKey
	fast *p256.Verifier // nil for other curves
}

// NewECDSAKey returns an ECDSAKey of a key on one of the kernel's curves.
func NewECDSAKey(key *ecdsa.PublicKey) *ECDSAKey {
	return &ECDSAKey{key, p256.NewVerifier(key)}
}

func (k *ECDSAKey) verify(digest []byte, r, s *big.Int) bool {
	if k.fast != nil {
		return k.fast.Verify(digest, r, s)
	}
	return ecdsa.Verify(k.key, digest, r, s)
}

// Verify checks a signature over a digest, read as the kernel does. The error is a
// *SignatureError.
func (k *ECDSAKey) Verify(digest, sig []byte) error {
	size := digits(k.key.Curve) * digitSize
	var r, s *big.Int
	number := func(n **big.Int) func([]byte) error {
		return func(b []byte) error {
			if len(b) == 0 || len(b) > size+1 || len(b) == size+1 && b[0] != 0 {
				return &SignatureError{syscall.EINVAL}
			}
			*n = new(big.Int).SetBytes(b)
			return nil
		}
	}
	err := readPair(sig, number(&r), number(&s))
	n := k.key.Curve.Params().N
	switch {
	case err != nil:
		if e, ok := errors.AsType[*SignatureError](err); ok {
			return e
		}
		return &SignatureError{syscall.EBADMSG}
	case r.Sign() == 0 || s.Sign() == 0 || r.Cmp(n) >= 0 || s.Cmp(n) >= 0:
		return &SignatureError{syscall.EBADMSG}
	case !k.verify(digest[:min(len(digest), size)], r, s):
		return &SignatureError{syscall.EKEYREJECTED}
	}
	return nil
}
