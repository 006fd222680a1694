package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"

	mldsax509 "filippo.io/mldsa/x509"

	"imaseal/hash"
	"imaseal/sign"
)

// Fingerprint returns the SHA-256 of the public key as a SubjectPublicKeyInfo
// (RFC 5280, section 4.1), which is what `openssl pkey -pubout -outform DER` prints.
// Unlike the id it is that of no other key.
func (p *Public) Fingerprint() ([sha256.Size]byte, error) {
	der, err := mldsax509.MarshalPKIXPublicKey(p.key)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%q: %w", p.source, err)
	}
	return sha256.Sum256(der), nil
}

// IsOwn reports whether sig is a signature over d in the very form that the key
// makes them. VerifyDigest takes more, since kernels do: what is to be written into
// labels has to be DER.
func (p *Public) IsOwn(d hash.Digest, sig []byte) bool {
	return p.VerifyDigest(d, sig) == nil && (p.scheme != sign.ECDSA || isDER(sig))
}

// IsOwnMessage is IsOwn for a message.
func (p *Public) IsOwnMessage(message, sig []byte) bool { return p.VerifyMessage(message, sig) == nil }

// isDER reports whether an ECDSA signature is encoded in the one way that DER has.
func isDER(sig []byte) bool {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(sig, &numbers); err != nil || len(rest) > 0 {
		return false
	}
	again, err := asn1.Marshal(numbers)
	return err == nil && bytes.Equal(again, sig)
}
