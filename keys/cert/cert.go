// Package cert makes keys and certificates as the kernel's keyrings for IMA
// and EVM want them.
//
// A certificate for signatures is an X.509 certificate in DER that is no CA
// (basic constraints present, critical and empty: the kernel refuses CA:FALSE
// written out), with the critical key usage digitalSignature, a subject key
// identifier, which is the SHA-1 of the public key's bits and whose last four
// bytes are the key id, and the authority key identifier that finds its
// issuer. Years before 2050 are UTCTime. Kernel: x509_cert_parser.c and
// restrict.c in crypto/asymmetric_keys. A CA has keyCertSign, and not
// digitalSignature, which kernels with
// CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX do not want there.
//
// The .ima and .evm keyrings take a certificate only if its issuer is in one
// of the kernel's trusted keyrings. _ima and _evm take any.
package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"imaseal/keys"
)

var generators = []struct {
	kind     string
	generate func() (crypto.Signer, error)
}{
	{"rsa2048", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{"rsa3072", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) }},
	{"rsa4096", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) }},
	{"p256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{"p384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	{"p521", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) }},
}

// Kinds returns the names of the kinds that Generate makes.
func Kinds() []string {
	var names []string
	for _, g := range generators {
		names = append(names, g.kind)
	}
	return names
}

// Generate returns a new private key of one of the Kinds.
func Generate(kind string) (crypto.Signer, error) {
	for _, g := range generators {
		if g.kind == kind {
			return g.generate()
		}
	}
	return nil, fmt.Errorf("unknown kind of key %q; there are %s", kind, strings.Join(Kinds(), ", "))
}

// A Profile is what the caller decides about a certificate.
type Profile struct {
	Name pkix.Name // the subject, with a common name
	// NotBefore and NotAfter bound the validity; kernels do not look at it.
	NotBefore, NotAfter time.Time
}

// SelfSigned returns the DER of a certificate for key, signed by itself.
func SelfSigned(key crypto.Signer, p Profile) ([]byte, error) {
	t, err := leaf(key.Public(), p)
	if err != nil {
		return nil, err
	}
	t.AuthorityKeyId = t.SubjectKeyId
	return x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
}

// NewCA returns the DER of a CA certificate for key, signed by itself.
func NewCA(key crypto.Signer, p Profile) ([]byte, error) {
	t, err := leaf(key.Public(), p)
	if err != nil {
		return nil, err
	}
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.AuthorityKeyId = t.SubjectKeyId
	return x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
}

// Issue returns the DER of a certificate for a public key, signed by a CA.
func Issue(ca *x509.Certificate, caKey crypto.Signer, key crypto.PublicKey, p Profile) ([]byte, error) {
	if err := checkCA(ca, caKey); err != nil {
		return nil, err
	}
	t, err := leaf(key, p)
	if err != nil {
		return nil, err
	}
	t.AuthorityKeyId = ca.SubjectKeyId
	return x509.CreateCertificate(rand.Reader, t, ca, key, caKey)
}

func checkCA(ca *x509.Certificate, key crypto.Signer) error {
	public, ok := ca.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ca.IsCA || !ca.BasicConstraintsValid:
		return errors.New("the issuer's certificate is not that of a CA")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("the CA's key usage lacks keyCertSign")
	case !ok || !public.Equal(key.Public()):
		return errors.New("the CA's certificate does not belong to its key")
	}
	return nil
}

// Request returns the DER of a certificate signing request for key, which asks
// for the extensions that Issue would give.
func Request(key crypto.Signer, name pkix.Name) ([]byte, error) {
	id, err := keys.SubjectKeyID(key.Public())
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	identifier, err := asn1.Marshal(id)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: name,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0}},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{0x03, 2, 7, 0x80}}, // digitalSignature
			{Id: asn1.ObjectIdentifier{2, 5, 29, 14}, Value: identifier},
		},
	}, key)
}

// leaf returns the template of a certificate for signatures.
func leaf(key crypto.PublicKey, p Profile) (*x509.Certificate, error) {
	id, err := keys.SubjectKeyID(key)
	if err != nil {
		return nil, err
	}
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	if y := p.NotBefore.UTC().Year(); y < 1950 {
		return nil, fmt.Errorf("a certificate that is valid from the year %d", y)
	}
	if y := p.NotAfter.UTC().Year(); !p.NotAfter.After(p.NotBefore) || y > 9999 {
		return nil, fmt.Errorf("a certificate that is valid from %s to %s", p.NotBefore.UTC().Format(time.DateOnly), p.NotAfter.UTC().Format(time.DateOnly))
	}
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always as long
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               p.Name,
		NotBefore:             p.NotBefore,
		NotAfter:              p.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
	}, nil
}

// checkName refuses what the kernel's x509_fabricate_name() cannot make a
// key's description of.
func checkName(n pkix.Name) error {
	if n.CommonName == "" {
		return errors.New("a certificate needs a common name")
	}
	if slices.ContainsFunc(append(slices.Clone(n.Organization), n.CommonName), func(s string) bool { return len(s) > 64 || s == "" }) {
		return errors.New("a name in a certificate has 1 to 64 bytes")
	}
	return nil
}
