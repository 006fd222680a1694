package keyfile

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"

	"imaseal/keys/kernelkey"
)

// kindP192 is the curve that kernels have and the standard library lacks.
const kindP192 = "P-192"

// parseP192 returns the private key in PKCS#8 (RFC 5208) around SEC 1.
func parseP192(der []byte) (*kernelkey.P192Key, error) {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	return parseP192SEC1(info.Key)
}

// parseP192SEC1 returns the private key in RFC 5915's form.
func parseP192SEC1(der []byte) (*kernelkey.P192Key, error) {
	var key struct {
		Version int
		Key     []byte
		Params  asn1.RawValue `asn1:"optional,explicit,tag:0"`
		Public  asn1.RawValue `asn1:"optional,explicit,tag:1"`
	}
	if rest, err := asn1.Unmarshal(der, &key); err != nil || len(rest) > 0 {
		return nil, errors.New("malformed private key")
	}
	return kernelkey.NewP192Key(key.Key)
}

// parsePublicP192 returns the public key in a SubjectPublicKeyInfo.
func parsePublicP192(der []byte) (crypto.PublicKey, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("malformed public key")
	}
	key, err := kernelkey.Kernel{Major: 7, Minor: 2}.Parse(kernelkey.P192, info.Key.RightAlign())
	if err != nil {
		return nil, err
	}
	return key.Public()
}
