package imaevm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"imaseal/hash"
)

// A Type is the first byte of a label.
type Type byte

// The types of enum evm_ima_xattr_type, security/integrity/integrity.h.
const (
	TypeHashLegacy Type = 0x01 // IMA_XATTR_DIGEST
	TypeHMAC       Type = 0x02 // EVM_XATTR_HMAC
	TypeSignature  Type = 0x03 // EVM_IMA_XATTR_DIGSIG
	TypeHash       Type = 0x04 // IMA_XATTR_DIGEST_NG
	TypePortable   Type = 0x05 // EVM_XATTR_PORTABLE_DIGSIG
	TypeVerity     Type = 0x06 // IMA_VERITY_DIGSIG
)

// String names the type as reports do.
func (t Type) String() string {
	switch t {
	case TypeHashLegacy:
		return "hash (legacy)"
	case TypeHMAC:
		return "hmac"
	case TypeSignature:
		return "signature"
	case TypeHash:
		return "hash"
	case TypePortable:
		return "portable signature"
	case TypeVerity:
		return "verity signature"
	}
	return fmt.Sprintf("type 0x%02x", byte(t))
}

// A Label is a parsed label: HashLabel, Signature, HMAC or SignatureV1.
type Label interface {
	// Type returns the first byte of the label.
	Type() Type
	// AppendBinary appends the label to b as the attribute holds it. If a
	// field has no encoding it returns nil and an error that says which.
	AppendBinary(b []byte) ([]byte, error)
}

// Errors of the parsers, and of AppendBinary for a field out of its range. They
// come wrapped with what was found.
var (
	ErrEmpty   = errors.New("empty label")
	ErrShort   = errors.New("label too short")
	ErrLong    = errors.New("label too long")
	ErrType    = errors.New("unknown label type")
	ErrVersion = errors.New("unknown signature version")
	ErrHash    = errors.New("unknown hash algorithm number")
	ErrLength  = errors.New("signature length does not match the label")
)

// Parse parses a label of any type. It accepts only what AppendBinary of the
// result produces; the result may refer to b. On error the label is nil, and the
// error wraps one of this package's; a hash label that is right but for bytes
// behind the digest gives a *TrailingError.
func Parse(b []byte) (Label, error) {
	if len(b) == 0 {
		return nil, ErrEmpty
	}
	var label Label
	var err error
	switch t := Type(b[0]); {
	case t == TypeHashLegacy || t == TypeHash:
		label, err = asLabel(ParseHash(b))
	case t == TypeHMAC:
		label, err = asLabel(ParseHMAC(b))
	case t == TypeSignature && len(b) > 1 && b[1] == 1:
		label, err = asLabel(ParseSignatureV1(b))
	case t.isSignature():
		label, err = asLabel(ParseSignature(b))
	default:
		err = fmt.Errorf("%w 0x%02x", ErrType, b[0])
	}
	return label, err
}

// asLabel keeps a zero value that comes with an error out of the interface.
func asLabel[L Label](l L, err error) (Label, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// A HashLabel is a hash label of type 0x01 or 0x04, as the package
// documentation lays it out. Kernel: struct evm_ima_xattr_data,
// security/integrity/integrity.h, and struct ima_digest_data,
// security/integrity/ima/ima.h.
type HashLabel struct {
	Digest hash.Digest
	// Form tells encodings of the same digest apart; NewHash sets the one
	// that the kernel itself writes.
	Form HashForm
}

// A HashForm is one of the encodings of a hash label.
type HashForm uint8

// The encodings of hash labels.
const (
	FormNG        HashForm = iota // type 0x04, any algorithm
	FormLegacy                    // type 0x01, MD5 or SHA-1
	FormPaddedMD5                 // type 0x01, MD5 and four zero bytes
)

// HashHeader is the size in bytes of what stands in front of the digest in a label
// of type 0x04; one of type 0x01 has a byte less.
const HashHeader = 2

// Sizes of type 0x01 in bytes. MD5 in 21 bytes has the padding at the end.
const (
	legacyMD5Size  = 1 + 16
	legacySHA1Size = 1 + 20
	md5Padding     = 4
)

// NewHash returns the label to write for d, which must not be zero. It is the
// one that the kernel writes, type 0x01 for MD5 and SHA-1, type 0x04 for the
// rest, except where that passes for an MD5 label: type 0x04 for MD4 and for a
// SHA-1 digest that ends in four zero bytes. Kernel: ima_fix_xattr(),
// ima_get_hash_algo(), security/integrity/ima/ima_appraise.c.
func NewHash(d hash.Digest) HashLabel {
	l := HashLabel{Digest: d, Form: FormNG}
	switch d.Algorithm() {
	case hash.MD5:
		l.Form = FormLegacy
	case hash.SHA1:
		if !endsInMD5Padding(d.Bytes()) {
			l.Form = FormLegacy
		}
	}
	return l
}

func endsInMD5Padding(b []byte) bool {
	return len(b) >= md5Padding && binary.BigEndian.Uint32(b[len(b)-md5Padding:]) == 0
}

// Type returns TypeHash or TypeHashLegacy.
func (l HashLabel) Type() Type {
	if l.Form == FormNG {
		return TypeHash
	}
	return TypeHashLegacy
}

// AppendBinary appends the label to b.
func (l HashLabel) AppendBinary(b []byte) ([]byte, error) {
	alg := l.Digest.Algorithm()
	switch {
	case alg == 0:
		return nil, errors.New("hash label without a digest")
	case l.Form == FormNG:
		return l.Digest.AppendTo(append(b, byte(TypeHash), alg.Number())), nil
	case l.Form == FormLegacy && alg == hash.MD5:
		return l.Digest.AppendTo(append(b, byte(TypeHashLegacy))), nil
	case l.Form == FormLegacy && alg == hash.SHA1 && !endsInMD5Padding(l.Digest.Bytes()):
		return l.Digest.AppendTo(append(b, byte(TypeHashLegacy))), nil
	case l.Form == FormPaddedMD5 && alg == hash.MD5:
		b = l.Digest.AppendTo(append(b, byte(TypeHashLegacy)))
		return append(b, make([]byte, md5Padding)...), nil
	}
	return nil, fmt.Errorf("a legacy hash label cannot hold %s", l.Digest)
}

// A TrailingError says that a hash label has bytes behind its digest. The
// kernel ignores them; nothing writes them.
type TrailingError struct {
	Label HashLabel
	Extra int // bytes behind the digest
}

func (e *TrailingError) Error() string {
	return fmt.Sprintf("%d bytes behind the digest", e.Extra)
}

// ParseHash parses a label of type 0x01 or 0x04. The errors are those of Parse.
func ParseHash(b []byte) (HashLabel, error) {
	if len(b) == 0 {
		return HashLabel{}, ErrEmpty
	}
	switch Type(b[0]) {
	case TypeHashLegacy:
		return parseLegacy(b)
	case TypeHash:
		if len(b) < HashHeader {
			return HashLabel{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
		}
		alg, ok := hash.ByNumber(b[1])
		if !ok {
			return HashLabel{}, fmt.Errorf("%w %d", ErrHash, b[1])
		}
		return hashLabel(alg, FormNG, b[HashHeader:])
	}
	return HashLabel{}, fmt.Errorf("%w 0x%02x in a hash label", ErrType, b[0])
}

func parseLegacy(b []byte) (HashLabel, error) {
	alg := legacyAlgorithm(b)
	switch {
	case alg == hash.MD5 && len(b) == legacySHA1Size:
		return hashLabel(alg, FormPaddedMD5, b[1:legacyMD5Size])
	case alg != 0:
		return hashLabel(alg, FormLegacy, b[1:])
	case len(b) < legacySHA1Size:
		return HashLabel{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	}
	return HashLabel{}, fmt.Errorf("%w: %d bytes of type 0x01", ErrLong, len(b))
}

// legacyAlgorithm tells the digests of type 0x01 apart as ima_get_hash_algo()
// does: 17 bytes are MD5, 21 are MD5 if the last four are zero, else SHA-1. Zero
// means neither.
func legacyAlgorithm(b []byte) hash.Algorithm {
	switch {
	case len(b) == legacyMD5Size, len(b) == legacySHA1Size && endsInMD5Padding(b):
		return hash.MD5
	case len(b) == legacySHA1Size:
		return hash.SHA1
	}
	return 0
}

func hashLabel(alg hash.Algorithm, form HashForm, sum []byte) (HashLabel, error) {
	if len(sum) < alg.Size() {
		return HashLabel{}, fmt.Errorf("%w: %d of %d bytes of %s", ErrShort, len(sum), alg.Size(), alg)
	}
	d, err := hash.NewDigest(alg, sum[:alg.Size()])
	if err != nil {
		return HashLabel{}, err
	}
	l := HashLabel{Digest: d, Form: form}
	if extra := len(sum) - alg.Size(); extra > 0 {
		return HashLabel{}, &TrailingError{Label: l, Extra: extra}
	}
	return l, nil
}

// A KeyID names a key: the last four bytes, big endian, of the subject key
// identifier of its certificate, or of the SHA-1 of a bare public key. Different
// keys may share an id. Kernel: request_asymmetric_key(),
// security/integrity/digsig_asymmetric.c.
type KeyID uint32

// String prints the id as eight lower case hexadecimal digits.
func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// ParseKeyID parses one to eight hexadecimal digits, with or without 0x.
func ParseKeyID(s string) (KeyID, error) {
	digits := s
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		digits = s[2:]
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) > 8 {
		return 0, fmt.Errorf("key id %q is not one to eight hexadecimal digits", s)
	}
	return KeyID(n), nil
}
