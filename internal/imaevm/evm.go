package imaevm

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
)

// Names of the attributes.
const (
	AttrIMA = "security.ima"
	AttrEVM = "security.evm"
)

// An HMAC is an EVM label of type 0x02: HMAC-SHA1 is the only algorithm the
// format has. Kernel: struct evm_xattr, security/integrity/integrity.h.
type HMAC [sha1.Size]byte

// Type returns TypeHMAC.
func (HMAC) Type() Type { return TypeHMAC }

// AppendBinary appends the label to b. It never fails.
func (m HMAC) AppendBinary(b []byte) ([]byte, error) {
	return append(append(b, byte(TypeHMAC)), m[:]...), nil
}

// ParseHMAC parses a label of type 0x02, which has exactly 21 bytes.
func ParseHMAC(b []byte) (HMAC, error) {
	switch {
	case len(b) == 0:
		return HMAC{}, ErrEmpty
	case Type(b[0]) != TypeHMAC:
		return HMAC{}, fmt.Errorf("%w 0x%02x in an HMAC", ErrType, b[0])
	case len(b) < 1+sha1.Size:
		return HMAC{}, fmt.Errorf("%w: %d bytes", ErrShort, len(b))
	case len(b) > 1+sha1.Size:
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

// Protected returns the attributes that EVM covers in the kernel's order.
// Kernel: evm_config_default_xattrnames[], security/integrity/evm/evm_main.c.
// Names that root added at run time (evm_xattrs) follow in their order.
func Protected() []ProtectedAttr {
	return []ProtectedAttr{
		{"security.selinux", "CONFIG_SECURITY_SELINUX"},
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
	Mode       uint32 // the whole i_mode, with the type bits; 16 bits count
	UUID       *[16]byte
}

// A Target is the machine whose kernel will compute the same digest. The zero
// value is a 64-bit little endian one.
type Target struct {
	Word32    bool // a 32-bit kernel: the inode number takes four bytes
	BigEndian bool
}

// Errors of Input.
var (
	ErrNoAttrs = errors.New("no protected attribute")
	ErrNoIMA   = errors.New("a portable signature needs security.ima on the file")
)

// Input returns the bytes that an EVM label of the given kind covers: the
// values of the attributes that exist, in the order given and without names or
// lengths, then struct h_misc in the target's layout,
//
//	0   8  inode number       zero for portable signatures; 4 bytes on 32-bit
//	8   4  generation         zero for portable signatures
//	12  4  uid
//	16  4  gid
//	20  2  mode
//	22  2  padding, zero
//
// then the 16 bytes of the file system UUID, but not for portable signatures
// and not where m.UUID is nil (a kernel without CONFIG_EVM_ATTR_FSUUID). The
// caller gives the attributes that count, in the kernel's order, without
// security.evm. Kernel: evm_calc_hmac_or_hash() and hmac_add_misc() in
// security/integrity/evm/evm_crypto.c. The errors are ErrNoAttrs and ErrNoIMA.
func Input(kind Type, attrs []Attr, m Meta, t Target) ([]byte, error) {
	if len(attrs) == 0 {
		return nil, ErrNoAttrs
	}
	portable := kind == TypePortable
	var b []byte
	hasIMA := false
	for _, a := range attrs {
		b = append(b, a.Value...)
		hasIMA = hasIMA || a.Name == AttrIMA
	}
	if portable && !hasIMA {
		return nil, ErrNoIMA
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
	return b, nil
}

// An HMACKey is an EVM HMAC key as the kernel uses it.
type HMACKey struct{ padded [hmacKeySize]byte }

// hmacKeySize is MAX_KEY_SIZE of security/integrity/evm/evm.h: the key is
// padded with zeros to 128 bytes, and all of them are the HMAC's key.
const hmacKeySize = 128

// NewHMACKey returns the key with the given 1 to 128 bytes, which are copied.
// Kernel: evm_set_key() in security/integrity/evm/evm_crypto.c.
func NewHMACKey(key []byte) (*HMACKey, error) {
	if len(key) == 0 || len(key) > hmacKeySize {
		return nil, fmt.Errorf("an EVM HMAC key has 1 to %d bytes, not %d", hmacKeySize, len(key))
	}
	k := new(HMACKey)
	copy(k.padded[:], key)
	return k, nil
}

// Sum returns the label for what Input returned.
func (k *HMACKey) Sum(input []byte) HMAC {
	mac := hmac.New(sha1.New, k.padded[:])
	mac.Write(input)
	return HMAC(mac.Sum(nil))
}

// String hides the key.
func (k *HMACKey) String() string { return "EVM HMAC key" }

// GoString hides the key.
func (k *HMACKey) GoString() string { return k.String() }
