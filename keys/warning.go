package keys

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
	"time"
)

// A WarningKind is a kind of Warning.
type WarningKind uint8

// The kinds. Those about certificates say what kernels make of them.
const (
	ReadableByOthers     WarningKind = iota + 1 // the private key's file, by group or others
	WeakKey                                     // RSA below 2048 bits; kernels in FIPS mode refuse it
	KeyIDFromKey                                // there is no certificate to take the id from
	KeyIDNotCertificates                        // Options.KeyID is not the certificate's
	NoSubjectKeyID                              // labels cannot name the certificate
	NotForTrusted                               // .ima and .evm refuse the certificate; _ima and _evm take it
	NotLoadable                                 // no kernel can parse the certificate
	NotValidNow                                 // expired or not yet valid; kernels do not look
	Unusable                                    // a key among others that no kernel verifies with
)

// A Warning is something questionable that does not prevent a key's use.
type Warning struct {
	Kind   WarningKind
	Source string // the file
	Detail string
}

// String is the warning in words, with the file.
func (w Warning) String() string { return fmt.Sprintf("%q: %s", w.Source, w.Detail) }

// check returns the warnings about a key and its certificate.
func (p *Public) check() []Warning {
	var all []Warning
	if k, ok := p.key.(*rsa.PublicKey); ok && k.Size() < 256 {
		all = append(all, Warning{WeakKey, p.source, fmt.Sprintf("an RSA key of %d bits is weak, and kernels in FIPS mode refuse it", k.N.BitLen())})
	}
	if p.cert != nil {
		for _, w := range CheckCertificate(p.cert, time.Now()) {
			w.Source = p.certSource
			all = append(all, w)
		}
	}
	return all
}

// CheckCertificate returns what kernels will not like about a certificate for
// signatures. Kernel: x509_cert_parser.c and restrict.c in
// crypto/asymmetric_keys. Source of the warnings is empty.
func CheckCertificate(c *x509.Certificate, now time.Time) []Warning {
	var all []Warning
	add := func(k WarningKind, format string, args ...any) {
		all = append(all, Warning{Kind: k, Detail: fmt.Sprintf(format, args...)})
	}
	if why := notLoadable(c); why != "" {
		add(NotLoadable, "no kernel loads the certificate: %s", why)
	}
	if _, ok := certificateKeyID(c); !ok {
		what := "no subject key identifier"
		if n := len(c.SubjectKeyId); n > 0 {
			what = fmt.Sprintf("a subject key identifier of only %d bytes", n)
		}
		add(NoSubjectKeyID, "the certificate has %s, so that kernels cannot find it", what)
	}
	if why := notForTrusted(c); len(why) > 0 {
		add(NotForTrusted, "the .ima and .evm keyrings refuse the certificate (_ima and _evm take it): %s", strings.Join(why, ", "))
	}
	switch {
	case now.After(c.NotAfter):
		add(NotValidNow, "the certificate expired on %s (kernels do not look)", c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		add(NotValidNow, "the certificate is not valid before %s (kernels do not look)", c.NotBefore.UTC().Format(time.DateOnly))
	}
	return all
}

// notForTrusted returns why a restricted keyring refuses a certificate,
// whoever signed it. Kernel: restrict_link_by_digsig().
func notForTrusted(c *x509.Certificate) []string {
	var why []string
	if c.IsCA {
		why = append(why, "it is a CA")
	}
	if c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		why = append(why, "its key usage lacks digitalSignature")
	}
	if c.KeyUsage&x509.KeyUsageCertSign != 0 {
		why = append(why, "its key usage has keyCertSign")
	}
	switch c.SignatureAlgorithm {
	case x509.UnknownSignatureAlgorithm, x509.PureEd25519, x509.MD2WithRSA, x509.MD5WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		why = append(why, fmt.Sprintf("it is signed with %s", c.SignatureAlgorithm))
	}
	return why
}

var oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}

// notLoadable returns why x509_cert_parse() fails on what Go has parsed, or
// nothing. Kernel: x509_process_extension() takes basic constraints that are
// empty or begin with TRUE; x509_decode_time() takes GeneralizedTime outside
// of 1950 to 2049 only.
func notLoadable(c *x509.Certificate) string {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidBasicConstraints) && len(e.Value) > 2 && !bytes.HasPrefix(e.Value[2:], []byte{1, 1, 0xff}) {
			return "its basic constraints are neither empty nor CA:TRUE"
		}
	}
	var tbs struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    asn1.RawValue
		Algorithm asn1.RawValue
		Issuer    asn1.RawValue
		Validity  struct{ NotBefore, NotAfter asn1.RawValue }
	}
	if _, err := asn1.Unmarshal(c.RawTBSCertificate, &tbs); err != nil {
		return ""
	}
	utcYear := func(t time.Time) bool { return t.UTC().Year() >= 1950 && t.UTC().Year() < 2050 }
	if tbs.Validity.NotBefore.Tag == asn1.TagGeneralizedTime && utcYear(c.NotBefore) ||
		tbs.Validity.NotAfter.Tag == asn1.TagGeneralizedTime && utcYear(c.NotAfter) {
		return "it writes a year before 2050 as a GeneralizedTime"
	}
	return ""
}
