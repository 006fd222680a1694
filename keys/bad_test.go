package keys

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/vectors"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
)

func TestOpenBadFiles(t *testing.T) {
	dir := t.TempDir()
	pemKey, err := os.ReadFile(keyPath(t, "p256"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemKey)
	cert, err := os.ReadFile(certPath(t, "p256"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) string { return keytest.File(t, content) }
	for name, test := range map[string]struct{ path, want string }{
		"missing":         {filepath.Join(dir, "none"), "no such file or directory"},
		"directory":       {dir, "is a directory; name the file in it"},
		"device":          {"/dev/zero", "is not a regular file"},
		"empty":           {write(nil), "is empty"},
		"large":           {write(make([]byte, 1<<20+1)), "is larger than 1048576 bytes: not a key or certificate"},
		"text":            {write([]byte("hello\n")), "neither PEM nor DER"},
		"zeros":           {write(make([]byte, 1<<20)), "neither PEM nor DER"},
		"certificate":     {write(cert), "no private key in it"},
		"two keys":        {write(append(bytes.Clone(pemKey), pemKey...)), "holds several private keys; name a file with one"},
		"truncated PEM":   {write(pemKey[:len(pemKey)-30]), "holds a damaged PEM block; has it been cut short?"},
		"truncated DER":   {write(block.Bytes[:len(block.Bytes)-1]), "neither PEM nor whole DER; has it been cut short?"},
		"trailing DER":    {write(append(bytes.Clone(block.Bytes), 0)), "1 bytes behind the DER"},
		"other DER":       {write([]byte{0x30, 6, 0x04, 1, 0, 0x04, 1, 0}), "DER of neither a key nor a certificate"},
		"PKCS#12":         {write([]byte{0x30, 5, 0x02, 1, 3, 0x30, 0}), "PKCS#12: "},
		"OpenSSH":         {write([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")), "in OpenSSH's own format"},
		"unknown PEM":     {write([]byte("-----BEGIN ODD PRIVATE KEY-----\nAAAA\n-----END ODD PRIVATE KEY-----\n")), `PEM block of unknown type "ODD PRIVATE KEY"`},
		"no passphrase":   {"testdata/p256.pbes2.der", "the private key is encrypted, and no passphrase was given"},
		"tpm":             {"tpm:0x80000001", `"0x80000001" is not the handle of a persistent key, such as 0x81000001`},
		"pkcs11":          {"pkcs11:colour=red", `PKCS#11 URI: unknown attribute "colour"`},
		"ML-DSA no seed":  {write(withoutSeed(t)), "malformed ML-DSA-65 private key: it has no seed"},
		"damaged PKCS#8":  {write(append([]byte{0x30, 9, 2, 1, 0, 0x30, 2, 5, 0}, 4, 0)), "malformed private key"},
		"certificate cut": {write(append(bytes.Clone(pemKey), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert[:50]})...)), "x509: malformed certificate"},
	} {
		k, err := Open(t.Context(), test.path, nil, Options{})
		if err == nil || k != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		} else if !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: %v does not name the file", name, err)
		}
		if name == "certificate" || name == "certificate cut" || name == "no passphrase" || name == "two keys" || name == "tpm" || name == "pkcs11" {
			continue
		}
		if v, err := OpenVerifiers(test.path); err == nil || v != nil {
			t.Errorf("%s among verifiers: %v", name, err)
		}
	}
}

func TestOpenPassphrases(t *testing.T) {
	for _, name := range []string{"p256.sec1.des3.pem", "p256.pbes2.der", "rsa2048.pkcs1.aes256.pem", "rsa2048.pkcs8.scrypt.pem"} {
		path := filepath.Join("testdata", name)
		for _, wrong := range []string{"wrong", "fixture\n", "Fixture", "x0", "x1", "x2"} {
			_, err := Open(t.Context(), path, answer(wrong), Options{})
			if p, ok := errors.AsType[*keyfile.PassphraseError](err); !ok || !p.Wrong {
				t.Errorf("%s with %q: %v", name, wrong, err)
			}
		}
		_, err := Open(t.Context(), path, answer(""), Options{})
		if p, ok := errors.AsType[*keyfile.PassphraseError](err); !ok || p.Wrong {
			t.Errorf("%s with nothing: %v", name, err)
		}
		gone := errors.New("no terminal")
		_, err = Open(t.Context(), path, func(prompt string) ([]byte, error) {
			if !strings.Contains(prompt, name) {
				t.Errorf("the prompt %q does not name the file", prompt)
			}
			return nil, gone
		}, Options{})
		if !errors.Is(err, gone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate for each kind would not change the answer: the key is
// refused.
func TestOpenUnsupportedKinds(t *testing.T) {
	for _, test := range []struct {
		args []string
		kind string
	}{
		{[]string{"genpkey", "-algorithm", "ED25519"}, "Ed25519"},
		{[]string{"genpkey", "-algorithm", "ED448"}, "Ed448"},
		{[]string{"genpkey", "-algorithm", "X25519"}, "X25519"},
		{[]string{"genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:1024"}, "RSA-PSS"},
		{[]string{"genrsa", "512"}, "RSA-512"},
		{[]string{"genrsa", "1280"}, "RSA-1280"},
		{[]string{"genrsa", "2560"}, "RSA-2560"},
		{[]string{"ecparam", "-name", "secp224r1", "-genkey", "-noout"}, "P-224"},
		{[]string{"ecparam", "-name", "secp256k1", "-genkey", "-noout"}, "secp256k1"},
		{[]string{"ecparam", "-name", "brainpoolP256r1", "-genkey", "-noout"}, "brainpoolP256r1"},
		{[]string{"ecparam", "-name", "prime256v1", "-genkey", "-noout", "-param_enc", "explicit"}, "EC (curve by parameters instead of by name)"},
	} {
		data := openssl(t, test.args...)
		path := keytest.File(t, data)
		_, err := Open(t.Context(), path, nil, Options{})
		if u, ok := errors.AsType[*keyfile.UnsupportedError](err); !ok || u.Kind != test.kind {
			t.Errorf("%q: %v, want kind %s", test.args, err, test.kind)
		}
		if _, err = OpenVerifiers(path); err == nil {
			t.Errorf("%q is taken for verifying", test.args)
		}
		pub := keytest.File(t, openssl(t, "pkey", "-in", path, "-pubout"))
		_, err = OpenVerifiers(pub)
		if u, ok := errors.AsType[*keyfile.UnsupportedError](err); !ok || u.Kind != test.kind {
			t.Errorf("%q, public: %v, want kind %s", test.args, err, test.kind)
		}
		if test.kind == "X25519" { // cannot sign a certificate
			continue
		}
		crt := openssl(t, "req", "-x509", "-new", "-key", path, "-subj", "/CN=x", "-outform", "PEM")
		_, err = OpenVerifiers(keytest.File(t, crt))
		if u, ok := errors.AsType[*keyfile.UnsupportedError](err); !ok || u.Kind != test.kind {
			t.Errorf("%q, certificate: %v, want kind %s", test.args, err, test.kind)
		}
		// As the last of a chain it does no harm.
		chain := slices.Concat(vectors.Read(t, "keys/p256.key.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vectors.Read(t, "keys/p256.cert.der")}), crt)
		if k := mustOpen(t, keytest.File(t, chain), nil, Options{}); k.Certificate() == nil {
			t.Errorf("%q in a chain: %s without a certificate", test.args, k)
		}
	}
}

// What of the encryption before PKCS#8 Go does not have is told by name.
func TestOpenUnsupportedCipher(t *testing.T) {
	path := keytest.File(t, openssl(t, "ec", "-in", keyPath(t, "p256"), "-camellia256", "-passout", "pass:x"))
	_, err := Open(t.Context(), path, answer("x"), Options{})
	if err == nil || !strings.Contains(err.Error(), `encrypted with unsupported cipher "CAMELLIA-256-CBC"`) {
		t.Errorf("%v", err)
	}
}

func TestOpenWeakRSA(t *testing.T) {
	for _, bits := range []string{"1024", "1536"} {
		k := mustOpen(t, keytest.File(t, openssl(t, "genrsa", bits)), nil, Options{})
		if !hasWarning(k.Warnings(), WeakKey) {
			t.Errorf("RSA-%s: %v", bits, k.Warnings())
		}
	}
}

// withoutSeed is an ML-DSA key of which only the expanded form is there.
func withoutSeed(t *testing.T) []byte {
	t.Helper()
	expanded, err := asn1.Marshal(make([]byte, 4032))
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}}, expanded})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
