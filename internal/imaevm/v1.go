package imaevm

import (
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"imaseal/hash"
)

// A SignatureV1 is a historic signature label of version 1, which kernels still
// check.
//
//	0  1  type, 0x03                  7   1  hash, which no kernel reads
//	1  1  version, 1                  8   8  key id
//	2  4  timestamp, little endian    16  1  number of integers, which no kernel reads
//	6  1  key's algorithm, 0 is RSA   17  2  bits in the signature
//	                                  19  n  signature, big endian
//
// The timestamp is in the byte order of the machine that signed, and nobody
// reads it; little endian is what such machines mostly were. Kernels do not look
// at bytes behind the signature. Kernel: struct signature_hdr,
// include/linux/digsig.h; digsig_verify(), lib/digsig.c; mpi_read_from_buffer(),
// lib/crypto/mpi/mpicoder.c.
type SignatureV1 struct {
	Timestamp uint32 // seconds since 1970
	Algorithm byte   // AlgorithmRSA is the only one that there is
	Hash      byte   // see ContentAlgorithm
	KeyID     KeyIDV1
	Count     byte   // 1
	Bits      uint16 // in Raw, at most 16384
	Raw       []byte // an integer of (Bits+7)/8 bytes
	Rest      []byte // bytes behind it
}

// AlgorithmRSA is PUBKEY_ALGO_RSA of include/linux/digsig.h.
const AlgorithmRSA = 0

// Sizes in bytes: what the SHA-1 of a label covers of it, from the version on, and
// all that stands in front of SignatureV1.Raw.
const (
	signatureV1Header = 1 + 4 + 1 + 1 + 8 + 1
	signatureV1Start  = 1 + signatureV1Header + 2
)

// maxBitsV1 is MAX_EXTERN_MPI_BITS of lib/crypto/mpi/mpicoder.c.
const maxBitsV1 = 16384

// A KeyIDV1 names a key of version 1: the last eight bytes, big endian, of the
// SHA-1 of KeyV1's payload.
type KeyIDV1 uint64

// String prints the id as sixteen lower case hexadecimal digits.
func (id KeyIDV1) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Description is that of the key in a keyring: without leading zeros, in upper
// case. Kernel: digsig_verify(), lib/digsig.c.
func (id KeyIDV1) Description() string { return fmt.Sprintf("%X", uint64(id)) }

// Type returns TypeSignature.
func (s SignatureV1) Type() Type { return TypeSignature }

// ContentAlgorithm returns the algorithm of the content's digest that the label
// names, and false for a number that has none. Kernels take their default
// instead (ima_hash=), whatever the label says. Kernel: enum digest_algo,
// include/linux/digsig.h.
func (s SignatureV1) ContentAlgorithm() (hash.Algorithm, bool) {
	switch s.Hash {
	case 0:
		return hash.SHA1, true
	case 1:
		return hash.SHA256, true
	}
	return 0, false
}

// Signed returns what the key signs, with PKCS#1 v1.5 padding but without a
// DigestInfo, for a content with the digest d: the SHA-1 of d's bytes and of the
// label's header. Kernel: digsig_verify(), lib/digsig.c.
func (s SignatureV1) Signed(d hash.Digest) [sha1.Size]byte {
	return sha1.Sum(s.appendHeader(d.AppendTo(nil)))
}

func (s SignatureV1) appendHeader(b []byte) []byte {
	b = append(b, 1)
	b = binary.LittleEndian.AppendUint32(b, s.Timestamp)
	b = append(b, s.Algorithm, s.Hash)
	b = binary.BigEndian.AppendUint64(b, uint64(s.KeyID))
	return append(b, s.Count)
}

// SignatureHeaderV1 is the size in bytes of what stands in front of
// SignatureV1.Raw.
const SignatureHeaderV1 = signatureV1Start

// AppendBinary appends the label to b.
func (s SignatureV1) AppendBinary(b []byte) ([]byte, error) {
	if s.Bits > maxBitsV1 || len(s.Raw) != bytesOf(s.Bits) {
		return nil, fmt.Errorf("%w: %d bits in %d bytes", ErrLength, s.Bits, len(s.Raw))
	}
	b = s.appendHeader(append(b, byte(TypeSignature)))
	b = binary.BigEndian.AppendUint16(b, s.Bits)
	return append(append(b, s.Raw...), s.Rest...), nil
}

func bytesOf(bits uint16) int { return (int(bits) + 7) / 8 }

// An OverrunError says that an RSA signature of version 1 is longer than its label
// or than kernels read. Kernels that have its key crash by such a label: they free
// the integer that they could not read. Kernel: digsig_verify_rsa(),
// lib/digsig.c, in 6.1, 6.12 and 7.2.
type OverrunError struct {
	KeyID KeyIDV1
	Bits  uint16 // given
	Bytes int    // there
}

func (e *OverrunError) Error() string {
	return fmt.Sprintf("%v: %d bits given, %d bytes there", ErrLength, e.Bits, e.Bytes)
}

// Unwrap returns ErrLength.
func (e *OverrunError) Unwrap() error { return ErrLength }

// ParseSignatureV1 parses a version 1 label. Raw and Rest of the result refer to
// b. The errors are those of Parse, and *OverrunError.
func ParseSignatureV1(b []byte) (SignatureV1, error) {
	switch {
	case len(b) == 0:
		return SignatureV1{}, ErrEmpty
	case Type(b[0]) != TypeSignature:
		return SignatureV1{}, fmt.Errorf("%w 0x%02x in a version 1 signature", ErrType, b[0])
	case len(b) < signatureV1Start:
		return SignatureV1{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	case b[1] != 1:
		return SignatureV1{}, fmt.Errorf("%w %d in a version 1 signature", ErrVersion, b[1])
	}
	s := SignatureV1{
		Timestamp: binary.LittleEndian.Uint32(b[2:]),
		Algorithm: b[6],
		Hash:      b[7],
		KeyID:     KeyIDV1(binary.BigEndian.Uint64(b[8:])),
		Count:     b[16],
		Bits:      binary.BigEndian.Uint16(b[17:]),
	}
	raw := b[signatureV1Start:]
	n := bytesOf(s.Bits)
	switch isOver := s.Bits > maxBitsV1 || n > len(raw); {
	case isOver && s.Algorithm == AlgorithmRSA:
		return SignatureV1{}, &OverrunError{KeyID: s.KeyID, Bits: s.Bits, Bytes: len(raw)}
	case isOver:
		return SignatureV1{}, fmt.Errorf("%w: %d bits given, %d bytes there", ErrLength, s.Bits, len(raw))
	}
	s.Raw = raw[:n:n]
	if len(raw) > n {
		s.Rest = raw[n:]
	}
	return s, nil
}

// ParseEVMSignatureV1 parses a label of version 1 in security.evm, of type 0x03
// or 0x05, and returns the algorithm of EVM's digest too, also with an
// *OverrunError. Kernels take the byte for it that is the first of the timestamp,
// so that only one label in hundreds is right, by chance. Kernel:
// evm_verify_hmac(), security/integrity/evm/evm_main.c.
func ParseEVMSignatureV1(b []byte) (SignatureV1, hash.Algorithm, error) {
	if len(b) > 0 && Type(b[0]) == TypePortable {
		b = append([]byte{byte(TypeSignature)}, b[1:]...)
	}
	s, err := ParseSignatureV1(b)
	if _, isOver := errors.AsType[*OverrunError](err); err != nil && !isOver {
		return SignatureV1{}, 0, err
	}
	alg, ok := hash.ByNumber(b[2])
	if !ok {
		return SignatureV1{}, 0, fmt.Errorf("%w %d", ErrHash, b[2])
	}
	return s, alg, err
}

// A KeyV1 is an RSA public key for signatures of version 1: modulus and
// exponent. In a keyring it is a key of type "user", described by
// KeyIDV1.Description, whose payload is
//
//	0  1  version, 1
//	1  4  timestamp, 0
//	5  1  algorithm, 0 is RSA
//	6  1  number of integers, 2
//	7  n  modulus and exponent: each 2 bytes of length in bits, and its bytes
//
// Keyrings that only take keys signed by others (.ima, .evm) take none of this
// type. Kernel: struct pubkey_hdr, include/linux/digsig.h.
type KeyV1 struct{ N, E *big.Int }

// AppendBinary appends the payload to b. It fails for integers of more than
// 16384 bits, which no kernel reads.
func (k KeyV1) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, 1, 0, 0, 0, 0, AlgorithmRSA, 2)
	for _, n := range []*big.Int{k.N, k.E} {
		bits := n.BitLen()
		if bits > maxBitsV1 {
			return nil, errors.New("an integer of more than 16384 bits in a key of version 1")
		}
		b = binary.BigEndian.AppendUint16(b, uint16(bits))
		b = append(b, n.Bytes()...)
	}
	return b, nil
}

// ID returns the id of the key. It fails as AppendBinary does.
func (k KeyV1) ID() (KeyIDV1, error) {
	payload, err := k.AppendBinary(nil)
	if err != nil {
		return 0, err
	}
	sum := sha1.Sum(payload)
	return KeyIDV1(binary.BigEndian.Uint64(sum[sha1.Size-8:])), nil
}
