package imaevm

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	stdhash "hash"
	"math"
	"slices"

	"imaseal/hash"
)

// Names of the attributes. That of SELinux is no label, but covered by EVM's.
const (
	AttrIMA     = "security.ima"
	AttrEVM     = "security.evm"
	AttrSELinux = "security.selinux"
)

// An HMAC is an EVM label of type 0x02: HMAC-SHA1 is the only algorithm the
// format has. Kernel: struct evm_xattr, security/integrity/integrity.h.
type HMAC [sha1.Size]byte

// HMACSize is the size in bytes of an HMAC's label.
const HMACSize = 1 + sha1.Size

// Type returns TypeHMAC.
func (HMAC) Type() Type { return TypeHMAC }

// AppendBinary appends the label to b. It never fails.
func (m HMAC) AppendBinary(b []byte) ([]byte, error) {
	return append(append(b, byte(TypeHMAC)), m[:]...), nil
}

// ParseHMAC parses a label of type 0x02, which has exactly HMACSize bytes. The
// errors are those of Parse.
func ParseHMAC(b []byte) (HMAC, error) {
	switch {
	case len(b) == 0:
		return HMAC{}, ErrEmpty
	case Type(b[0]) != TypeHMAC:
		return HMAC{}, fmt.Errorf("%w 0x%02x in an HMAC", ErrType, b[0])
	case len(b) < HMACSize:
		return HMAC{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	case len(b) > HMACSize:
		return HMAC{}, fmt.Errorf("%w: %d bytes", ErrLong, len(b))
	}
	return HMAC(b[1:]), nil
}

// An Attr is an extended attribute with the value that the file system holds.
type Attr struct {
	Name  string
	Value []byte
}

// A ProtectedAttr is an attribute that EVM covers, and the kernel option that
// makes HMACs and inode-bound signatures count it; portable signatures count
// all. Option is empty for what every kernel counts.
type ProtectedAttr struct {
	Name   string
	Option string
}

// Protected returns the attributes that EVM covers in the kernel's order. Names
// that root added at run time (evm_xattrs) follow in the order of addition. The
// caller owns the slice. Kernel: evm_config_default_xattrnames[],
// security/integrity/evm/evm_main.c.
func Protected() []ProtectedAttr {
	return []ProtectedAttr{
		{AttrSELinux, "CONFIG_SECURITY_SELINUX"},
		{"security.SMACK64", "CONFIG_SECURITY_SMACK"},
		{"security.SMACK64EXEC", "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{"security.SMACK64TRANSMUTE", "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{"security.SMACK64MMAP", "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{"security.apparmor", "CONFIG_SECURITY_APPARMOR"},
		{AttrIMA, "CONFIG_IMA_APPRAISE"},
		{"security.capability", ""},
	}
}

// Meta is what EVM covers of an inode besides its attributes. Inode, Generation
// and UUID count for HMACs and inode-bound signatures only.
type Meta struct {
	Inode      uint64
	Generation uint32
	UID, GID   uint32 // as in the initial user namespace
	Mode       uint32 // the whole i_mode, st_mode of stat(2): type and permission bits
	UUID       *[16]byte
}

// A Target is the machine whose kernel will read the label. The zero value is
// Linux 6.12 on a 64-bit little endian one.
type Target struct {
	Word32    bool // a 32-bit kernel: the inode number takes four bytes
	BigEndian bool
	// SignatureV3 is set for Linux 7.2, which knows version 3 of every type of
	// signature; 6.12 knows it of type 0x06 only.
	SignatureV3 bool
	// NoSHA3 is set for kernels before Linux 6.7: their table of algorithms
	// (include/uapi/linux/hash_info.h) ends before sha3-256.
	NoSHA3 bool
}

// knows returns the algorithm with the number n in the target's table, zero if
// there is none.
func (t Target) knows(n uint8) hash.Algorithm {
	if t.NoSHA3 && n >= hash.SHA3_256.Number() {
		return 0
	}
	a, _ := hash.ByNumber(n)
	return a
}

// Errors of Input.
var (
	ErrNoAttrs = errors.New("no protected attribute")
	ErrNoIMA   = errors.New("a portable signature needs security.ima on the file")
)

// Input returns the bytes that an EVM label of the given kind (TypeHMAC,
// TypeSignature or TypePortable) covers: the values of the attributes that
// exist, in the order given and without names or lengths, then struct h_misc in
// the target's layout and byte order,
//
//	0   8  inode number       zero for portable signatures; 4 bytes on 32-bit,
//	                          where it is truncated and the rest moves up
//	8   4  generation         zero for portable signatures
//	12  4  uid
//	16  4  gid
//	20  2  mode
//	22  2  padding, zero
//
// then the 16 bytes of the file system UUID, but not for portable signatures
// and not where m.UUID is nil (a kernel without CONFIG_EVM_ATTR_FSUUID). The
// caller gives the attributes that count, in the kernel's order, without
// security.evm; an empty value is there too. Kernel: evm_calc_hmac_or_hash() and
// hmac_add_misc() in security/integrity/evm/evm_crypto.c.
//
// Without attributes the error is ErrNoAttrs, for a portable signature without
// security.ima ErrNoIMA. Another kind (it wraps ErrType), security.evm among the
// attributes and a mode that no inode has are mistakes of the caller.
func Input(kind Type, attrs []Attr, m Meta, t Target) ([]byte, error) {
	portable := kind == TypePortable
	has := func(name string) bool {
		return slices.ContainsFunc(attrs, func(a Attr) bool { return a.Name == name })
	}
	switch {
	case !portable && kind != TypeHMAC && kind != TypeSignature:
		return nil, fmt.Errorf("%w 0x%02x for EVM", ErrType, byte(kind))
	case portable && !has(AttrIMA): // also without any attribute, as in the kernel
		return nil, ErrNoIMA
	case len(attrs) == 0:
		return nil, ErrNoAttrs
	case has(AttrEVM):
		return nil, errors.New(AttrEVM + " does not cover itself")
	case m.Mode > math.MaxUint16 || m.Mode>>12 == 0:
		return nil, fmt.Errorf("mode %#o is no inode's", m.Mode)
	}
	return Covered(kind, attrs, m, t), nil
}

// Covered is Input for what no kernel takes, too, as evmctl has it: a file without
// attributes, a portable label without security.ima, a mode without its type, of
// which 16 bits count.
func Covered(kind Type, attrs []Attr, m Meta, t Target) []byte {
	portable := kind == TypePortable
	var b []byte
	for _, a := range attrs {
		b = append(b, a.Value...)
	}
	var order binary.AppendByteOrder = binary.LittleEndian
	if t.BigEndian {
		order = binary.BigEndian
	}
	inode, generation := m.Inode, m.Generation
	if portable {
		inode, generation = 0, 0
	}
	if t.Word32 {
		b = order.AppendUint32(b, uint32(inode))
	} else {
		b = order.AppendUint64(b, inode)
	}
	b = order.AppendUint32(b, generation)
	b = order.AppendUint32(b, m.UID)
	b = order.AppendUint32(b, m.GID)
	b = order.AppendUint16(b, uint16(m.Mode))
	b = append(b, 0, 0) // the structure's tail padding, which the kernel clears and hashes
	if !portable && m.UUID != nil {
		b = append(b, m.UUID[:]...)
	}
	return b
}

// An HMACKey is an EVM HMAC key as the kernel uses it. NewHMACKey makes it. It
// is safe for concurrent use.
type HMACKey struct {
	mac func() stdhash.Hash // a closure, so that no verb of fmt prints the key
}

// hmacKeySize is MAX_KEY_SIZE of security/integrity/evm/evm_crypto.c.
const hmacKeySize = 128

// NewHMACKey returns the key with the given 1 to 128 bytes, which are copied.
// The kernel pads them with zeros to 128 bytes, and all of these are the key of
// HMAC-SHA1: longer than a block, they count as their SHA-1. Kernel:
// evm_set_key() and init_desc(), security/integrity/evm/evm_crypto.c.
func NewHMACKey(key []byte) (*HMACKey, error) {
	if len(key) == 0 || len(key) > hmacKeySize {
		return nil, fmt.Errorf("an EVM HMAC key has 1 to %d bytes, not %d", hmacKeySize, len(key))
	}
	padded := make([]byte, hmacKeySize)
	copy(padded, key)
	return &HMACKey{mac: func() stdhash.Hash { return hmac.New(sha1.New, padded) }}, nil
}

// Sum returns the label for what Input returned.
func (k *HMACKey) Sum(input []byte) HMAC {
	mac := k.mac()
	mac.Write(input)
	return HMAC(mac.Sum(nil))
}

// String hides the key.
func (k *HMACKey) String() string { return "EVM HMAC key" }
