package sign_test

import (
	"bytes"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

var keyNames = []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"}

var digests = []hash.Algorithm{hash.SHA1, hash.SHA224, hash.SHA256, hash.SHA384, hash.SHA512}

func openKey(t *testing.T, name string) *keys.Key {
	t.Helper()
	k, err := keys.Open(t.Context(), vectors.Path(t, "keys/"+name+".key.pem"), nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// labelled returns a file, and writes our label of it beside it as FILE.sig,
// where evmctl looks with --sigfile.
func labelled(t *testing.T, k *keys.Key, a hash.Algorithm) string {
	t.Helper()
	content := []byte("hello, ima\n")
	d, err := hash.Sum(a, content)
	if err != nil {
		t.Fatal(err)
	}
	label, err := sign.Label(t.Context(), k, imaevm.TypeSignature, 2, d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := label.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := keytest.File(t, content)
	if err := os.WriteFile(path+".sig", b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEvmctlVerifies(t *testing.T) {
	for _, name := range keyNames {
		k := openKey(t, name)
		for _, a := range digests {
			path := labelled(t, k, a)
			keytest.Run(t, "evmctl", "ima_verify", "--sigfile", "--key", vectors.Path(t, "keys/"+name+".cert.der"), path)
			if err := os.WriteFile(path, []byte("hello, eve\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := keytest.Try(t, "evmctl", "ima_verify", "--sigfile", "--key", vectors.Path(t, "keys/"+name+".cert.der"), path); err == nil {
				t.Errorf("%s, %s: evmctl verifies another content", name, a)
			}
		}
	}
}

// What evmctl signs verifies, names the key as we do, and is the same label
// for RSA.
func TestVerifiesEvmctl(t *testing.T) {
	for _, name := range keyNames {
		k := openKey(t, name)
		for _, a := range digests {
			path := labelled(t, k, a)
			ours, err := os.ReadFile(path + ".sig")
			if err != nil {
				t.Fatal(err)
			}
			keytest.Run(t, "evmctl", "ima_sign", "--sigfile", "-a", a.String(), "--key", vectors.Path(t, "keys/"+name+".key.pem"), path)
			theirs, err := os.ReadFile(path + ".sig")
			if err != nil {
				t.Fatal(err)
			}
			label, err := imaevm.ParseSignature(theirs)
			if err != nil {
				t.Fatal(err)
			}
			d, err := hash.Sum(a, []byte("hello, ima\n"))
			if err != nil {
				t.Fatal(err)
			}
			if label.KeyID != k.KeyID() {
				t.Errorf("%s: evmctl's key id is %s, ours %s", name, label.KeyID, k.KeyID())
			}
			if err := sign.Verify(label, d, k); err != nil {
				t.Errorf("%s, %s: %v", name, a, err)
			}
			if k.Scheme() == sign.RSA && !bytes.Equal(theirs, ours) {
				t.Errorf("%s, %s: evmctl's label\n%x, ours\n%x", name, a, theirs, ours)
			}
		}
	}
}

func TestOpenSSLVerifies(t *testing.T) {
	for _, name := range keyNames {
		k := openKey(t, name)
		public := keytest.File(t, keytest.Run(t, "openssl", "pkey", "-in", vectors.Path(t, "keys/"+name+".key.pem"), "-pubout"))
		content := []byte("hello, ima\n")
		for _, a := range k.Scheme().Digests() {
			d, err := hash.Sum(a, content)
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range []uint8{2, 3} {
				label, err := sign.Label(t.Context(), k, imaevm.TypePortable, version, d)
				if err != nil {
					t.Fatal(err)
				}
				signed := content
				if version == 3 {
					signed = imaevm.FileID(imaevm.TypePortable, d)
				}
				keytest.Run(t, "openssl", "dgst", "-"+strings.Replace(a.String(), "rmd", "ripemd", 1), "-verify", public,
					"-signature", keytest.File(t, label.Raw), keytest.File(t, signed))
			}
		}
	}
}

// Keys and certificates that we make serve evmctl, encrypted ones too.
func TestEvmctlUsesOurKeys(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521"} {
		signer, err := cert.Generate(kind)
		if err != nil {
			t.Fatal(err)
		}
		der, err := cert.SelfSigned(signer, cert.Profile{Name: pkix.Name{CommonName: kind}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		passphrase := ""
		if kind == "p256" { // for one kind: it takes its time
			passphrase = "secret"
		}
		private, err := keyfile.EncodePrivate(signer, []byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		certPath, path := keytest.File(t, der), keytest.File(t, []byte("content"))
		keytest.Run(t, "evmctl", "ima_sign", "--sigfile", "-a", "sha256", "--pass="+passphrase, "--key", keytest.File(t, private), path)
		keytest.Run(t, "evmctl", "ima_verify", "--sigfile", "--key", certPath, path)
		b, err := os.ReadFile(path + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		label, err := imaevm.ParseSignature(b)
		if err != nil {
			t.Fatal(err)
		}
		d, err := hash.Sum(hash.SHA256, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		set, err := keys.OpenVerifiers(filepath.Dir(certPath))
		if err != nil {
			t.Fatal(err)
		}
		if err := sign.Verify(label, d, set); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
