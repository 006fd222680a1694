package imaevm_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
)

var uuid = [16]byte(bin("112233445566778899aabbccddeeff00"))

// input returns Input of one attribute.
func input(t testing.TB, kind imaevm.Type, a imaevm.Attr, m imaevm.Meta, target imaevm.Target) []byte {
	t.Helper()
	b, err := imaevm.Input(kind, []imaevm.Attr{a}, m, target)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestInputLayout(t *testing.T) {
	meta := imaevm.Meta{
		Inode: 0x0102030405060708, Generation: 0x11121314, UID: 0x21222324, GID: 0x31323334, Mode: 0o104755, UUID: &uuid,
	}
	const id = "112233445566778899aabbccddeeff00"
	for _, tt := range []struct {
		name   string
		kind   imaevm.Type
		target imaevm.Target
		want   string
	}{
		{"64-bit little endian", imaevm.TypeHMAC, imaevm.Target{},
			"0807060504030201 14131211 24232221 34333231 ed89 0000" + id},
		{"64-bit big endian", imaevm.TypeHMAC, imaevm.Target{BigEndian: true},
			"0102030405060708 11121314 21222324 31323334 89ed 0000" + id},
		{"32-bit little endian", imaevm.TypeHMAC, imaevm.Target{Word32: true},
			"08070605 14131211 24232221 34333231 ed89 0000" + id},
		{"32-bit big endian", imaevm.TypeHMAC, imaevm.Target{Word32: true, BigEndian: true},
			"05060708 11121314 21222324 31323334 89ed 0000" + id},
		{"signature", imaevm.TypeSignature, imaevm.Target{},
			"0807060504030201 14131211 24232221 34333231 ed89 0000" + id},
		{"portable", imaevm.TypePortable, imaevm.Target{},
			"0000000000000000 00000000 24232221 34333231 ed89 0000"},
		{"portable, 64-bit big endian", imaevm.TypePortable, imaevm.Target{BigEndian: true},
			"0000000000000000 00000000 21222324 31323334 89ed 0000"},
		{"portable, 32-bit little endian", imaevm.TypePortable, imaevm.Target{Word32: true},
			"00000000 00000000 24232221 34333231 ed89 0000"},
		{"portable, 32-bit big endian", imaevm.TypePortable, imaevm.Target{Word32: true, BigEndian: true},
			"00000000 00000000 21222324 31323334 89ed 0000"},
		{"version 3 is no matter", imaevm.TypePortable, imaevm.Target{SignatureV3: true},
			"0000000000000000 00000000 24232221 34333231 ed89 0000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := input(t, tt.kind, imaevm.Attr{Name: imaevm.AttrIMA, Value: bin("aabb")}, meta, tt.target)
			if !bytes.Equal(got, bin("aabb"+tt.want)) {
				t.Errorf("Input = %x, want aabb %s", got, tt.want)
			}
		})
	}
	meta.UUID = nil
	got := input(t, imaevm.TypeHMAC, imaevm.Attr{Name: imaevm.AttrIMA}, meta, imaevm.Target{})
	if want := bin("0807060504030201 14131211 24232221 34333231 ed89 0000"); !bytes.Equal(got, want) {
		t.Errorf("without UUID, value empty: %x, want %x", got, want)
	}
}

// TestInputAttrs checks that values enter in the given order, empty ones too, and
// that the input of one attribute never writes into another's value.
func TestInputAttrs(t *testing.T) {
	value := make([]byte, 1, 100)
	value[0] = 0xaa
	attrs := []imaevm.Attr{
		{Name: "security.selinux", Value: value},
		{Name: "security.SMACK64", Value: nil},
		{Name: imaevm.AttrIMA, Value: bin("bb")},
		{Name: "security.later", Value: bin("cc")},
	}
	for range 2 {
		got, err := imaevm.Input(imaevm.TypePortable, attrs, imaevm.Meta{Mode: 0o100644}, imaevm.Target{})
		if want := bin("aabbcc" + zeros(20) + "a4810000"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Input = %x, %v; want %x", got, err, want)
		}
		if !bytes.Equal(value[:100], append([]byte{0xaa}, make([]byte, 99)...)) {
			t.Errorf("Input wrote into a value: %x", value[:100])
		}
	}
}

func TestInputErrors(t *testing.T) {
	selinux := []imaevm.Attr{{Name: "security.selinux", Value: []byte("x")}}
	ima := []imaevm.Attr{{Name: imaevm.AttrIMA, Value: []byte("x")}}
	for _, tt := range []struct {
		name  string
		kind  imaevm.Type
		attrs []imaevm.Attr
		mode  uint32
		want  error // nil for a mistake that has no value
	}{
		{"HMAC without attributes", imaevm.TypeHMAC, nil, 0o100644, imaevm.ErrNoAttrs},
		{"signature without attributes", imaevm.TypeSignature, nil, 0o100644, imaevm.ErrNoAttrs},
		{"portable without attributes", imaevm.TypePortable, nil, 0o100644, imaevm.ErrNoIMA},
		{"portable without security.ima", imaevm.TypePortable, selinux, 0o100644, imaevm.ErrNoIMA},
		{"hash", imaevm.TypeHash, ima, 0o100644, imaevm.ErrType},
		{"verity", imaevm.TypeVerity, ima, 0o100644, imaevm.ErrType},
		{"no type", 0, ima, 0o100644, imaevm.ErrType},
		{"security.evm", imaevm.TypeHMAC, []imaevm.Attr{{Name: imaevm.AttrEVM}}, 0o100644, nil},
		{"mode without type", imaevm.TypePortable, ima, 0o7777, nil},
		{"mode of Go", imaevm.TypePortable, ima, 1<<31 | 0o755, nil},
		{"mode of 17 bits", imaevm.TypePortable, ima, 0o300644, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := imaevm.Input(tt.kind, tt.attrs, imaevm.Meta{Mode: tt.mode}, imaevm.Target{})
			if b != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Input = %x, %v; want %v", b, err, tt.want)
			}
		})
	}
	for _, kind := range []imaevm.Type{imaevm.TypeHMAC, imaevm.TypeSignature} {
		if _, err := imaevm.Input(kind, selinux, imaevm.Meta{Mode: 0o120777}, imaevm.Target{}); err != nil {
			t.Errorf("%v of a link without security.ima: %v", kind, err)
		}
	}
}

func TestProtected(t *testing.T) {
	want := []imaevm.ProtectedAttr{
		{Name: "security.selinux", Option: "CONFIG_SECURITY_SELINUX"},
		{Name: "security.SMACK64", Option: "CONFIG_SECURITY_SMACK"},
		{Name: "security.SMACK64EXEC", Option: "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{Name: "security.SMACK64TRANSMUTE", Option: "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{Name: "security.SMACK64MMAP", Option: "CONFIG_EVM_EXTRA_SMACK_XATTRS"},
		{Name: "security.apparmor", Option: "CONFIG_SECURITY_APPARMOR"},
		{Name: "security.ima", Option: "CONFIG_IMA_APPRAISE"},
		{Name: "security.capability"},
	}
	imaevm.Protected()[0].Name = "changed"
	if got := imaevm.Protected(); !slices.Equal(got, want) {
		t.Errorf("Protected() = %q, want %q", got, want)
	}
}

func TestParseHMAC(t *testing.T) {
	for _, tt := range []struct {
		name  string
		label string
		err   error
	}{
		{"empty", "", imaevm.ErrEmpty},
		{"type alone", "02", imaevm.ErrShort},
		{"one byte short", "02" + ones(19), imaevm.ErrShort},
		{"exact", "02" + ones(20), nil},
		{"one byte long", "02" + ones(21), imaevm.ErrLong},
		{"sha256 as evmctl 1.4 makes it", "02" + ones(32), imaevm.ErrLong},
		{"hash", "01" + ones(20), imaevm.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := imaevm.ParseHMAC(bin(tt.label))
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("ParseHMAC: %v, want %v", err, tt.err)
			}
			want := imaevm.HMAC{}
			if tt.err == nil {
				want = imaevm.HMAC(bin(ones(20)))
				parse(t, bin(tt.label))
			}
			if got != want {
				t.Errorf("ParseHMAC = %x, want %x", got, want)
			}
		})
	}
}

// TestHMACKeyPadding checks the padding to 128 bytes against its definition: the
// padded key is longer than a block, so HMAC replaces it by its SHA-1.
func TestHMACKeyPadding(t *testing.T) {
	message := []byte("message")
	for _, size := range []int{1, 20, 32, 63, 64, 65, 127, 128} {
		bare := bytes.Repeat([]byte{0x5a}, size)
		key, err := imaevm.NewHMACKey(bare)
		if err != nil {
			t.Fatal(err)
		}
		hashed := sha1.Sum(append(bytes.Clone(bare), make([]byte, 128-size)...))
		mac := hmac.New(sha1.New, hashed[:])
		mac.Write(message)
		clear(bare) // the key must be a copy
		if got := key.Sum(message); !bytes.Equal(got[:], mac.Sum(nil)) {
			t.Errorf("key of %d bytes: %x, want %x", size, got, mac.Sum(nil))
		}
	}
	padded := vectors.ReadHex(t, "evm-key/evm-key.hex")
	padded = append(padded, make([]byte, 128-len(padded))...)
	if got, want := fmt.Sprintf("%x", sha1.Sum(padded)), "47a75ae1a5400524687953bb241074c471eeaf8d"; got != want {
		t.Errorf("SHA-1 of the padded test key is %s, want %s", got, want)
	}
	for _, size := range []int{0, 129} {
		if key, err := imaevm.NewHMACKey(make([]byte, size)); key != nil || err == nil {
			t.Errorf("a key of %d bytes: %v, %v", size, key, err)
		}
	}
}

func TestHMACKeyIsNotPrinted(t *testing.T) {
	key, err := imaevm.NewHMACKey([]byte("SECRET"))
	if err != nil {
		t.Fatal(err)
	}
	printed := ""
	for _, v := range []any{key, *key, struct{ k imaevm.HMACKey }{*key}, struct{ k *imaevm.HMACKey }{key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c"} {
			printed += fmt.Sprintf(verb, v)
		}
	}
	for _, leak := range []string{"SECRET", "534543524554", "83 69 67", "S E C", "0x53"} {
		if strings.Contains(printed, leak) {
			t.Errorf("the key leaks as %q in %s", leak, printed)
		}
	}
	if key.String() != "EVM HMAC key" {
		t.Errorf("String() = %q", key)
	}
}
