package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

var (
	_ sign.Signer    = (*Key)(nil)
	_ sign.Verifier  = (*Key)(nil)
	_ sign.Verifiers = (*Key)(nil)
	_ sign.Verifier  = (*Public)(nil)
	_ sign.Verifiers = (*Verifiers)(nil)
)

// vectorIDs are the keys of testdata/vectors/keys and their ids.
var vectorIDs = map[string]string{
	"rsa2048": "dd65a4eb", "rsa3072": "a0881922", "rsa4096": "b6169e8d",
	"p256": "6bca908e", "p384": "54e53b7e", "p521": "dd959b5b",
}

func keyPath(t testing.TB, name string) string { return vectors.Path(t, "keys/"+name+".key.pem") }

func certPath(t testing.TB, name string) string { return vectors.Path(t, "keys/"+name+".cert.der") }

func openssl(t testing.TB, args ...string) []byte { return keytest.Run(t, "openssl", args...) }

// answer is a keyfile.Ask with one answer.
func answer(passphrase string) keyfile.Ask {
	return func(string) ([]byte, error) { return []byte(passphrase), nil }
}

// mustOpen opens a key that the test closes.
func mustOpen(t testing.TB, path string, ask keyfile.Ask, o Options) *Key {
	t.Helper()
	k, err := Open(t.Context(), path, ask, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestOpenVectorKeys(t *testing.T) {
	for name, id := range vectorIDs {
		k := mustOpen(t, keyPath(t, name), nil, Options{})
		if k.KeyID().String() != id {
			t.Errorf("%s has the id %s, want %s", name, k.KeyID(), id)
		}
		c := mustOpen(t, keyPath(t, name), nil, Options{Certificate: certPath(t, name)})
		if c.KeyID().String() != id || c.Certificate() == nil {
			t.Errorf("%s with certificate has the id %s, want %s", name, c.KeyID(), id)
		}
	}
	k := mustOpen(t, keyPath(t, "rsa2048"), nil, Options{Certificate: certPath(t, "rsa2048-customskid")})
	if k.KeyID() != 0xc0ffee01 {
		t.Errorf("the certificate's own identifier gives the id %s", k.KeyID())
	}
}

// Every form that openssl writes a key in opens, and is the same key.
func TestOpenForms(t *testing.T) {
	rsa := [][]string{
		{"rsa", "-traditional"},
		{"rsa", "-traditional", "-outform", "DER"},
		{"rsa", "-traditional", "-aes128", "-passout", "pass:secret"},
		{"rsa", "-traditional", "-aes256", "-passout", "pass:secret"},
		{"rsa", "-traditional", "-des3", "-passout", "pass:secret"},
	}
	ec := [][]string{
		{"ec"},
		{"ec", "-outform", "DER"},
		{"ec", "-aes192", "-passout", "pass:secret"},
	}
	both := [][]string{
		{"pkcs8", "-topk8", "-nocrypt"},
		{"pkcs8", "-topk8", "-nocrypt", "-outform", "DER"},
		{"pkcs8", "-topk8", "-passout", "pass:secret"},
		{"pkcs8", "-topk8", "-passout", "pass:secret", "-outform", "DER"},
		{"pkcs8", "-topk8", "-v2", "des3", "-passout", "pass:secret"},
		{"pkcs8", "-topk8", "-scrypt", "-passout", "pass:secret"},
		{"pkey", "-aes256", "-passout", "pass:secret"},
		{"pkey", "-text"}, // text before the PEM block
	}
	for name, id := range vectorIDs {
		forms := slices.Concat(ec, both)
		if strings.HasPrefix(name, "rsa") {
			forms = slices.Concat(rsa, both)
		}
		for _, form := range forms {
			data := openssl(t, append(slices.Clone(form), "-in", keyPath(t, name))...)
			asked := 0
			ask := func(string) ([]byte, error) { asked++; return []byte("secret"), nil }
			k, err := Open(t.Context(), keytest.File(t, data), ask, Options{})
			if err != nil {
				t.Errorf("%s, %q: %v", name, form, err)
				continue
			}
			if k.KeyID().String() != id {
				t.Errorf("%s, %q: id %s", name, form, k.KeyID())
			}
			if want := slices.Contains(form, "-passout"); (asked == 1) != want {
				t.Errorf("%s, %q: asked %d times", name, form, asked)
			}
			k.Close()
		}
	}
}

func TestOpenWithParameters(t *testing.T) {
	data := openssl(t, "ecparam", "-name", "prime256v1", "-genkey") // EC PARAMETERS first
	mustOpen(t, keytest.File(t, data), nil, Options{})
}

func TestOpenCertificateInFile(t *testing.T) {
	key, err := os.ReadFile(keyPath(t, "rsa2048"))
	if err != nil {
		t.Fatal(err)
	}
	cert := func(name string) []byte {
		der, err := os.ReadFile(certPath(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	// The chain is passed over, whatever the order.
	path := keytest.File(t, slices.Concat(cert("ca"), key, cert("rsa2048-customskid")))
	if k := mustOpen(t, path, nil, Options{}); k.KeyID() != 0xc0ffee01 {
		t.Errorf("id %s", k.KeyID())
	}
	if k := mustOpen(t, path, nil, Options{Certificate: certPath(t, "rsa2048")}); k.KeyID() != 0xdd65a4eb {
		t.Errorf("the certificate option does not win: id %s", k.KeyID())
	}
	path = keytest.File(t, slices.Concat(key, cert("p256")))
	_, err = Open(t.Context(), path, nil, Options{})
	if _, ok := errors.AsType[*MismatchError](err); !ok {
		t.Errorf("another key's certificate: %v", err)
	}
	_, err = Open(t.Context(), keyPath(t, "rsa2048"), nil, Options{Certificate: certPath(t, "rsa3072")})
	if _, ok := errors.AsType[*MismatchError](err); !ok || !strings.Contains(err.Error(), "rsa3072.cert.der") {
		t.Errorf("another key's certificate: %v", err)
	}
	if _, err = Open(t.Context(), keyPath(t, "rsa2048"), nil, Options{Certificate: keyPath(t, "rsa2048")}); err == nil {
		t.Error("a key is taken for a certificate")
	}
}

func TestOpenKeyID(t *testing.T) {
	id := imaevm.KeyID(0x12345678)
	k := mustOpen(t, keyPath(t, "p256"), nil, Options{KeyID: &id})
	if k.KeyID() != id || hasWarning(k.Warnings(), KeyIDFromKey) {
		t.Errorf("id %s, warnings %v", k.KeyID(), k.Warnings())
	}
	k = mustOpen(t, keyPath(t, "p256"), nil, Options{KeyID: &id, Certificate: certPath(t, "p256")})
	if k.KeyID() != id || !hasWarning(k.Warnings(), KeyIDNotCertificates) {
		t.Errorf("id %s, warnings %v", k.KeyID(), k.Warnings())
	}
	if _, err := k.Verifier(0x6bca908e); err == nil {
		t.Error("the key answers to the id it was not given")
	}
}

func hasWarning(warnings []Warning, kind WarningKind) bool {
	return slices.ContainsFunc(warnings, func(w Warning) bool { return w.Kind == kind })
}

func TestOpenPermissions(t *testing.T) {
	data, err := os.ReadFile(keyPath(t, "p256"))
	if err != nil {
		t.Fatal(err)
	}
	path := keytest.File(t, data)
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "its group", 0o604: "others", 0o644: "others"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		k := mustOpen(t, path, nil, Options{Certificate: certPath(t, "p256")})
		var got string
		for _, w := range k.Warnings() {
			got += w.String()
		}
		if want != "" {
			want = fmt.Sprintf("%q", path) + ": the private key can be read by " + want + "; chmod 600 it"
		}
		if got != want {
			t.Errorf("mode %o: %s, want %s", mode, got, want)
		}
	}
}

func TestOpenFixtures(t *testing.T) {
	for name, ask := range map[string]keyfile.Ask{
		"p256.sec1.des3.pem":        answer("fixture"),
		"p256.sec1.der":             nil,
		"p256.pbes2.der":            answer("fixture"),
		"rsa2048.pkcs1.aes256.pem":  answer("fixture"),
		"rsa2048.pkcs8.scrypt.pem":  answer("fixture"),
		"rsa2048.pkcs1.bundle.pem":  nil,
		"rsa2048.pkcs1.aes256.crlf": answer("fixture"),
	} {
		base, _, _ := strings.Cut(name, ".")
		k := mustOpen(t, filepath.Join("testdata", name), ask, Options{})
		if k.KeyID().String() != vectorIDs[base] {
			t.Errorf("%s: id %s", name, k.KeyID())
		}
	}
}

// Nothing secret comes out of fmt, and passphrases are cleared.
func TestSecrets(t *testing.T) {
	passphrase := []byte("fixture")
	k := mustOpen(t, "testdata/p256.sec1.des3.pem", func(string) ([]byte, error) { return passphrase, nil }, Options{})
	if !bytes.Equal(passphrase, make([]byte, len(passphrase))) {
		t.Errorf("the passphrase is left as %q", passphrase)
	}
	want := `P-256 key 6bca908e from "testdata/p256.sec1.des3.pem"`
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != want {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	wrong := []byte("not the passphrase")
	_, err := Open(t.Context(), "testdata/p256.sec1.des3.pem", func(string) ([]byte, error) { return wrong, nil }, Options{})
	if err == nil || strings.Contains(err.Error(), "not the") {
		t.Errorf("%v", err)
	}
}

// The nonces are those of RFC 6979, appendix A.2.
func TestECDSAIsDeterministic(t *testing.T) {
	for _, test := range rfc6979 {
		d, err := hash.Sum(test.alg, []byte("sample"))
		if err != nil {
			t.Fatal(err)
		}
		k := mustOpen(t, keytest.File(t, test.der(t)), nil, Options{})
		sig, err := k.SignDigest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if want := test.signature(t); !bytes.Equal(sig, want) {
			t.Errorf("%s with %s: %x, want %x", test.curve, test.alg, sig, want)
		}
	}
}

// The kernel's DigestInfo of RIPEMD-160 is not Go's.
func TestRSADigestInfo(t *testing.T) {
	k := mustOpen(t, keyPath(t, "rsa2048"), nil, Options{})
	content := []byte("hello, ima\n")
	pub := keytest.File(t, openssl(t, "pkey", "-in", keyPath(t, "rsa2048"), "-pubout"))
	for _, a := range k.Scheme().Digests() {
		d, err := hash.Sum(a, content)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := k.SignDigest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.VerifyDigest(d, sig); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		openssl(t, "dgst", "-"+strings.Replace(a.String(), "rmd160", "ripemd160", 1),
			"-verify", pub, "-signature", keytest.File(t, sig), keytest.File(t, content))
	}
	d, err := hash.Sum(hash.SM3, content)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.SignDigest(t.Context(), d)
	if _, ok := errors.AsType[*sign.DigestError](err); !ok {
		t.Errorf("sm3: %v", err)
	}
}

func TestSubjectKeyID(t *testing.T) {
	der, err := os.ReadFile(certPath(t, "p384"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id, err := SubjectKeyID(c.PublicKey)
	if err != nil || !bytes.Equal(id, c.SubjectKeyId) {
		t.Errorf("%s, %v, want %s", hex.EncodeToString(id), err, hex.EncodeToString(c.SubjectKeyId))
	}
}
