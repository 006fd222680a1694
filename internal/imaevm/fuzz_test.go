package imaevm_test

import (
	"bytes"
	"reflect"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
)

// seed adds every label of the vectors, and pieces that reach each branch.
func seed(f *testing.F) {
	for _, v := range vectors.Index(f) {
		f.Add(v.Value)
	}
	for _, text := range vectors.Texts(f, "labels") {
		f.Add(text.Values[0].Bytes)
	}
	for _, s := range []string{
		"", "00", "01", "02", "03", "0301", "0302", "04", "0404", "04ff", "05", "06", "07", "ff",
		"01" + ones(16) + zeros(4), "01" + ones(20), "01" + ones(21), "04 04" + ones(33), "02" + ones(21),
		"03 01" + ones(15), "03 02 04 00000001 0001 aa", "03 02 04 00000001 0002 aa", "06 02 04 00000001 0001 aa",
	} {
		f.Add(bin(s))
	}
}

// roundTrip fuzzes a parser: what parses must encode to the same bytes, and what
// fails must come with the zero value.
func roundTrip[L imaevm.Label](f *testing.F, parse func([]byte) (L, error)) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		label, err := parse(b)
		if !bytes.Equal(b, given) {
			t.Fatal("the parser changed its input")
		}
		if err != nil {
			if !reflect.ValueOf(&label).Elem().IsZero() {
				t.Fatalf("%#v with error %v", label, err)
			}
			return
		}
		got, err := label.AppendBinary(nil)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%x encodes to %x, %v", b, got, err)
		}
	})
}

func FuzzParse(f *testing.F)            { roundTrip(f, imaevm.Parse) }
func FuzzParseHash(f *testing.F)        { roundTrip(f, imaevm.ParseHash) }
func FuzzParseSignature(f *testing.F)   { roundTrip(f, imaevm.ParseSignature) }
func FuzzParseHMAC(f *testing.F)        { roundTrip(f, imaevm.ParseHMAC) }
func FuzzParseSignatureV1(f *testing.F) { roundTrip(f, imaevm.ParseSignatureV1) }

// FuzzHashMatches holds the strict parser and the kernel's view together: a hash
// label that parses names the kernel's algorithm and matches its own digest.
func FuzzHashMatches(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		alg := imaevm.LabelAlgorithm(b, hash.WP512, imaevm.Target{})
		label, err := imaevm.ParseHash(b)
		if err != nil {
			return
		}
		if alg != label.Digest.Algorithm() || !imaevm.HashMatches(b, label.Digest) {
			t.Fatalf("%x holds %v, to the kernel %v", b, label.Digest, alg)
		}
	})
}

func FuzzParseKeyID(f *testing.F) {
	for _, s := range []string{"", "0", "0x", "0x1", "dd65a4eb", "DD65A4EB", "0XC0FFEE01", "000000001", "ffffffff", "+1", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := imaevm.ParseKeyID(s)
		if err != nil {
			if id != 0 {
				t.Fatalf("%v with error %v", id, err)
			}
			return
		}
		if again, err := imaevm.ParseKeyID(id.String()); again != id || err != nil || len(id.String()) != 8 {
			t.Fatalf("%q prints as %q, which is %v, %v", s, id, again, err)
		}
		if len(s) > len("0x")+8 {
			t.Fatalf("%q has too many digits", s)
		}
	})
}
