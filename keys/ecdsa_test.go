package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/vectors"
	"imaseal/keys/kernelkey"
	"imaseal/sign"
)

// TestKernelECDSA has encodings of one signature, and what kernels make of them.
// The same are shown to kernels in package kernellab.
func TestKernelECDSA(t *testing.T) {
	for _, name := range []string{"p256", "p384", "p521"} {
		key, err := Open(t.Context(), vectors.Path(t, "keys/"+name+".key.pem"), nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := hash.Sum(hash.SHA512, []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		der, err := key.SignDigest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &rs); err != nil {
			t.Fatal(err)
		}
		words := (key.PublicKey().(*ecdsa.PublicKey).Params().BitSize + 63) / 64 * 8
		fill := func(n *big.Int, size int) []byte { return n.FillBytes(make([]byte, size)) }
		tlv := func(tag byte, content ...byte) []byte {
			return slices.Concat([]byte{tag, 0x82, byte(len(content) >> 8), byte(len(content))}, content)
		}
		sequence := func(tag byte, r, s []byte) []byte {
			return tlv(tag, slices.Concat(tlv(2, r...), tlv(2, s...))...)
		}
		r, s := rs.R.Bytes(), rs.S.Bytes()
		full := sequence(0x30, fill(rs.R, words), fill(rs.S, words))
		indefinite := slices.Concat([]byte{0x30, 0x80}, tlv(2, r...), tlv(2, s...))
		for _, c := range []struct {
			what string
			sig  []byte
			want bool
		}{
			{"DER", der, true},
			{"a zero byte behind", append(bytes.Clone(der), 0), true},
			{"anything behind", append(bytes.Clone(der), "anything"...), true},
			{"lengths of two bytes, and the first bit of r and s one of theirs", sequence(0x30, r, s), true},
			{"filled up to the words", full, true},
			{"and a zero byte", sequence(0x30, fill(rs.R, words+1), fill(rs.S, words+1)), true},
			{"and two", sequence(0x30, fill(rs.R, words+2), fill(rs.S, words)), false},
			{"a word and a byte that is not zero", sequence(0x30, append([]byte{1}, fill(rs.R, words)...), s), false},
			{"a primitive sequence", sequence(0x10, r, s), true},
			{"a set", sequence(0x31, r, s), false},
			{"indefinite length", append(bytes.Clone(indefinite), 0, 0), true},
			{"indefinite length, and more", append(bytes.Clone(indefinite), 0, 0, 7), true},
			{"indefinite length, no end", indefinite, false},
			{"indefinite length, half an end", append(bytes.Clone(indefinite), 0), false},
			{"indefinite length, another end", append(bytes.Clone(indefinite), 0, 1), false},
			{"indefinite length, primitive", append([]byte{0x10}, append(bytes.Clone(indefinite), 0, 0)[1:]...), false},
			{"lengths of three bytes", append([]byte{0x30, 0x83, 0}, full[2:]...), false},
			{"more inside of the sequence", tlv(0x30, slices.Concat(tlv(2, r...), tlv(2, s...), []byte{5, 0})...), false},
			{"a sequence cut", full[:len(full)-1], false},
			{"one integer", tlv(0x30, tlv(2, r...)...), false},
			{"a constructed integer", tlv(0x30, slices.Concat(tlv(0x22, r...), tlv(2, s...))...), false},
			{"an integer of no bytes", tlv(0x30, slices.Concat(tlv(2), tlv(2, s...))...), false},
			{"r is zero", sequence(0x30, []byte{0}, s), false},
			{"s is zero", sequence(0x30, r, []byte{0}), false},
			{"r and s swapped", sequence(0x30, s, r), false},
			{"half a header", []byte{0x30}, false},
			{"nothing", nil, false},
		} {
			if err := key.VerifyDigest(d, c.sig); (err == nil) != c.want || err != nil && err != sign.ErrSignature {
				t.Errorf("%s: %s: %v, want it taken: %v", name, c.what, err, c.want)
			}
		}
		key.Close()
	}
}

// FuzzVerifyECDSA: of what is DER, kernels take what every verifier does.
func FuzzVerifyECDSA(f *testing.F) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	digest := bytes.Repeat([]byte{7}, 32)
	sig, err := ecdsa.SignASN1(rand.Reader, private, digest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add([]byte{0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0})
	f.Fuzz(func(t *testing.T, sig []byte) {
		taken := kernelkey.NewECDSAKey(&private.PublicKey).Verify(digest, sig) == nil
		if is := ecdsa.VerifyASN1(&private.PublicKey, digest, sig); is && !taken {
			t.Fatalf("%x is a signature, and not taken", sig)
		}
		var rs struct{ R, S *big.Int }
		rest, err := asn1.Unmarshal(sig, &rs)
		if err != nil || len(rest) > 0 {
			return
		}
		if der, err := asn1.Marshal(rs); err == nil && bytes.Equal(der, sig) && taken != ecdsa.VerifyASN1(&private.PublicKey, digest, sig) {
			t.Fatalf("%x is taken: %v", sig, taken)
		}
	})
}
