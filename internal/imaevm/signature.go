package imaevm

import (
	"encoding/binary"
	"fmt"
	"math"

	"imaseal/hash"
)

// A Signature is a signature label of version 2 or 3.
//
//	0  1  type, 0x03, 0x05 or 0x06    3  4  key id
//	1  1  version, 2 or 3             7  2  length of the signature
//	2  1  hash, kernel number         9  n  signature
//
// Kernel: struct signature_v2_hdr, security/integrity/integrity.h.
type Signature struct {
	Kind    Type // TypeSignature, TypePortable or TypeVerity
	Version uint8
	Alg     hash.Algorithm
	KeyID   KeyID
	Raw     []byte // as the key made it: PKCS#1 v1.5, or DER for ECDSA
}

const signatureHeader = 9

// Type returns s.Kind.
func (s Signature) Type() Type { return s.Kind }

// AppendBinary appends the label to b.
func (s Signature) AppendBinary(b []byte) ([]byte, error) {
	switch {
	case s.Kind != TypeSignature && s.Kind != TypePortable && s.Kind != TypeVerity:
		return nil, fmt.Errorf("%w 0x%02x in a signature", ErrType, byte(s.Kind))
	case s.Version != 2 && s.Version != 3:
		return nil, fmt.Errorf("%w %d", ErrVersion, s.Version)
	case s.Alg == 0:
		return nil, fmt.Errorf("signature without a hash algorithm")
	case len(s.Raw) == 0 || len(s.Raw) > math.MaxUint16:
		return nil, fmt.Errorf("%w: %d bytes", ErrLength, len(s.Raw))
	}
	b = append(b, byte(s.Kind), s.Version, s.Alg.Number())
	b = binary.BigEndian.AppendUint32(b, uint32(s.KeyID))
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Raw)))
	return append(b, s.Raw...), nil
}

// ParseSignature parses a label of type 0x03, 0x05 or 0x06, version 2 or 3.
// Raw of the result refers to b.
func ParseSignature(b []byte) (Signature, error) {
	if len(b) == 0 {
		return Signature{}, ErrEmpty
	}
	kind := Type(b[0])
	if kind != TypeSignature && kind != TypePortable && kind != TypeVerity {
		return Signature{}, fmt.Errorf("%w 0x%02x in a signature", ErrType, b[0])
	}
	if len(b) <= signatureHeader {
		return Signature{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	}
	if b[1] != 2 && b[1] != 3 {
		return Signature{}, fmt.Errorf("%w %d", ErrVersion, b[1])
	}
	alg, ok := hash.ByNumber(b[2])
	if !ok {
		return Signature{}, fmt.Errorf("%w %d", ErrHash, b[2])
	}
	if n := int(binary.BigEndian.Uint16(b[7:])); n != len(b)-signatureHeader {
		return Signature{}, fmt.Errorf("%w: %d given, %d there", ErrLength, n, len(b)-signatureHeader)
	}
	return Signature{
		Kind:    kind,
		Version: b[1],
		Alg:     alg,
		KeyID:   KeyID(binary.BigEndian.Uint32(b[3:])),
		Raw:     b[signatureHeader:],
	}, nil
}

// A SignatureV1 is a historic signature label of version 1, kept as it is:
// the kernel's trusted keyrings cannot hold its keys, and nothing here makes
// or checks it. Kernel: struct signature_hdr, include/linux/digsig.h.
type SignatureV1 struct {
	Timestamp uint32 // seconds since 1970
	Algorithm byte   // 0 is RSA
	Hash      byte   // 0 is SHA-1, 1 is SHA-256
	KeyID     uint64
	Rest      []byte // number of integers, then each as 16 bit length and bytes
}

const signatureV1Header = 2 + 4 + 1 + 1 + 8

// Type returns TypeSignature.
func (s SignatureV1) Type() Type { return TypeSignature }

// AppendBinary appends the label to b.
func (s SignatureV1) AppendBinary(b []byte) ([]byte, error) {
	if len(s.Rest) == 0 {
		return nil, fmt.Errorf("%w: no integers", ErrShort)
	}
	b = append(b, byte(TypeSignature), 1)
	b = binary.BigEndian.AppendUint32(b, s.Timestamp)
	b = append(b, s.Algorithm, s.Hash)
	b = binary.BigEndian.AppendUint64(b, s.KeyID)
	return append(b, s.Rest...), nil
}

// ParseSignatureV1 parses the header of a version 1 label. Rest of the result
// refers to b and is not looked into.
func ParseSignatureV1(b []byte) (SignatureV1, error) {
	if len(b) <= signatureV1Header {
		return SignatureV1{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	}
	if Type(b[0]) != TypeSignature || b[1] != 1 {
		return SignatureV1{}, fmt.Errorf("%w %d", ErrVersion, b[1])
	}
	return SignatureV1{
		Timestamp: binary.BigEndian.Uint32(b[2:]),
		Algorithm: b[6],
		Hash:      b[7],
		KeyID:     binary.BigEndian.Uint64(b[8:]),
		Rest:      b[signatureV1Header:],
	}, nil
}

// FileID returns what a version 3 signature digests before it signs: the
// label's type, the algorithm's number, and the digest of the file or of EVM.
// Kernel: struct ima_file_id, security/integrity/integrity.h; only the used
// part of its 64 byte digest counts (calc_file_id_hash(), ima_appraise.c).
func FileID(kind Type, d hash.Digest) []byte {
	return d.AppendTo([]byte{byte(kind), d.Algorithm().Number()})
}
