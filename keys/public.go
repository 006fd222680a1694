package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"filippo.io/mldsa"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys/kernelkey"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// A Public is a public key of a kind that the kernel verifies with, and its
// id. It is a sign.Verifier, safe for concurrent use.
type Public struct {
	key    crypto.PublicKey    // *rsa.PublicKey, *ecdsa.PublicKey or *mldsa.PublicKey
	ecdsa  *kernelkey.ECDSAKey // of the same key; nil for others
	scheme sign.Scheme
	id     imaevm.KeyID
	hasID  bool           // false if kernels find the certificate by nothing
	others []imaevm.KeyID // by which kernels find it too
	sha1   [sha1.Size]byte
	source string // the file it came from

	cert       *keyfile.Certificate // may be nil
	certSource string
}

// newPublic returns the key without a certificate. The error is an
// *keyfile.UnsupportedError.
func newPublic(key crypto.PublicKey, source string) (*Public, error) {
	p := &Public{key: key, source: source}
	switch k := key.(type) {
	case *rsa.PublicKey:
		p.scheme = sign.RSA
		p.sha1 = sha1.Sum(x509.MarshalPKCS1PublicKey(k))
		// The kernel counts bytes: a modulus of 2047 bits has 256 of them.
		switch bits := k.Size() * 8; bits {
		case 1024, 1536, 2048, 3072, 4096:
		default:
			return nil, &keyfile.UnsupportedError{Kind: keyfile.Kind(key)}
		}
	case *ecdsa.PublicKey:
		p.scheme = sign.ECDSA
		p.sha1 = sha1.Sum(kernelkey.PointBytes(k))
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521(), kernelkey.NISTP192():
		default:
			return nil, &keyfile.UnsupportedError{Kind: keyfile.Kind(key)}
		}
		p.ecdsa = kernelkey.NewECDSAKey(k)
	case *mldsa.PublicKey:
		p.scheme = sign.MLDSA
		p.sha1 = sha1.Sum(k.Bytes())
	default:
		return nil, &keyfile.UnsupportedError{Kind: keyfile.Kind(key)}
	}
	p.id, p.hasID = tail(p.sha1[:]), true
	return p, nil
}

// tail returns the key id that ends an identifier of at least four bytes.
func tail(identifier []byte) imaevm.KeyID {
	return imaevm.KeyID(binary.BigEndian.Uint32(identifier[len(identifier)-4:]))
}

// KeyID returns the id that labels name the key by.
func (p *Public) KeyID() imaevm.KeyID { return p.id }

// SHA1 returns the SHA-1 of the public key's bits, the usual subject key
// identifier.
func (p *Public) SHA1() [sha1.Size]byte { return p.sha1 }

// Certificate returns the certificate that the key came with, or nil.
func (p *Public) Certificate() *keyfile.Certificate { return p.cert }

// PublicKey returns the *rsa.PublicKey, *ecdsa.PublicKey or *mldsa.PublicKey.
func (p *Public) PublicKey() crypto.PublicKey { return p.key }

// Scheme returns the kind of the key's signatures.
func (p *Public) Scheme() sign.Scheme { return p.scheme }

// Kind names the kind of the key, such as RSA-2048 or P-256.
func (p *Public) Kind() string { return keyfile.Kind(p.key) }

// Source returns the file that the key came from.
func (p *Public) Source() string { return p.source }

// String says which key it is.
func (p *Public) String() string {
	return fmt.Sprintf("%s key %s from %q", p.Kind(), p.id, p.source)
}

// SignatureSize returns the greatest size of the key's raw signatures.
func (p *Public) SignatureSize() int {
	switch k := p.key.(type) {
	case *rsa.PublicKey:
		return k.Size()
	case *mldsa.PublicKey:
		return k.Parameters().SignatureSize()
	}
	n := (p.key.(*ecdsa.PublicKey).Curve.Params().BitSize + 7) / 8
	if n == 66 { // 521 bits: the first byte is 0 or 1, and needs none before it
		return 3 + 2*(2+n)
	}
	return 2 + 2*(2+1+n)
}

// VerifyDigest checks a raw signature over d: what kernels take is right, which of
// ECDSA is more than DER. The error is sign.ErrSignature, sign.ErrHashless or a
// *sign.DigestError.
func (p *Public) VerifyDigest(d hash.Digest, sig []byte) error {
	if p.IsHashless() {
		return sign.ErrHashless
	}
	if err := p.scheme.Check(d.Algorithm()); err != nil {
		return err
	}
	h, input := p.input(d)
	ok := false
	if p.ecdsa != nil {
		ok = p.ecdsa.Verify(input, sig) == nil // more than DER, as kernels do
	} else {
		ok = verifies(p.key, input, h, sig)
	}
	if !ok {
		return sign.ErrSignature
	}
	return nil
}

// IsHashless implements sign.MessageVerifier: the key is ML-DSA.
func (p *Public) IsHashless() bool { return p.scheme == sign.MLDSA }

// VerifyMessage checks a raw signature over a message. The error is
// sign.ErrSignature, also for a key that signs digests.
func (p *Public) VerifyMessage(message, sig []byte) error {
	if !p.IsHashless() || !verifies(p.key, message, 0, sig) {
		return sign.ErrSignature
	}
	return nil
}

// equal reports whether both are the same public key.
func (p *Public) equal(key crypto.PublicKey) bool {
	return p.key.(interface{ Equal(crypto.PublicKey) bool }).Equal(key)
}

// useCertificate gives the key that of certs which is the key's, and its id.
func (p *Public) useCertificate(certs []*keyfile.Certificate, source string) error {
	for _, c := range certs {
		if !p.equal(c.PublicKey) {
			continue
		}
		p.setCertificate(c, source)
		return nil
	}
	return &MismatchError{Key: p.source, Certificate: source}
}

// setCertificate gives the key its certificate and the ids by which kernels find
// that. Without a subject key identifier they find it by the end of its issuer.
func (p *Public) setCertificate(c *keyfile.Certificate, source string) {
	p.cert, p.certSource = c, source
	var ids []imaevm.KeyID
	for _, id := range c.KeyIDs {
		ids = append(ids, imaevm.KeyID(id))
	}
	if c.Kernel == nil && len(c.SubjectKeyID) >= 4 {
		ids = append(ids, tail(c.SubjectKeyID))
	}
	if p.hasID = len(ids) > 0; p.hasID {
		p.id, p.others = ids[0], ids[1:]
	}
}

// ids returns those by which kernels find the key.
func (p *Public) ids() []imaevm.KeyID {
	if !p.hasID {
		return nil
	}
	return append([]imaevm.KeyID{p.id}, p.others...)
}

// publicOf returns the key in a certificate. The error is an
// *keyfile.UnsupportedError.
func publicOf(c *keyfile.Certificate, source string) (*Public, error) {
	p, err := newPublic(c.PublicKey, source)
	if err != nil {
		return nil, err
	}
	p.setCertificate(c, source)
	return p, nil
}

// SubjectKeyID returns the usual subject key identifier of a public key: the
// SHA-1 of its bits (RFC 5280, section 4.2.1.2, method 1). The error is an
// *keyfile.UnsupportedError.
func SubjectKeyID(key crypto.PublicKey) ([]byte, error) {
	p, err := newPublic(key, "")
	if err != nil {
		return nil, err
	}
	return bytes.Clone(p.sha1[:]), nil
}
