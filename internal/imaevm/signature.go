package imaevm

import (
	"encoding/binary"
	"errors"
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
	Kind    Type  // TypeSignature, TypePortable or TypeVerity
	Version uint8 // 2 or 3; 3 for TypeVerity
	Alg     hash.Algorithm
	KeyID   KeyID
	Raw     []byte // as the key made it: PKCS#1 v1.5, or DER for ECDSA; 1 to 65535 bytes
}

// SignatureHeader is the size in bytes of what stands in front of Signature.Raw.
const SignatureHeader = 9

func (t Type) isSignature() bool {
	return t == TypeSignature || t == TypePortable || t == TypeVerity
}

// hasVersion reports whether signatures of type t come in version v.
func (t Type) hasVersion(v uint8) bool {
	return v == 3 || v == 2 && t != TypeVerity
}

// Type returns s.Kind.
func (s Signature) Type() Type { return s.Kind }

// AppendBinary appends the label to b.
func (s Signature) AppendBinary(b []byte) ([]byte, error) {
	switch {
	case !s.Kind.isSignature():
		return nil, fmt.Errorf("%w 0x%02x in a signature", ErrType, byte(s.Kind))
	case !s.Kind.hasVersion(s.Version):
		return nil, fmt.Errorf("%w %d of type 0x%02x", ErrVersion, s.Version, byte(s.Kind))
	case s.Alg.Size() == 0:
		return nil, errors.New("signature without a hash algorithm")
	case len(s.Raw) == 0 || len(s.Raw) > math.MaxUint16:
		return nil, fmt.Errorf("%w: %d bytes", ErrLength, len(s.Raw))
	}
	b = append(b, byte(s.Kind), s.Version, s.Alg.Number())
	b = binary.BigEndian.AppendUint32(b, uint32(s.KeyID))
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Raw)))
	return append(b, s.Raw...), nil
}

// ParseSignature parses a label of type 0x03, 0x05 or 0x06, version 2 or 3.
// Raw of the result refers to b. The errors are those of Parse.
func ParseSignature(b []byte) (Signature, error) {
	if len(b) == 0 {
		return Signature{}, ErrEmpty
	}
	kind := Type(b[0])
	if !kind.isSignature() {
		return Signature{}, fmt.Errorf("%w 0x%02x in a signature", ErrType, b[0])
	}
	if len(b) <= SignatureHeader {
		return Signature{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	}
	if !kind.hasVersion(b[1]) {
		return Signature{}, fmt.Errorf("%w %d of type 0x%02x", ErrVersion, b[1], b[0])
	}
	alg, ok := hash.ByNumber(b[2])
	if !ok {
		return Signature{}, fmt.Errorf("%w %d", ErrHash, b[2])
	}
	if n := int(binary.BigEndian.Uint16(b[7:])); n != len(b)-SignatureHeader {
		return Signature{}, fmt.Errorf("%w: %d given, %d there", ErrLength, n, len(b)-SignatureHeader)
	}
	return Signature{
		Kind:    kind,
		Version: b[1],
		Alg:     alg,
		KeyID:   KeyID(binary.BigEndian.Uint32(b[3:])),
		Raw:     b[SignatureHeader:],
	}, nil
}

// FileID returns what a version 3 signature digests before it signs, and what
// ML-DSA (Linux 7.2) signs without digesting it:
//
//	0  1  type of the label
//	1  1  hash, the kernel's number, that of the signature
//	2  n  digest: fs-verity's for type 0x06, the file's or EVM's for the others
//
// The digest d must not be zero. Kernel: struct ima_file_id,
// security/integrity/integrity.h, of whose 64 bytes for the digest only the used
// part counts, and calc_file_id_hash(), security/integrity/ima/ima_appraise.c in
// Linux 6.12, security/integrity/digsig_asymmetric.c in 7.2.
func FileID(kind Type, d hash.Digest) []byte {
	return d.AppendTo([]byte{byte(kind), d.Algorithm().Number()})
}
