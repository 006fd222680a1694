package keyfile

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"

	"filippo.io/mldsa"
)

// isMLDSA reports whether a kind of key is ML-DSA, of whatever size.
func isMLDSA(kind string) bool { return strings.HasPrefix(kind, "ML-DSA-") }

// parameters returns those of a kind that isMLDSA.
func parameters(kind string) mldsa.Parameters {
	switch kind {
	case mldsa.MLDSA44().String():
		return mldsa.MLDSA44()
	case mldsa.MLDSA65().String():
		return mldsa.MLDSA65()
	}
	return mldsa.MLDSA87()
}

// parseMLDSA returns the private key in PKCS#8 (RFC 9881, section 6). It is
// the seed, beside which the key that is made of it may stand, as openssl writes
// it; what has no seed is not supported.
func parseMLDSA(kind string, der []byte) (*mldsa.PrivateKey, error) {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	var choice asn1.RawValue
	if rest, err := asn1.Unmarshal(info.Key, &choice); err != nil || len(rest) > 0 {
		return nil, errors.New("neither a seed nor a key")
	}
	seed := choice.Bytes
	switch {
	case choice.Class == asn1.ClassContextSpecific && choice.Tag == 0:
	case choice.Class == asn1.ClassUniversal && choice.Tag == asn1.TagSequence:
		var both struct{ Seed, Expanded []byte }
		if _, err := asn1.Unmarshal(info.Key, &both); err != nil {
			return nil, err
		}
		seed = both.Seed
	default:
		return nil, errors.New("it has no seed; convert it, if what made it still has that")
	}
	return mldsa.NewPrivateKey(parameters(kind), seed)
}

// parsePublicMLDSA returns the public key in a SubjectPublicKeyInfo.
func parsePublicMLDSA(kind string, der []byte) (*mldsa.PublicKey, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("malformed public key")
	}
	return mldsa.NewPublicKey(parameters(kind), info.Key.RightAlign())
}
