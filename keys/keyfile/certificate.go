package keyfile

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"time"

	"imaseal/keys/kernelcert"
)

// A Certificate is what imaseal needs of an X.509 certificate. Kernels and the
// standard library do not parse the same ones: this is one that either of them
// does.
type Certificate struct {
	Raw       []byte
	PublicKey crypto.PublicKey
	// SubjectKeyID is nil if there is none.
	SubjectKeyID []byte
	// KeyIDs are those by which labels can name the key, the usual one first: see
	// kernelcert.Certificate.
	KeyIDs []uint32
	// NotBefore and NotAfter are zero if kernels refuse one of the times.
	NotBefore, NotAfter time.Time
	// Kernel is the certificate as kernels parse it, nil if none does.
	Kernel *kernelcert.Certificate
}

// ParseCertificate returns a certificate. A key of a kind that neither kernels
// nor the standard library know is an *UnsupportedError.
func ParseCertificate(der []byte) (*Certificate, error) {
	k, kernelErr := kernelcert.Parse(der)
	if kernelErr == nil {
		key, err := k.PublicKey()
		if err == nil {
			return ofKernel(k, key), nil
		}
	}
	c, err := x509.ParseCertificate(der)
	switch {
	case err == nil && c.PublicKey == nil:
		return nil, &UnsupportedError{Kind: cmp.Or(publicKind(c.RawSubjectPublicKeyInfo), "unknown")}
	case err != nil && kernelErr == nil:
		return nil, &UnsupportedError{Kind: cmp.Or(kernelKind(k), "unknown")}
	case err != nil:
		if kind := certificateKind(der); kind != "" { // a curve that Go does not know
			return nil, &UnsupportedError{Kind: kind}
		}
		return nil, err
	case kernelErr == nil:
		return ofKernel(k, c.PublicKey), nil
	}
	return &Certificate{Raw: c.Raw, PublicKey: c.PublicKey, SubjectKeyID: c.SubjectKeyId, NotBefore: c.NotBefore, NotAfter: c.NotAfter}, nil
}

// Certificates looks at parsed certificates as at those in files.
func Certificates(list []*x509.Certificate) ([]*Certificate, error) {
	var certs []*Certificate
	for _, c := range list {
		parsed, err := ParseCertificate(c.Raw)
		if err != nil {
			return nil, err
		}
		certs = append(certs, parsed)
	}
	return certs, nil
}

func ofKernel(k *kernelcert.Certificate, key crypto.PublicKey) *Certificate {
	c := &Certificate{Raw: k.Raw, PublicKey: key, SubjectKeyID: k.SubjectKeyID(), KeyIDs: k.KeyIDs(), Kernel: k}
	if from, to, ok := k.Validity(); ok {
		c.NotBefore, c.NotAfter = from, to
	}
	return c
}

// kernelKind is algorithmKind for a certificate that kernels parse.
func kernelKind(c *kernelcert.Certificate) string {
	if c.KeyAlgorithm.String() == oidECPublicKey.String() {
		return CurveKind(c.KeyParameters)
	}
	for _, k := range kinds {
		if k.oid.String() == c.KeyAlgorithm.String() {
			return k.name
		}
	}
	return ""
}
