// Package kernelkey takes public keys and checks signatures as the kernel does.
//
// A certificate's key is not looked at until a signature is to be verified with
// it: that of the certificate itself, of a certificate that it issued, or of a
// label. What is written here is what counts then.
//
// # RSA
//
// The key's bits are a SEQUENCE of two INTEGERs, read as package ber says; what
// follows is not looked at. Both are taken as unsigned, whatever their first bit
// (mpi_read_raw_data() in lib/crypto/mpi/mpicoder.c). The modulus has at least one
// byte, and at most 16384 bits without leading zeros; the exponent has at least one
// byte and at most as many as the modulus, leading zeros counted, and may be even or
// 0 (rsa_get_n() and rsa_get_e() in crypto/rsa_helper.c). The size of the modulus,
// rounded up to whole words of the processor (mpi_get_size()), must be 512, 1024, 1536, 2048, 3072
// or 4096 bits (rsa_check_key_length() in crypto/rsa.c). In FIPS mode the first
// three are refused, and since 6.12 an exponent that is even or not between 2^16
// and 2^256 (rsa_check_exponent_fips()).
//
// A signature has as many bytes as that size. Raised to the exponent it must be
// 00 01 FF…FF 00, the DigestInfo of the algorithm with NULL parameters, and the digest
// (pkcs1pad_verify_complete() in crypto/rsa-pkcs1pad.c, since 6.13
// rsassa_pkcs1_verify() in crypto/rsassa-pkcs1.c). Signatures of a modulus whose own
// bytes are fewer than the rounded size can be made, but no usual program makes them.
//
// # ECDSA
//
// The key's bits are a point 04 ‖ X ‖ Y on the curve, not that at infinity
// (ecdsa_set_pub_key() in crypto/ecdsa.c, ecc_is_pubkey_valid_full() in
// crypto/ecc.c). Since 6.10 X and Y have the same number of bytes, which fills the
// curve's 64-bit digits: 17 to 24, 25 to 32, 41 to 48, 65 to 72. Before that they fill
// them wholly, and one byte more may follow.
//
// A signature is a SEQUENCE of two INTEGERs r and s, read as package ber says; what
// follows is not looked at. Both are unsigned, have at least one byte and at most as
// many as the digits, and one leading zero more (ecdsa_get_signature_rs(), since 6.13
// in crypto/ecdsa-x962.c). Of a digest that is longer than the digits the first bytes count.
//
// P-192 is not there in FIPS mode, and in 6.1 no curve is. P-521 came with 6.10.
//
// # ML-DSA
//
// Since 7.0. The key's bits and the signature are those of FIPS 204; what is signed is the
// message itself, in pure mode and without a context (crypto/mldsa.c, lib/crypto/mldsa.c).
//
// # Others
//
// ECRDSA (GOST R 34.10-2012) and, until 6.10, SM2 have names here; keys and
// signatures of them are not checked.
package kernelkey

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"syscall"

	"filippo.io/mldsa"

	"imaseal/keys/ber"
)

// An Algorithm is a public key algorithm, under the kernel's name for it.
type Algorithm string

// The algorithms that some kernel knows.
const (
	RSA     Algorithm = "rsa"
	P192    Algorithm = "ecdsa-nist-p192"
	P256    Algorithm = "ecdsa-nist-p256"
	P384    Algorithm = "ecdsa-nist-p384"
	P521    Algorithm = "ecdsa-nist-p521"
	ECRDSA  Algorithm = "ecrdsa"
	SM2     Algorithm = "sm2"
	MLDSA44 Algorithm = "mldsa44"
	MLDSA65 Algorithm = "mldsa65"
	MLDSA87 Algorithm = "mldsa87"
)

// IsECDSA reports whether it is ECDSA, on whatever curve.
func (a Algorithm) IsECDSA() bool { return curve(a) != nil }

// IsMLDSA reports whether it is ML-DSA, of whatever size.
func (a Algorithm) IsMLDSA() bool { return a == MLDSA44 || a == MLDSA65 || a == MLDSA87 }

// IsChecked reports whether this package checks keys and signatures of it.
func (a Algorithm) IsChecked() bool { return a == RSA || a.IsECDSA() || a.IsMLDSA() }

// A Kernel is what keys and signatures depend on of a kernel.
type Kernel struct {
	Major, Minor int
	FIPS         bool // it was booted with fips=1, or CONFIG_CRYPTO_FIPS and the like made it so
	Is32Bit      bool // its words have 4 bytes
}

// AtLeast reports whether the version is major.minor or later.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}

// String returns the version.
func (k Kernel) String() string { return fmt.Sprintf("%d.%d", k.Major, k.Minor) }

func (k Kernel) wordSize() int {
	if k.Is32Bit {
		return 4
	}
	return 8
}

// A KeyError says that the kernel can do nothing with a key.
type KeyError struct {
	Why   string
	Errno syscall.Errno // what the kernel fails with
}

func (e *KeyError) Error() string { return e.Why }

func badKey(errno syscall.Errno, format string, args ...any) error {
	return &KeyError{Why: fmt.Sprintf(format, args...), Errno: errno}
}

// A SignatureError says that a signature is not the key's.
type SignatureError struct {
	Errno syscall.Errno // what the kernel fails with
}

func (e *SignatureError) Error() string { return "signature does not match" }

// A Key is a public key that the kernel can verify with.
type Key struct {
	algorithm Algorithm
	n, e      *big.Int // RSA
	size      int      // of RSA signatures, in bytes
	isStrict  bool     // RSA signatures of 0, 1 and n-1 are not looked at
	point     *ECDSAKey
	lattice   *mldsa.PublicKey
}

// Parse returns the key in the bits of a certificate's subjectPublicKey, without
// the byte that counts unused ones. The error is a *KeyError, also for
// algorithms that this package does not check.
func (k Kernel) Parse(a Algorithm, bits []byte) (*Key, error) {
	switch {
	case a == RSA:
		return k.parseRSA(bits)
	case a.IsECDSA():
		point, err := k.parsePoint(curve(a), bits)
		if err != nil {
			return nil, err
		}
		return &Key{algorithm: a, point: NewECDSAKey(point)}, nil
	case a.IsMLDSA():
		key, err := mldsa.NewPublicKey(parameters(a), bits)
		if err != nil {
			return nil, badKey(syscall.EINVAL, "an ML-DSA key of %d bytes", len(bits))
		}
		return &Key{algorithm: a, lattice: key}, nil
	}
	return nil, badKey(syscall.ENOENT, "%s keys are not checked here", a)
}

// Public returns the key as *rsa.PublicKey, *ecdsa.PublicKey or *mldsa.PublicKey.
// The error, a *KeyError, is for numbers that crypto/rsa does not work with.
func (k *Key) Public() (crypto.PublicKey, error) {
	switch {
	case k.lattice != nil:
		return k.lattice, nil
	case k.point != nil:
		return k.point.key, nil
	}
	const maxExponent = 1<<31 - 1 // that of crypto/rsa
	switch {
	case !k.e.IsInt64() || k.e.Int64() > maxExponent || k.e.Int64() < 2 || k.e.Bit(0) == 0:
		return nil, badKey(0, "an RSA key with the exponent %v", k.e)
	case k.n.Bit(0) == 0:
		return nil, badKey(0, "an RSA key with an even modulus")
	}
	return &rsa.PublicKey{N: k.n, E: int(k.e.Int64())}, nil
}

// Verify checks a signature over a digest of the algorithm that the kernel calls
// by the name or, with ML-DSA, over the message. The error is a *SignatureError.
func (k *Key) Verify(hash string, digest, sig []byte) error {
	switch {
	case k.lattice != nil:
		switch {
		case len(sig) != k.lattice.Parameters().SignatureSize():
			return &SignatureError{syscall.EBADMSG}
		case mldsa.Verify(k.lattice, digest, sig, nil) != nil:
			return &SignatureError{syscall.EKEYREJECTED}
		}
		return nil
	case k.point != nil:
		return k.point.Verify(digest, sig)
	}
	return k.verifyRSA(hash, digest, sig)
}

func parameters(a Algorithm) mldsa.Parameters {
	switch a {
	case MLDSA44:
		return mldsa.MLDSA44()
	case MLDSA65:
		return mldsa.MLDSA65()
	}
	return mldsa.MLDSA87()
}

// parseRSA reads a SEQUENCE of modulus and exponent. Kernel: rsa_set_pub_key().
func (k Kernel) parseRSA(bits []byte) (*Key, error) {
	const maxBytes = 16384 / 8 // MAX_EXTERN_MPI_BITS
	var n, e *big.Int
	err := readPair(bits, func(b []byte) error {
		n = new(big.Int).SetBytes(b)
		switch {
		case len(b) == 0:
			return badKey(syscall.EINVAL, "an RSA key with an empty modulus")
		case k.FIPS && byteLen(n) < 256:
			return badKey(syscall.EINVAL, "an RSA key of %d bits, in FIPS mode", n.BitLen())
		}
		e = big.NewInt(int64(len(b))) // that is how long the exponent may be
		return nil
	}, func(b []byte) error {
		if len(b) == 0 || int64(len(b)) > e.Int64() {
			return badKey(syscall.EINVAL, "an RSA key whose exponent is empty or longer than the modulus")
		}
		e = new(big.Int).SetBytes(b)
		return nil
	})
	if _, isKey := errors.AsType[*KeyError](err); isKey {
		return nil, err
	}
	word := k.wordSize()
	size := 0
	if err == nil {
		size = (byteLen(n) + word - 1) / word * word
	}
	switch {
	case err != nil:
		return nil, badKey(syscall.EBADMSG, "an RSA key that is none: %v", err)
	case byteLen(n) > maxBytes || byteLen(e) > maxBytes:
		return nil, badKey(syscall.ENOMEM, "an RSA key of %d bits", n.BitLen())
	case !slices.Contains([]int{512, 1024, 1536, 2048, 3072, 4096}, size*8):
		return nil, badKey(syscall.EINVAL, "an RSA key of %d bits", n.BitLen())
	case k.FIPS && size*8 < 2048:
		return nil, badKey(syscall.EINVAL, "an RSA key of %d bits, in FIPS mode", n.BitLen())
	case k.FIPS && k.AtLeast(6, 12) && (e.Bit(0) == 0 || e.BitLen() <= 16 || e.BitLen() > 256):
		return nil, badKey(syscall.EINVAL, "an RSA key with an exponent that FIPS mode does not allow")
	}
	return &Key{algorithm: RSA, n: n, e: e, size: size, isStrict: k.AtLeast(6, 12)}, nil
}

func byteLen(n *big.Int) int { return (n.BitLen() + 7) / 8 }

// digestInfos are what precedes a digest in RSA signatures, by the kernel's name
// of the algorithm (RFC 8017, appendix B.1; RFC 9580, table 24).
var digestInfos = map[string]string{
	"sha1":     "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
	"sha224":   "\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
	"sha256":   "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	"sha384":   "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	"sha512":   "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
	"sha3-256": "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x08\x05\x00\x04\x20",
	"sha3-384": "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x09\x05\x00\x04\x30",
	"sha3-512": "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x0a\x05\x00\x04\x40",
}

// verifyRSA looks at the encoded message in the kernel's order.
func (k *Key) verifyRSA(hash string, digest, sig []byte) error {
	info, ok := digestInfos[hash]
	if !ok || len(sig) != k.size {
		return &SignatureError{syscall.EINVAL}
	}
	s, one := new(big.Int).SetBytes(sig), big.NewInt(1)
	limit := k.n
	if k.isStrict { // rsa_check_payload()
		limit = new(big.Int).Sub(k.n, one)
	}
	if s.Cmp(limit) >= 0 || k.isStrict && s.Cmp(one) <= 0 {
		return &SignatureError{syscall.EINVAL}
	}
	message := s.Exp(s, k.e, k.n).FillBytes(make([]byte, k.size))
	if message[0] != 0 {
		return &SignatureError{syscall.EINVAL}
	}
	padding, rest, ok := bytes.Cut(message[1:], []byte{0})
	if !ok || len(padding) < 9 || padding[0] != 1 || len(bytes.TrimLeft(padding[1:], "\xff")) > 0 {
		return &SignatureError{syscall.EBADMSG}
	}
	rest, ok = bytes.CutPrefix(rest, []byte(info))
	switch {
	case !ok:
		return &SignatureError{syscall.EBADMSG}
	case !bytes.Equal(rest, digest):
		return &SignatureError{syscall.EKEYREJECTED}
	}
	return nil
}

// readPair reads a SEQUENCE of two INTEGERs, and does not look behind it. Each is
// looked at before what follows it is read.
func readPair(der []byte, first, second func([]byte) error) error {
	r := ber.NewReader(der)
	f, err := r.Open(ber.Sequence)
	if err != nil {
		return err
	}
	for _, look := range []func([]byte) error{first, second} {
		e, err := r.Leaf(ber.Integer)
		if err == nil {
			err = look(e.Value)
		}
		if err != nil {
			return err
		}
	}
	_, err = r.Close(f)
	return err
}

func curve(a Algorithm) elliptic.Curve {
	switch a {
	case P192:
		return NISTP192()
	case P256:
		return elliptic.P256()
	case P384:
		return elliptic.P384()
	case P521:
		return elliptic.P521()
	}
	return nil
}
