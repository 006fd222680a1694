package cert

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"imaseal/keys"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
)

// profile is valid over the year 2050, where the encoding of dates changes.
func profile(name string) Profile {
	return Profile{
		Name:      pkix.Name{Organization: []string{"Example, Ltd."}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Date(2050, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func generate(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	k, err := Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func parse(t *testing.T, der []byte, err error) *x509.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forKernels returns the certificate as keys read it.
func forKernels(t *testing.T, c *x509.Certificate) *keyfile.Certificate {
	t.Helper()
	k, err := keyfile.ParseCertificate(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// extension returns an extension in hexadecimal, with an exclamation mark if
// it is critical.
func extension(c *x509.Certificate, id string) string {
	for _, e := range c.Extensions {
		if e.Id.String() != id {
			continue
		}
		if e.Critical {
			return hex.EncodeToString(e.Value) + "!"
		}
		return hex.EncodeToString(e.Value)
	}
	return "absent"
}

func checkLeaf(t *testing.T, c *x509.Certificate, key crypto.PublicKey, issuerID []byte) {
	t.Helper()
	if w := keys.CheckCertificate(forKernels(t, c), time.Now()); len(w) != 0 {
		t.Errorf("warnings %v", w)
	}
	if got := extension(c, "2.5.29.19"); got != "3000!" {
		t.Errorf("basic constraints %s", got)
	}
	if got := extension(c, "2.5.29.15"); got != "03020780!" {
		t.Errorf("key usage %s", got)
	}
	id, err := keys.SubjectKeyID(key)
	if err != nil || len(id) != 20 || extension(c, "2.5.29.14") != "0414"+hex.EncodeToString(id) {
		t.Errorf("subject key identifier %s, %v", extension(c, "2.5.29.14"), err)
	}
	if got := extension(c, "2.5.29.35"); got != "30168014"+hex.EncodeToString(issuerID) {
		t.Errorf("authority key identifier %s", got)
	}
	if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() != 127 {
		t.Errorf("serial number %s", c.SerialNumber)
	}
}

func TestSelfSigned(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521"} {
		key := generate(t, kind)
		der, err := SelfSigned(key, profile(kind))
		c := parse(t, der, err)
		checkLeaf(t, c, key.Public(), c.SubjectKeyId)
		pem := keytest.File(t, keyfile.EncodeCertificate(der))
		keytest.Run(t, "openssl", "verify", "-check_ss_sig", "-CAfile", pem, "-partial_chain", pem)
	}
}

func TestIssue(t *testing.T) {
	for _, kinds := range [][2]string{{"p384", "p256"}, {"rsa3072", "p521"}, {"p256", "rsa2048"}} {
		caKey, key := generate(t, kinds[0]), generate(t, kinds[1])
		caDER, err := NewCA(caKey, profile("CA"))
		ca := parse(t, caDER, err)
		if got := extension(ca, "2.5.29.19") + extension(ca, "2.5.29.15"); got != "30030101ff!03020106!" {
			t.Errorf("CA: %s", got)
		}
		if !bytes.Equal(ca.AuthorityKeyId, ca.SubjectKeyId) || len(ca.SubjectKeyId) != 20 {
			t.Errorf("CA: identifiers %x, %x", ca.AuthorityKeyId, ca.SubjectKeyId)
		}
		der, err := Issue(ca, caKey, key.Public(), profile("leaf"))
		c := parse(t, der, err)
		checkLeaf(t, c, key.Public(), ca.SubjectKeyId)
		if err := c.CheckSignatureFrom(ca); err != nil {
			t.Error(err)
		}
		keytest.Run(t, "openssl", "verify", "-x509_strict", "-CAfile",
			keytest.File(t, keyfile.EncodeCertificate(caDER)), keytest.File(t, keyfile.EncodeCertificate(der)))

		// The same name as the CA's does not make it self-signed.
		der, err = Issue(ca, caKey, key.Public(), profile("CA"))
		checkLeaf(t, parse(t, der, err), key.Public(), ca.SubjectKeyId)
	}
}

func TestIssueRefuses(t *testing.T) {
	caKey, other := generate(t, "p256"), generate(t, "p256")
	caDER, err := NewCA(caKey, profile("CA"))
	ca := parse(t, caDER, err)
	leafDER, err := SelfSigned(caKey, profile("leaf"))
	leaf := parse(t, leafDER, err)
	past := profile("past")
	past.NotAfter = past.NotBefore
	for name, test := range map[string]struct {
		ca   *x509.Certificate
		key  crypto.Signer
		p    Profile
		want string
	}{
		"not a CA":   {leaf, caKey, profile("x"), "the issuer's certificate is not that of a CA"},
		"other key":  {ca, other, profile("x"), "the CA's certificate does not belong to its key"},
		"no name":    {ca, caKey, profile(""), "a certificate needs a common name"},
		"long name":  {ca, caKey, profile(strings.Repeat("x", 65)), "a name in a certificate has 1 to 64 bytes"},
		"no time":    {ca, caKey, past, "a certificate that is valid from " + past.NotBefore.UTC().Format(time.DateOnly) + " to " + past.NotBefore.UTC().Format(time.DateOnly)},
		"year zero":  {ca, caKey, Profile{Name: pkix.Name{CommonName: "x"}}, "a certificate that is valid from the year 1"},
		"far future": {ca, caKey, Profile{Name: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, ""},
	} {
		der, err := Issue(test.ca, test.key, other.Public(), test.p)
		if err == nil || der != nil || test.want != "" && err.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := Generate("ed25519"); err == nil || err.Error() != `unknown kind of key "ed25519"; there are rsa2048, rsa3072, rsa4096, p256, p384, p521` {
		t.Errorf("%v", err)
	}
}

func TestDates(t *testing.T) {
	key := generate(t, "p256")
	for year, tag := range map[int]string{2049: "\x17\x0d490102030405Z", 2050: "\x18\x0f20500102030405Z"} {
		p := profile("dates")
		p.NotAfter = time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)
		der, err := SelfSigned(key, p)
		if err != nil || !bytes.Contains(der, []byte(tag)) {
			t.Errorf("%d: %v, no %q", year, err, tag)
		}
	}
}

func TestRequest(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p384"} {
		key := generate(t, kind)
		der, err := Request(key, profile(kind).Name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(keytest.Run(t, "openssl", "req", "-inform", "DER", "-verify", "-noout", "-text", "-in", keytest.File(t, der)))
		for _, want := range []string{"CA:FALSE", "Digital Signature", "X509v3 Subject Key Identifier", "CN = " + kind} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in the request:\n%s", want, text)
			}
		}
	}
}

// openssl's CA turns our request into a certificate of the same id.
func TestRequestSignedByOpenSSL(t *testing.T) {
	caKey, key := generate(t, "rsa2048"), generate(t, "p256")
	caDER, err := NewCA(caKey, profile("CA"))
	if err != nil {
		t.Fatal(err)
	}
	caKeyPEM, err := keyfile.EncodePrivate(caKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := Request(key, profile("leaf").Name)
	if err != nil {
		t.Fatal(err)
	}
	der := keytest.Run(t, "openssl", "x509", "-req", "-inform", "DER", "-in", keytest.File(t, request), "-outform", "DER",
		"-CA", keytest.File(t, keyfile.EncodeCertificate(caDER)), "-CAkey", keytest.File(t, caKeyPEM), "-set_serial", "1", "-copy_extensions", "copyall")
	c := parse(t, der, nil)
	id, err := keys.SubjectKeyID(key.Public())
	if err != nil || !bytes.Equal(c.SubjectKeyId, id) {
		t.Errorf("identifier %x, want %x, %v", c.SubjectKeyId, id, err)
	}
	if w := keys.CheckCertificate(forKernels(t, c), time.Now()); len(w) != 0 {
		t.Errorf("warnings %v", w)
	}
}
