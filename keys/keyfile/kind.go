package keyfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"filippo.io/mldsa"
)

// Kinds of keys that Go does not parse, so that errors can name them.
var kinds = []struct {
	oid  asn1.ObjectIdentifier
	name string
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, "RSA-PSS"},
	{asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, "DSA"},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 3, 1}, "Diffie-Hellman"},
	{asn1.ObjectIdentifier{1, 3, 101, 110}, "X25519"},
	{asn1.ObjectIdentifier{1, 3, 101, 111}, "X448"},
	{asn1.ObjectIdentifier{1, 3, 101, 112}, "Ed25519"},
	{asn1.ObjectIdentifier{1, 3, 101, 113}, "Ed448"},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}, "ML-DSA-44"},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, "ML-DSA-65"},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}, "ML-DSA-87"},
	{asn1.ObjectIdentifier{1, 2, 643, 7, 1, 1, 1, 1}, "GOST R 34.10-2012"},
	{asn1.ObjectIdentifier{1, 2, 643, 7, 1, 1, 1, 2}, "GOST R 34.10-2012"},
	{asn1.ObjectIdentifier{1, 2, 643, 2, 2, 19}, "GOST R 34.10-2001"},
}

// Curves that Go knows are "": it names them itself.
var curves = []struct {
	oid  asn1.ObjectIdentifier
	name string
}{
	{asn1.ObjectIdentifier{1, 3, 132, 0, 33}, ""},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, ""},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, ""},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, ""},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 1}, "P-192"},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 10}, "secp256k1"},
	{asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}, "SM2"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}, "brainpoolP256r1"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 11}, "brainpoolP384r1"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 13}, "brainpoolP512r1"},
}

var oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}

// algorithmKind names the kind of a key that Go cannot parse, or returns
// nothing.
func algorithmKind(a pkix.AlgorithmIdentifier) string {
	if a.Algorithm.Equal(oidECPublicKey) {
		return CurveKind(a.Parameters.FullBytes)
	}
	for _, k := range kinds {
		if k.oid.Equal(a.Algorithm) {
			return k.name
		}
	}
	return ""
}

// CurveKind names the curve in EC parameters if Go does not know it.
func CurveKind(params []byte) string {
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(params, &oid); err != nil {
		if len(params) > 0 && params[0] == 0x30 {
			return "EC (curve by parameters instead of by name)"
		}
		return ""
	}
	for _, c := range curves {
		if c.oid.Equal(oid) {
			return c.name
		}
	}
	return "EC (curve " + oid.String() + ")"
}

// pkcs8Kind, sec1Kind, publicKind and certificateKind are algorithmKind for the
// key in DER.
func pkcs8Kind(der []byte) string {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return ""
	}
	return algorithmKind(info.Algorithm)
}

func sec1Kind(der []byte) string {
	var key struct {
		Version int
		Key     []byte
		Params  asn1.RawValue `asn1:"optional"` // [0], then perhaps [1] with the public key
	}
	if _, err := asn1.Unmarshal(der, &key); err != nil || key.Params.Tag != 0 {
		return ""
	}
	return CurveKind(key.Params.Bytes)
}

func publicKind(spki []byte) string {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return ""
	}
	return algorithmKind(info.Algorithm)
}

func certificateKind(der []byte) string {
	var certificate struct {
		TBS struct { // as far as the key
			Version                                              int `asn1:"optional,explicit,default:0,tag:0"`
			Serial, Algorithm, Issuer, Validity, Subject, Public asn1.RawValue
		}
		Algorithm, Signature asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &certificate); err != nil {
		return ""
	}
	return publicKind(certificate.TBS.Public.FullBytes)
}

// Kind names the kind of a public key, such as RSA-2048, P-256 or Ed25519.
func Kind(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *mldsa.PublicKey:
		return k.Parameters().String()
	}
	return "unknown"
}
