package keys

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/mldsa/x509"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

// TestMLDSA signs with keys of each size, whose files openssl writes in two forms.
func TestMLDSA(t *testing.T) {
	d, err := hash.Sum(hash.SHA256, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	for size, parameters := range map[int]mldsa.Parameters{2420: mldsa.MLDSA44(), 3309: mldsa.MLDSA65(), 4627: mldsa.MLDSA87()} {
		key, err := mldsa.GenerateKey(parameters)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		known := openSet(t, keytest.File(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
		var before []byte
		for _, form := range [][]byte{der, withExpanded(t, der, key)} {
			k, err := Open(t.Context(), keytest.File(t, form), nil, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if k.Kind() != parameters.String() || k.Scheme() != sign.MLDSA || !k.IsHashless() || k.SignatureSize() != size {
				t.Errorf("%v, %s, %d bytes", k, k.Scheme(), k.SignatureSize())
			}
			label, err := sign.Label(t.Context(), k, imaevm.TypeSignature, 3, d)
			if err != nil || len(label.Raw) != size {
				t.Fatalf("%s: %d bytes, %v", k.Kind(), len(label.Raw), err)
			}
			if err := sign.Verify(label, d, known); err != nil {
				t.Errorf("%s: %v", k.Kind(), err)
			}
			if before != nil && !bytes.Equal(label.Raw, before) {
				t.Errorf("%s: another signature the second time", k.Kind())
			}
			before = label.Raw

			// There is no version 2, and the digest itself is not signed.
			if _, err := sign.Label(t.Context(), k, imaevm.TypeSignature, 2, d); !isUnsupported(err) {
				t.Errorf("%s: a label of version 2: %v", k.Kind(), err)
			}
			old := label
			old.Version = 2
			if err := sign.Verify(old, d, known); !isUnsupported(err) {
				t.Errorf("%s: verifying a label of version 2: %v", k.Kind(), err)
			}
			if _, err := k.SignDigest(t.Context(), d); !errors.Is(err, sign.ErrHashless) {
				t.Errorf("%s: signing a digest: %v", k.Kind(), err)
			}
			if err := k.VerifyDigest(d, label.Raw); !errors.Is(err, sign.ErrHashless) {
				t.Errorf("%s: verifying a digest: %v", k.Kind(), err)
			}
			other := label
			other.Kind = imaevm.TypePortable
			if err := sign.Verify(other, d, known); err == nil {
				t.Errorf("%s: a label of another kind verifies", k.Kind())
			}
			k.Close()
		}
	}
}

func isUnsupported(err error) bool {
	_, ok := errors.AsType[*sign.UnsupportedError](err)
	return ok
}

// withExpanded returns a key's PKCS#8 with the seed and, beside it, the key that
// is made of it, which is not looked at.
func withExpanded(t *testing.T, der []byte, key *mldsa.PrivateKey) []byte {
	t.Helper()
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		t.Fatal(err)
	}
	var err error
	if info.Key, err = asn1.Marshal(struct{ Seed, Expanded []byte }{key.Bytes(), make([]byte, 4000)}); err != nil {
		t.Fatal(err)
	}
	if der, err = asn1.Marshal(info); err != nil {
		t.Fatal(err)
	}
	return der
}

// TestMLDSACertificate takes the id of the certificate of the vectors, which is
// the usual one, and which only Linux 7.2 loads.
func TestMLDSACertificate(t *testing.T) {
	for name, id := range map[string]imaevm.KeyID{"mldsa44": 0x701df4c5, "mldsa65": 0x8b6ffb24} {
		for _, certificate := range []string{"", certPath(t, name)} {
			k, err := Open(t.Context(), keyPath(t, name), nil, Options{Certificate: certificate})
			if err != nil || k.KeyID() != id {
				t.Errorf("%s: %v, %v", name, k, err)
			}
		}
		_, err := Open(t.Context(), keyPath(t, name), nil, Options{Certificate: certPath(t, "p256")})
		if _, ok := errors.AsType[*MismatchError](err); !ok {
			t.Errorf("%s with the certificate of p256: %v", name, err)
		}
	}
	_, err := Open(t.Context(), keyPath(t, "mldsa44"), nil, Options{Certificate: certPath(t, "mldsa65")})
	if _, ok := errors.AsType[*MismatchError](err); !ok {
		t.Errorf("the certificate of another size: %v", err)
	}
}

// TestMLDSAEncrypted opens a key that is encrypted.
func TestMLDSAEncrypted(t *testing.T) {
	text, err := os.ReadFile(keyPath(t, "mldsa65"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := keyfile.EncodePrivate(key, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := Open(t.Context(), keytest.File(t, encrypted), answer("secret"), Options{})
	if err != nil || fmt.Sprint(k.KeyID()) != "8b6ffb24" {
		t.Errorf("%v, %v", k, err)
	}
}
