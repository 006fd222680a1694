package imaevm_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
)

// digest returns the digest of b with the algorithm of that name.
func digest(t testing.TB, name string, b []byte) hash.Digest {
	t.Helper()
	a, err := hash.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// parse parses a label, and checks that it encodes to the same bytes.
func parse(t testing.TB, b []byte) imaevm.Label {
	t.Helper()
	label, err := imaevm.Parse(b)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	if byte(label.Type()) != b[0] {
		t.Errorf("type %v, the label begins with 0x%02x", label.Type(), b[0])
	}
	const front = "in front"
	got, err := label.AppendBinary([]byte(front))
	if err != nil || string(got) != front+string(b) {
		t.Fatalf("AppendBinary = %x, %v; want %x behind %q", got, err, b, front)
	}
	return label
}

func TestVectors(t *testing.T) {
	for _, v := range vectors.Index(t) {
		t.Run(v.ID, func(t *testing.T) {
			label := parse(t, v.Value)
			if byte(label.Type()) != v.Type {
				t.Errorf("type %v, index.json says %d", label.Type(), v.Type)
			}
			switch l := label.(type) {
			case imaevm.HashLabel:
				checkHash(t, v, l)
			case imaevm.Signature:
				checkSignature(t, v, l)
			case imaevm.HMAC:
				if !bytes.Equal(l[:], v.HMAC) {
					t.Errorf("HMAC %x, want %x", l, v.HMAC)
				}
			default:
				t.Errorf("a %T", label)
			}
			if v.Preimage != nil {
				checkEVM(t, v)
			}
			checkFlips(t, v.Value)
		})
	}
}

func checkHash(t *testing.T, v vectors.Label, l imaevm.HashLabel) {
	want := digest(t, v.Hash, vectors.Read(t, "files/"+v.File))
	if l.Digest != want || !bytes.Equal(want.Bytes(), v.Digest) {
		t.Errorf("digest %v, want %v", l.Digest, want)
	}
	if l != imaevm.NewHash(want) {
		t.Errorf("NewHash makes %+v, evmctl %+v", imaevm.NewHash(want), l)
	}
	if !imaevm.HashMatches(v.Value, want) {
		t.Error("the label does not match the digest")
	}
	if got := imaevm.LabelAlgorithm(v.Value, hash.WP512, imaevm.Target{}); got != want.Algorithm() {
		t.Errorf("LabelAlgorithm = %v", got)
	}
}

func checkSignature(t *testing.T, v vectors.Label, l imaevm.Signature) {
	if l.Version != v.Version || l.Alg.String() != v.Hash || l.KeyID != keyID(v.KeyID) {
		t.Errorf("version %d, %v, key %v; want %d, %s, %x", l.Version, l.Alg, l.KeyID, v.Version, v.Hash, v.KeyID)
	}
	if !bytes.Equal(l.Raw, v.Value[9:]) {
		t.Errorf("signature %x, want %x", l.Raw, v.Value[9:])
	}
	if v.Attr == imaevm.AttrIMA {
		if got := imaevm.LabelAlgorithm(v.Value, hash.WP512, imaevm.Target{SignatureV3: true}); got != l.Alg {
			t.Errorf("LabelAlgorithm = %v, want %v", got, l.Alg)
		}
	}
	if v.FileID == nil {
		return
	}
	d := v.Digest
	if l.Kind == imaevm.TypeVerity {
		d = v.VerityDigest
	}
	content, err := hash.NewDigest(l.Alg, d)
	if err != nil {
		t.Fatal(err)
	}
	id := imaevm.FileID(l.Kind, content)
	if !bytes.Equal(id, v.FileID) {
		t.Errorf("file id %x, want %x", id, v.FileID)
	}
	if v.SignedDigest != nil {
		if got := digest(t, v.Hash, id); !bytes.Equal(got.Bytes(), v.SignedDigest) {
			t.Errorf("digest of the file id %v, want %x", got, v.SignedDigest)
		}
	}
	if v.SignedMessage != nil && !bytes.Equal(id, v.SignedMessage) {
		t.Errorf("ML-DSA signs %x, the file id is %x", v.SignedMessage, id)
	}
}

func keyID(b []byte) imaevm.KeyID { return imaevm.KeyID(binary.BigEndian.Uint32(b)) }

func checkEVM(t *testing.T, v vectors.Label) {
	var attrs []imaevm.Attr
	for _, p := range imaevm.Protected() {
		if name, ok := v.Others[p.Name]; ok {
			attrs = append(attrs, imaevm.Attr{Name: p.Name, Value: vectors.ReadHex(t, name)})
		}
	}
	if len(attrs) != len(v.Others) {
		t.Fatalf("%d of %d attributes are protected", len(attrs), len(v.Others))
	}
	meta := imaevm.Meta{
		Inode: v.Meta.Inode, Generation: v.Meta.Generation,
		UID: v.Meta.UID, GID: v.Meta.GID, Mode: uint32(v.Meta.Mode),
	}
	if v.Meta.UUID != nil {
		meta.UUID = (*[16]byte)(v.Meta.UUID)
	}
	input, err := imaevm.Input(imaevm.Type(v.Type), attrs, meta, imaevm.Target{})
	if err != nil || !bytes.Equal(input, v.Preimage) {
		t.Fatalf("Input = %x, %v; want %x", input, err, v.Preimage)
	}
	if v.HMACKey == "" {
		if got := digest(t, v.Hash, input); !bytes.Equal(got.Bytes(), v.Digest) {
			t.Errorf("digest %v, want %x", got, v.Digest)
		}
		return
	}
	key, err := imaevm.NewHMACKey(vectors.ReadHex(t, v.HMACKey))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Sum(input); !bytes.Equal(got[:], v.HMAC) {
		t.Errorf("HMAC %x, want %x", got, v.HMAC)
	}
}

// checkFlips parses the label with each byte changed in turn: the result must be
// an error or another label, and never a second form of the same.
func checkFlips(t *testing.T, b []byte) {
	for i := range b {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			flipped := slices.Clone(b)
			flipped[i] ^= mask
			label, err := imaevm.Parse(flipped)
			if err != nil {
				if label != nil {
					t.Errorf("byte %d ^ %#x: %v with error %v", i, mask, label, err)
				}
				continue
			}
			got, err := label.AppendBinary(nil)
			if err != nil || !bytes.Equal(got, flipped) {
				t.Errorf("byte %d ^ %#x: encodes to %x, %v", i, mask, got, err)
			}
		}
	}
}

// TestEvmctlLabels has labels that the index lacks, of algorithms and formats that
// are rare.
func TestEvmctlLabels(t *testing.T) {
	ima := imaevm.Attr{Name: imaevm.AttrIMA, Value: vectors.ByID(t, "hello.txt.sha256.imahash").Value}
	evm := map[string][]byte{
		"portable32.rsa2048.sha256.evm.evmctl": input(t, imaevm.TypePortable, ima,
			imaevm.Meta{Inode: 1, Generation: 2, UID: 1000, GID: 1001, Mode: 0o100755, UUID: &uuid}, imaevm.Target{Word32: true}),
		"digsig32.rsa2048.sha256.evm.evmctl": input(t, imaevm.TypeSignature, ima,
			imaevm.Meta{Inode: 12345, Generation: 0xdeadbeef, Mode: 0o100644, UUID: &uuid}, imaevm.Target{Word32: true}),
	}
	for _, text := range vectors.Texts(t, "labels") {
		t.Run(text.Name, func(t *testing.T) {
			b := text.Values[0].Bytes
			switch l := parse(t, b).(type) {
			case imaevm.HashLabel:
				if l.Digest.String() != text.Expect || l != imaevm.NewHash(l.Digest) {
					t.Errorf("%+v, want %s", l, text.Expect)
				}
				if !imaevm.HashMatches(b, l.Digest) {
					t.Error("the label does not match its own digest")
				}
			case imaevm.Signature:
				d := digest(t, "sha256", evm[text.Name])
				if d.String() != text.Expect {
					t.Errorf("digest %v, want %s", d, text.Expect)
				}
				if err := rsa.VerifyPKCS1v15(rsa2048(t), crypto.SHA256, d.Bytes(), l.Raw); err != nil {
					t.Error(err)
				}
			case imaevm.SignatureV1:
				if text.Expect != "version 1" || l.Timestamp != 1795475131 || l.Algorithm != 0 || l.KeyID != 0x0227da7bc4f8bf4f {
					t.Errorf("%+v", l)
				}
				if want := strings.Contains(text.Name, "sha256"); (l.Hash == 1) != want {
					t.Errorf("hash %d", l.Hash)
				}
				if l.Count != 1 || l.Bits != 2048 || l.Rest != nil {
					t.Errorf("not one integer of 2048 bits: %+v", l)
				}
				a, _ := l.ContentAlgorithm()
				signed := l.Signed(digest(t, a.String(), vectors.Read(t, "files/hello.txt")))
				if err := rsa.VerifyPKCS1v15(rsa2048(t), 0, signed[:], l.Raw); err != nil {
					t.Error(err)
				}
				key := rsa2048(t)
				if id, err := (imaevm.KeyV1{N: key.N, E: big.NewInt(int64(key.E))}).ID(); id != l.KeyID || err != nil {
					t.Errorf("the key has the id %s, %v", id, err)
				}
			}
			checkFlips(t, b)
		})
	}
}

func rsa2048(t *testing.T) *rsa.PublicKey {
	t.Helper()
	cert, err := x509.ParseCertificate(vectors.Read(t, "keys/rsa2048.cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	return cert.PublicKey.(*rsa.PublicKey)
}
