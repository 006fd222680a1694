package keys

import (
	"bytes"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/sign"
)

// version1 are the labels of evmctl, of hello.txt by rsa2048.
func version1(t *testing.T) map[hash.Algorithm]imaevm.SignatureV1 {
	t.Helper()
	labels := make(map[hash.Algorithm]imaevm.SignatureV1)
	for _, text := range vectors.Texts(t, "labels") {
		if text.Expect != "version 1" {
			continue
		}
		s, err := imaevm.ParseSignatureV1(text.Values[0].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.ContentAlgorithm()
		labels[a] = s
	}
	if len(labels) != 2 {
		t.Fatalf("%d labels", len(labels))
	}
	return labels
}

// TestVersion1 has what a kernel counts as a key of version 1: a public key, and
// no certificate.
func TestVersion1(t *testing.T) {
	dir := t.TempDir()
	key, cert := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	both := filepath.Join(dir, "both.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vectors.Read(t, "keys/rsa2048.cert.der")})
	if err := os.WriteFile(both, append(vectors.Read(t, "keys/rsa2048.key.pem"), block...), 0o600); err != nil {
		t.Fatal(err)
	}
	id := version1(t)[hash.SHA1].KeyID
	for _, c := range []struct {
		name      string
		paths     []string
		any, user bool
	}{
		{"key", []string{key}, true, true},
		{"certificate", []string{cert}, true, false},
		{"one after the other", []string{cert, key, cert}, true, true},
		{"both in a file", []string{both}, true, false},
		{"both in a file, and the key", []string{both, key}, true, true},
		{"other keys", []string{vectors.Path(t, "keys/rsa3072.key.pem"), vectors.Path(t, "keys/p256.key.pem")}, false, false},
	} {
		v := openSet(t, c.paths...)
		for set, want := range map[sign.VerifiersV1]bool{v: c.any, &wrapped{v.UserKeys()}: c.user} {
			_, err := set.VerifierV1(id)
			if _, unknown := errors.AsType[*sign.UnknownKeyError](err); (err == nil) != want || unknown == want {
				t.Errorf("%s: %v, want a key: %v", c.name, err, want)
			}
		}
	}
}

// wrapped can be the key of a map.
type wrapped struct{ sign.VerifiersV1 }

func TestVerifyV1(t *testing.T) {
	set := openSet(t, vectors.Path(t, "keys/rsa2048.cert.der"), vectors.Path(t, "keys/p256.cert.der"))
	rsa2048, p256 := set.Keys()[0], set.Keys()[1]
	if _, ok := p256.KeyIDV1(); ok {
		t.Error("P-256 has an id of version 1")
	}
	if err := p256.VerifyV1([20]byte{}, nil); err != sign.ErrSignature {
		t.Errorf("P-256: %v", err)
	}
	n := rsa2048.PublicKey().(*rsa.PublicKey).N
	for a, label := range version1(t) {
		d, err := hash.Sum(a, vectors.Read(t, "files/hello.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := rsa2048.KeyIDV1(); !ok || id != label.KeyID {
			t.Errorf("id %s", id)
		}
		signed := label.Signed(d)
		for name, raw := range map[string][]byte{
			"as it is":     label.Raw,
			"zeros before": append(make([]byte, 3), label.Raw...),
			// The kernel does not ask whether the integer is below the modulus.
			"and the modulus": new(big.Int).Add(new(big.Int).SetBytes(label.Raw), n).Bytes(),
		} {
			if err := rsa2048.VerifyV1(signed, raw); err != nil {
				t.Errorf("%s, %s: %v", a, name, err)
			}
		}
		other := signed
		other[19] ^= 1
		for name, err := range map[string]error{
			"another digest": rsa2048.VerifyV1(other, label.Raw),
			"nothing":        rsa2048.VerifyV1(signed, nil),
			"cut":            rsa2048.VerifyV1(signed, label.Raw[:255]),
			"a byte behind":  rsa2048.VerifyV1(signed, append(bytes.Clone(label.Raw), 0)),
		} {
			if err != sign.ErrSignature {
				t.Errorf("%s, %s: %v", a, name, err)
			}
		}
	}
}
