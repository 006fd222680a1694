package sign

import (
	"slices"

	"imaseal/hash"
)

// A Scheme is a kind of signature that the kernel verifies.
type Scheme uint8

// The schemes. The other one that kernels have (EC-RDSA) is not made here.
const (
	RSA   Scheme = iota + 1 // RSASSA-PKCS1-v1_5
	ECDSA                   // DER of r and s
	MLDSA                   // of messages, not digests, and in version 3 only; since Linux 7.2
)

// String names the scheme.
func (s Scheme) String() string {
	switch s {
	case RSA:
		return "RSA"
	case ECDSA:
		return "ECDSA"
	case MLDSA:
		return "ML-DSA"
	}
	return "unknown"
}

// Digests returns the algorithms whose digests can be signed, in the kernel's
// order. ML-DSA takes all: a digest is a part of its message. RSA takes those with a DigestInfo prefix in the kernel
// (crypto/rsa-pkcs1pad.c, since 6.13 crypto/rsassa-pkcs1.c), ECDSA those that
// software_key_determine_akcipher() lists (crypto/asymmetric_keys/public_key.c).
func (s Scheme) Digests() []hash.Algorithm {
	switch s {
	case RSA:
		return []hash.Algorithm{
			hash.MD5, hash.SHA1, hash.RMD160, hash.SHA256, hash.SHA384, hash.SHA512, hash.SHA224,
			hash.SHA3_256, hash.SHA3_384, hash.SHA3_512,
		}
	case ECDSA:
		return []hash.Algorithm{
			hash.SHA1, hash.SHA256, hash.SHA384, hash.SHA512, hash.SHA224,
			hash.SHA3_256, hash.SHA3_384, hash.SHA3_512,
		}
	case MLDSA:
		return hash.All()
	}
	return nil
}

// Check returns nil if digests of a can be signed, else a *DigestError.
func (s Scheme) Check(a hash.Algorithm) error {
	if !slices.Contains(s.Digests(), a) {
		return &DigestError{Scheme: s, Algorithm: a}
	}
	return nil
}
