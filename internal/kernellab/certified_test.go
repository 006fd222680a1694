package kernellab

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"imaseal/internal/host"
	"imaseal/keys/certtest"
	"imaseal/keys/kernelcert"
	"imaseal/keys/keyfile"
)

// oddCertificates are what others than imaseal make, each for a key of its own.
var oddCertificates = map[string]struct {
	kind   string // of the key
	change func(*x509.Certificate)
	// tbs changes what is signed, signed the certificate.
	tbs, signed func([]byte) []byte
}{
	"usual":           {kind: "rsa2048"},
	"negative serial": {kind: "rsa2048", tbs: replace("\x02\x01\x4d", "\x02\x01\xcd")},
	"hour 24":         {kind: "rsa2048", tbs: replace("200102030405Z", "200102240405Z")},
	"no identifier":   {kind: "rsa2048", change: func(c *x509.Certificate) { c.SubjectKeyId = nil }},
	"short identifier": {kind: "rsa2048", change: func(c *x509.Certificate) {
		c.SubjectKeyId = []byte{1, 2, 3}
		c.Subject = pkix.Name{CommonName: "of a short one"}
	}},
	"bytes behind":  {kind: "rsa2048", signed: func(b []byte) []byte { return append(b, "\n"...) }},
	"SHA-384":       {kind: "rsa2048", change: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }},
	"PSS":           {kind: "rsa2048", change: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }},
	"empty subject": {kind: "rsa2048", change: func(c *x509.Certificate) { c.Subject = pkix.Name{} }},
	"CA:FALSE": {kind: "rsa2048", change: func(c *x509.Certificate) {
		c.BasicConstraintsValid = false
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0}}}
	}},
	"wrong signature": {kind: "rsa2048", signed: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
	"EC":              {kind: "p256"},
	"EC, issued":      {kind: "p256", change: func(c *x509.Certificate) { c.Issuer = pkix.Name{CommonName: "CA"} }},
}

func replace(from, to string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }
}

// oddKey makes a key with such a certificate.
func oddKey(t *testing.T, l *Lab, name string) signingKey {
	t.Helper()
	odd := oddCertificates[name]
	k := generate(t, l, odd.kind)
	private, err := keyfile.OpenPrivate(k.private, nil)
	check(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte("identifier of " + name),
		NotBefore: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2060, 1, 2, 3, 4, 5, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if odd.change != nil {
		odd.change(c)
	}
	issuer := c
	if c.Issuer.CommonName != "" {
		issuer = &x509.Certificate{Subject: c.Issuer}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, private.Key.Public(), private.Key)
	check(t, err)
	if odd.tbs != nil {
		der = resigned(t, der, private.Key, odd.tbs)
	}
	if odd.signed != nil {
		der = odd.signed(der)
	}
	check(t, os.WriteFile(k.cert, der, 0o600))
	return k
}

// resigned changes what is signed of a certificate with RSA and SHA-256, and signs
// it again.
func resigned(t *testing.T, der []byte, key crypto.Signer, change func([]byte) []byte) []byte {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	check(t, err)
	tbs := change(bytes.Clone(c.RawTBSCertificate))
	if bytes.Equal(tbs, c.RawTBSCertificate) {
		t.Fatal("nothing has changed")
	}
	sum := sha256.Sum256(tbs)
	sig, err := rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	check(t, err)
	algorithm := certtest.TLV(0x30, certtest.OID("1.2.840.113549.1.1.11").TLV(), []byte{5, 0})
	return certtest.TLV(0x30, tbs, algorithm, certtest.TLV(3, []byte{0}, sig))
}

// TestCertified has kernels judge signatures by keys with odd certificates. Those
// that a kernel loads are in its keyrings, and imaseal check, which gets all of
// them, says of every file what the kernel does.
func TestCertified(t *testing.T) {
	l := Open(t)
	keys := make(map[string]signingKey)
	for name := range oddCertificates {
		keys[name] = oddKey(t, l, name)
	}
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t, l, series, Ext4)
			config, err := host.OpenConfig(tr.kernel.Config())
			check(t, err)
			k := certificateKernel(t, tr.kernel, config, true, false)
			c := Case{Policy: appraise("appraise_type=imasig"), EVM: []string{"2"}}
			var args []string
			loaded := 0
			for name, key := range keys {
				dir := strings.ReplaceAll(name, " ", "-")
				tr.sign(t, dir, signed, few(), key, "--evm", "portable")
				args = append(args, "--key", key.cert)
				der := key.der(t)
				isLoaded := k.Judge(der).Verdict == kernelcert.Loaded
				if isLoaded {
					loaded++
					c.Keys = append(c.Keys, IMAKey(der), EVMKey(der))
				}
				if !isLoaded || oddCertificates[name].kind == "p256" && !hasECDSA(series) {
					tr.denied(dir, "invalid-fail-immutable")
					tr.kernelOnly = append(tr.kernelOnly, dir)
				}
			}
			if loaded < 7 || loaded > len(keys)-3 {
				t.Errorf("%d of %d certificates are loaded", loaded, len(keys))
			}
			tr.spoil()
			tr.judge(t, c, []string{"--require", "imasig,evm"}, args)
		})
	}
}
