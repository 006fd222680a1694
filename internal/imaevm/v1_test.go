package imaevm_test

import (
	"errors"
	"math/big"
	"reflect"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

func TestParseSignatureV1(t *testing.T) {
	const header = "03 01 04030201 05 06 0708090a0b0c0d0e 02"
	want := imaevm.SignatureV1{Timestamp: 0x01020304, Algorithm: 5, Hash: 6, KeyID: 0x0708090a0b0c0d0e, Count: 2, Raw: []byte{}}
	with := func(bits uint16, raw, rest []byte) imaevm.SignatureV1 {
		s := want
		s.Bits, s.Raw, s.Rest = bits, raw, rest
		return s
	}
	for _, tt := range []struct {
		name  string
		label string
		want  imaevm.SignatureV1
		err   error
	}{
		{name: "empty", label: "", err: imaevm.ErrEmpty},
		{name: "type alone", label: "03", err: imaevm.ErrShort},
		{name: "header alone", label: header, err: imaevm.ErrShort},
		{name: "half a length", label: header + "00", err: imaevm.ErrShort},
		{name: "no bits", label: header + "0000", want: want},
		{name: "no bits, a byte behind", label: header + "0000 aa", want: with(0, []byte{}, bin("aa"))},
		{name: "a bit too many", label: header + "0001", err: imaevm.ErrLength},
		{name: "nine bits in two bytes", label: header + "0009 ffaa", want: with(9, bin("ffaa"), nil)},
		{name: "nine bits in one byte", label: header + "0009 ff", err: imaevm.ErrLength},
		{name: "bytes behind", label: header + "0008 ff 0102", want: with(8, bin("ff"), bin("0102"))},
		{name: "the most bits", label: header + "4000" + ones(2048), want: with(16384, bin(ones(2048)), nil)},
		{name: "more bits", label: header + "4001" + ones(2049), err: imaevm.ErrLength},
		{name: "version 2", label: "03 02" + ones(17), err: imaevm.ErrVersion},
		{name: "portable", label: "05 01" + ones(17), err: imaevm.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := imaevm.ParseSignatureV1(bin(tt.label))
			if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("ParseSignatureV1 = %+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
			if tt.err == nil {
				parse(t, bin(tt.label))
			}
		})
	}
	for name, s := range map[string]imaevm.SignatureV1{
		"bits without bytes": {Bits: 1}, "bytes without bits": {Raw: []byte{1}}, "too many": {Bits: 16385, Raw: make([]byte, 2049)},
	} {
		if b, err := s.AppendBinary(nil); b != nil || !errors.Is(err, imaevm.ErrLength) {
			t.Errorf("%s: AppendBinary = %x, %v", name, b, err)
		}
	}
}

func TestContentAlgorithm(t *testing.T) {
	for number, want := range map[byte]hash.Algorithm{0: hash.SHA1, 1: hash.SHA256, 2: 0, 255: 0} {
		if a, ok := (imaevm.SignatureV1{Hash: number}).ContentAlgorithm(); a != want || ok != (want != 0) {
			t.Errorf("hash %d is %v, %v", number, a, ok)
		}
	}
}

// TestParseEVMSignatureV1: the algorithm is the first byte of the timestamp.
func TestParseEVMSignatureV1(t *testing.T) {
	const rest = "000000 00 00 0708090a0b0c0d0e 01 0008 ff"
	for _, tt := range []struct {
		label string
		want  hash.Algorithm
		err   error
	}{
		{"03 01 04" + rest, hash.SHA256, nil},
		{"05 01 02" + rest, hash.SHA1, nil},
		{"05 01 17" + rest, 0, imaevm.ErrHash},
		{"06 01 04" + rest, 0, imaevm.ErrType},
		{"05 02 04" + rest, 0, imaevm.ErrVersion},
		{"", 0, imaevm.ErrEmpty},
	} {
		s, a, err := imaevm.ParseEVMSignatureV1(bin(tt.label))
		if a != tt.want || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || err == nil && s.Bits != 8 {
			t.Errorf("%s: %+v, %v, %v", tt.label, s, a, err)
		}
	}
}

func TestKeyIDV1(t *testing.T) {
	for id, want := range map[imaevm.KeyIDV1][2]string{
		0x0227da7bc4f8bf4f: {"0227da7bc4f8bf4f", "227DA7BC4F8BF4F"},
		1:                  {"0000000000000001", "1"},
	} {
		if id.String() != want[0] || id.Description() != want[1] {
			t.Errorf("%s, %s", id, id.Description())
		}
	}
}

func TestKeyV1(t *testing.T) {
	k := imaevm.KeyV1{N: big.NewInt(0x1ff), E: big.NewInt(3)}
	b, err := k.AppendBinary(bin("aa"))
	if want := bin("aa 01 00000000 00 02 0009 01ff 0002 03"); err != nil || string(b) != string(want) {
		t.Errorf("%x, %v", b, err)
	}
	// That of testdata/vectors/labels, which evmctl computed, is in
	// TestEvmctlLabels.
	k.N = new(big.Int).Lsh(big.NewInt(1), 16384)
	if id, err := k.ID(); id != 0 || err == nil {
		t.Errorf("the id of a huge key is %s", id)
	}
}
