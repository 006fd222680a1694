package keys

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"time"

	"imaseal/keys/kernelkey"
)

// A WarningKind is a kind of Warning.
type WarningKind uint8

// The kinds. Those about certificates say what kernels make of them.
const (
	ReadableByOthers     WarningKind = iota + 1 // the private key's file, by group or others
	WeakKey                                     // RSA below 2048 bits, P-192; kernels in FIPS mode refuse it
	KeyIDFromKey                                // there is no certificate to take the id from
	KeyIDNotCertificates                        // Options.KeyID is not the certificate's
	NoSubjectKeyID                              // labels name the certificate by its issuer, or cannot
	NotForTrusted                               // .ima and .evm refuse the certificate; _ima and _evm take it
	NotLoadable                                 // a kernel does not load the certificate, or cannot verify with its key
	MayNotLoad                                  // likewise, perhaps
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
	if k, ok := p.key.(*ecdsa.PublicKey); ok && k.Curve == kernelkey.NISTP192() {
		all = append(all, Warning{WeakKey, p.source, "a key on P-192 is weak, and kernels in FIPS mode refuse it"})
	}
	if p.cert != nil {
		for _, w := range CheckCertificate(p.cert, time.Now()) {
			w.Source = p.certSource
			all = append(all, w)
		}
	}
	return all
}
