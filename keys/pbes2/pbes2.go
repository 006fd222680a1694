// Package pbes2 opens and makes encrypted PKCS#8 private keys, as openssl's
// genpkey and pkcs8 write them.
//
//	EncryptedPrivateKeyInfo ::= SEQUENCE {            RFC 5958, section 3
//	    AlgorithmIdentifier { PBES2, SEQUENCE {       RFC 8018, appendix A.4
//	        AlgorithmIdentifier { PBKDF2 or scrypt, parameters },
//	        AlgorithmIdentifier { cipher in CBC mode, OCTET STRING iv } } },
//	    OCTET STRING encrypted PrivateKeyInfo, padded as PKCS#7 does }
//
// The Go libraries that read the format (youmark/pkcs8, step's pemutil, gmsm's
// pkcs8) panic on an initialisation vector of the wrong size, do not bound the
// work that a file can ask for, and two of them know fewer hashes than
// openssl offers; hence this small one over the standard library.
package pbes2

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// ErrPassphrase says that the passphrase is not the one the key was encrypted
// with. One wrong passphrase in some 250 goes unnoticed here: what it decrypts
// to is not DER.
var ErrPassphrase = errors.New("wrong passphrase")

// An UnsupportedError says that a key is encrypted in a way that is not
// implemented.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return "encrypted with unsupported " + e.What }

var errMalformed = errors.New("malformed encrypted PKCS#8 key")

type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type parameters struct {
	KDF    pkix.AlgorithmIdentifier
	Cipher pkix.AlgorithmIdentifier
}

// Decrypt returns the PrivateKeyInfo in an EncryptedPrivateKeyInfo. The errors
// are ErrPassphrase, an *UnsupportedError, and others for malformed input. The
// caller clears what it got.
func Decrypt(der, passphrase []byte) ([]byte, error) {
	var key encryptedKey
	if err := unmarshal(der, &key); err != nil {
		return nil, err
	}
	if !key.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, &UnsupportedError{What: oldScheme(key.Algorithm.Algorithm)}
	}
	var params parameters
	if err := unmarshal(key.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	c, err := findCipher(params.Cipher.Algorithm)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if err := unmarshal(params.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	if len(iv) != c.blockSize || len(key.Data) == 0 || len(key.Data)%c.blockSize != 0 {
		return nil, errMalformed
	}
	secret, err := deriveKey(params.KDF, passphrase, c.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	block, err := c.new(secret)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(key.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, key.Data)
	return unpad(plain, c.blockSize)
}

// What Encrypt uses: the PBKDF2 work that OWASP asks for, and the cipher that
// every openssl since 1.0 reads.
const (
	iterations = 600_000
	saltSize   = 16
)

// Encrypt returns the EncryptedPrivateKeyInfo of a PrivateKeyInfo, by PBKDF2
// with HMAC-SHA-256 and AES-256-CBC. The passphrase must not be empty.
func Encrypt(der, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("empty passphrase")
	}
	c, err := findCipher(oidAES256CBC)
	if err != nil {
		return nil, err
	}
	salt, iv := make([]byte, saltSize), make([]byte, c.blockSize)
	rand.Read(salt)
	rand.Read(iv)
	null := asn1.RawValue{Tag: asn1.TagNull}
	kdf, err := identifier(oidPBKDF2, pbkdf2Parameters{
		Salt:       salt,
		Iterations: iterations,
		PRF:        pkix.AlgorithmIdentifier{Algorithm: oidHMACWithSHA256, Parameters: null},
	})
	if err != nil {
		return nil, err
	}
	scheme, err := identifier(c.oid, iv)
	if err != nil {
		return nil, err
	}
	pbes2, err := identifier(oidPBES2, parameters{KDF: kdf, Cipher: scheme})
	if err != nil {
		return nil, err
	}
	secret, err := pbkdf2Key(sha256.New, passphrase, salt, iterations, c.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	block, err := c.new(secret)
	if err != nil {
		return nil, err
	}
	padding := c.blockSize - len(der)%c.blockSize
	data := make([]byte, 0, len(der)+padding)
	data = append(data, der...)
	data = append(data, bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return asn1.Marshal(encryptedKey{Algorithm: pbes2, Data: data})
}

// unpad removes the padding that ends a decrypted key.
func unpad(b []byte, blockSize int) ([]byte, error) {
	n := int(b[len(b)-1])
	if n == 0 || n > blockSize {
		return nil, ErrPassphrase
	}
	for _, p := range b[len(b)-n:] {
		if int(p) != n {
			return nil, ErrPassphrase
		}
	}
	return b[:len(b)-n], nil
}

func identifier(oid asn1.ObjectIdentifier, params any) (pkix.AlgorithmIdentifier, error) {
	der, err := asn1.Marshal(params)
	if err != nil {
		return pkix.AlgorithmIdentifier{}, err
	}
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: der}}, nil
}

// unmarshal parses all of der.
func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if len(rest) != 0 {
		return errMalformed
	}
	return nil
}
