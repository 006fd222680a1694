package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/vectors"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

// selfSigned returns a certificate that change makes of a good one.
func selfSigned(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	id, err := SubjectKeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openSet(t *testing.T, paths ...string) *Verifiers {
	t.Helper()
	v, err := OpenVerifiers(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ids returns the ids of a set, in its order.
func ids(v *Verifiers) string {
	var all []string
	for _, p := range v.Keys() {
		all = append(all, p.KeyID().String())
	}
	return strings.Join(all, " ")
}

func TestVerifierForms(t *testing.T) {
	public := func(args ...string) string {
		return keytest.File(t, openssl(t, append(args, "-in", keyPath(t, "rsa2048"), "-pubout")...))
	}
	der := vectors.Read(t, "keys/rsa2048.cert.der")
	for name, path := range map[string]string{
		"DER":              certPath(t, "rsa2048"),
		"PEM":              keytest.File(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"old PEM":          keytest.File(t, pem.EncodeToMemory(&pem.Block{Type: "X509 CERTIFICATE", Bytes: der})),
		"trusted PEM":      keytest.File(t, openssl(t, "x509", "-inform", "DER", "-trustout", "-addtrust", "codeSigning", "-in", certPath(t, "rsa2048"))),
		"text and PEM":     keytest.File(t, openssl(t, "x509", "-inform", "DER", "-text", "-in", certPath(t, "rsa2048"))),
		"PKIX PEM":         public("pkey"),
		"PKIX DER":         public("pkey", "-outform", "DER"),
		"PKCS#1 PEM":       keytest.File(t, openssl(t, "rsa", "-RSAPublicKey_out", "-in", keyPath(t, "rsa2048"))),
		"PKCS#1 DER":       keytest.File(t, openssl(t, "rsa", "-RSAPublicKey_out", "-outform", "DER", "-in", keyPath(t, "rsa2048"))),
		"private":          keyPath(t, "rsa2048"),
		"several and same": keytest.File(t, slices.Concat(vectors.Read(t, "keys/rsa2048.key.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
	} {
		if v := openSet(t, path); ids(v) != "dd65a4eb" {
			t.Errorf("%s: %s", name, ids(v))
		}
	}
	bundle := keytest.File(t, slices.Concat(vectors.Read(t, "keys/ca.cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	if v := openSet(t, bundle, certPath(t, "p256"), certPath(t, "rsa2048")); len(v.Keys()) != 3 {
		t.Errorf("bundle and more: %s", ids(v))
	}
}

// An encrypted key is of no use for verifying, and of no concern beside its
// certificate.
func TestVerifierBesideEncrypted(t *testing.T) {
	encrypted, err := os.ReadFile("testdata/rsa2048.pkcs8.scrypt.pem")
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vectors.Read(t, "keys/rsa2048.cert.der")})
	v := openSet(t, keytest.File(t, slices.Concat(encrypted, crt)))
	if ids(v) != "dd65a4eb" || hasWarning(v.Warnings(), Unusable) {
		t.Errorf("%s, %v", ids(v), v.Warnings())
	}
}

func TestVerifierDirectory(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.der", vectors.Read(t, "keys/p256.cert.der"))
	put("b.pem", vectors.Read(t, "keys/p384.key.pem"))
	put("README", []byte("keys of this host\n"))
	edwards, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(edwards)
	if err != nil {
		t.Fatal(err)
	}
	put("ed25519.der", der)
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.der", filepath.Join(dir, "6bca908e.0")); err != nil {
		t.Fatal(err)
	}
	v := openSet(t, dir)
	if ids(v) != "6bca908e 54e53b7e" {
		t.Errorf("ids %s", ids(v))
	}
	var left []string
	for _, w := range v.Warnings() {
		if w.Kind == Unusable {
			left = append(left, filepath.Base(strings.Fields(w.Detail)[2]))
		}
	}
	if got := strings.Join(left, " "); got != `README": ed25519.der":` {
		t.Errorf("left out: %s", got)
	}
	if _, err := OpenVerifiers(filepath.Join(dir, "sub")); !errors.Is(err, errNoPublic) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := OpenVerifiers(filepath.Join(dir, "ed25519.der")); err == nil || !strings.Contains(err.Error(), "the kernel cannot verify signatures of Ed25519 keys") {
		t.Errorf("Ed25519 alone: %v", err)
	}
}

// The same key counts once; two keys with one id are told.
func TestVerifierAmbiguous(t *testing.T) {
	skid := []byte("0123456789abcdef\xde\xad\xbe\xef")
	set := func(c *x509.Certificate) { c.SubjectKeyId = skid }
	first, second := newP256(t), newP256(t)
	one := keytest.File(t, selfSigned(t, first, set))
	again := keytest.File(t, selfSigned(t, first, func(c *x509.Certificate) { set(c); c.SerialNumber = big.NewInt(2) }))
	two := keytest.File(t, selfSigned(t, second, set))
	if _, err := openSet(t, one, again, one).Verifier(0xdeadbeef); err != nil {
		t.Error(err)
	}
	_, err := openSet(t, one, again, two).Verifier(0xdeadbeef)
	if a, ok := errors.AsType[*sign.AmbiguousKeyError](err); !ok || len(a.Keys) != 2 || !strings.Contains(a.Error(), two) {
		t.Errorf("two keys: %v", err)
	}
}

// The kernel finds a key by its certificate's identifier only.
func TestVerifierIDs(t *testing.T) {
	custom := certPath(t, "rsa2048-customskid")
	unknown := func(v *Verifiers, want string) {
		t.Helper()
		_, err := v.Verifier(0xdd65a4eb)
		if _, ok := errors.AsType[*sign.UnknownKeyError](err); !ok || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	const hint = "no key with id dd65a4eb: a certificate holds such a key, but under the id c0ffee01"
	unknown(openSet(t, custom), hint)
	unknown(openSet(t, custom, keyPath(t, "rsa2048")), hint) // the certificate wins over the bare key
	unknown(openSet(t, certPath(t, "p256")), "no key with id dd65a4eb")
	if v := openSet(t, custom, certPath(t, "rsa2048")); ids(v) != "c0ffee01 dd65a4eb" {
		t.Errorf("ids %s", ids(v))
	}

	key := newP256(t)
	without := openSet(t, keytest.File(t, selfSigned(t, key, func(c *x509.Certificate) { c.SubjectKeyId = nil })))
	if !hasWarning(without.Warnings(), NoSubjectKeyID) {
		t.Errorf("warnings %v", without.Warnings())
	}
	bare, err := newPublic(key.Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := without.Verifier(bare.KeyID()); err == nil {
		t.Error("a certificate without identifier is found")
	}
}

func TestCertificateWarnings(t *testing.T) {
	key := newP256(t)
	now := time.Now()
	for name, test := range map[string]struct {
		change func(*x509.Certificate)
		kind   WarningKind
		text   string
	}{
		"good": {nil, 0, ""},
		"CA": {func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }, NotForTrusted,
			"the .ima and .evm keyrings of Linux 6.5 and later refuse the certificate (_ima and _evm take it): it is a CA, its key usage has keyCertSign"},
		"no key usage": {func(c *x509.Certificate) { c.KeyUsage = 0 }, NotForTrusted,
			"the .ima and .evm keyrings of Linux 6.5 and later refuse the certificate (_ima and _evm take it): its key usage lacks digitalSignature"},
		"expired": {func(c *x509.Certificate) {
			c.NotAfter = time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)
			c.NotBefore = c.NotAfter
		}, NotValidNow,
			"the certificate expired on 2020-01-02 (kernels do not look)"},
		"future": {func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(1, 0, 0), now.AddDate(2, 0, 0) }, NotValidNow, ""},
		"CA:FALSE written out": {func(c *x509.Certificate) {
			c.BasicConstraintsValid = false
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0}}}
		}, NotLoadable, "kernels 6.12 and 7.2 do not load the certificate: its basic constraints are neither empty nor CA:TRUE"},
		"no subject": {func(c *x509.Certificate) { c.Subject = pkix.Name{} }, NotLoadable,
			"no kernel loads the certificate: it is no certificate as kernels parse them: an empty name at byte 29"},
		"wrong signature": {func(c *x509.Certificate) { c.Subject.CommonName = "to be changed" }, NotLoadable, "no kernel loads the certificate: its signature is wrong"},
		"no identifier":   {func(c *x509.Certificate) { c.SubjectKeyId = nil }, NoSubjectKeyID, ""},
		"short one":       {func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} }, NoSubjectKeyID, "the certificate has a subject key identifier of only 3 bytes, so that labels name it by the end of its issuer's name, 74657374, as they do all certificates of that issuer"},
		"after 2050":      {func(c *x509.Certificate) { c.NotAfter = now.AddDate(100, 0, 0) }, 0, ""},
	} {
		der := bytes.Replace(selfSigned(t, key, test.change), []byte("to be changed"), []byte("now changed :"), 2)
		c, err := keyfile.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		warnings := CheckCertificate(c, now)
		if test.kind == 0 && len(warnings) != 0 || test.kind != 0 && (len(warnings) != 1 || warnings[0].Kind != test.kind) {
			t.Errorf("%s: %v", name, warnings)
		} else if test.text != "" && warnings[0].Detail != test.text {
			t.Errorf("%s: %s", name, warnings[0].Detail)
		}
		if v := openSet(t, keytest.File(t, der)); len(v.Warnings()) != len(warnings) {
			t.Errorf("%s: the set warns of %v", name, v.Warnings())
		}
	}
}

// Go writes no such dates; a certificate with one is made by hand.
func TestGeneralizedTime(t *testing.T) {
	der := selfSigned(t, newP256(t), func(c *x509.Certificate) { c.NotAfter = time.Date(2051, 1, 2, 3, 4, 5, 0, time.UTC) })
	der = []byte(strings.Replace(string(der), "20510102030405Z", "20310102030405Z", 1))
	c, err := keyfile.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if w := CheckCertificate(c, time.Now()); len(w) != 1 || w[0].Kind != NotLoadable || !strings.HasPrefix(w[0].Detail, "no kernel loads the certificate: the time") {
		t.Errorf("%v", w)
	}
}
