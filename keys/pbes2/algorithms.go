package pbes2

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"hash"

	"golang.org/x/crypto/scrypt"
)

var (
	oidPBES2          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// blockCipher is a cipher in CBC mode.
type blockCipher struct {
	oid                asn1.ObjectIdentifier
	keySize, blockSize int
	new                func(key []byte) (cipher.Block, error)
}

var ciphers = []blockCipher{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, 16, aes.BlockSize, aes.NewCipher},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, 24, aes.BlockSize, aes.NewCipher},
	{oidAES256CBC, 32, aes.BlockSize, aes.NewCipher},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}, 24, des.BlockSize, des.NewTripleDESCipher},
}

func findCipher(oid asn1.ObjectIdentifier) (blockCipher, error) {
	for _, c := range ciphers {
		if c.oid.Equal(oid) {
			return c, nil
		}
	}
	return blockCipher{}, &UnsupportedError{What: "cipher " + oid.String()}
}

// prfs are the hashes of PBKDF2's HMAC.
var prfs = []struct {
	oid asn1.ObjectIdentifier
	new func() hash.Hash
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}, sha1.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 8}, sha256.New224},
	{oidHMACWithSHA256, sha256.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}, sha512.New384},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}, sha512.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 12}, sha512.New512_224},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 13}, sha512.New512_256},
}

// pbkdf2Parameters is PBKDF2-params of RFC 8018. The PRF is HMAC-SHA-1 if it
// is left out; the salt is a choice of which only an OCTET STRING is in use.
type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// scryptParameters is scrypt-params of RFC 7914.
type scryptParameters struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// A file cannot ask for more work than some seconds, nor for more memory than
// a quarter of a GiB: openssl's own defaults are 2048 iterations, and 16 MiB.
const (
	maxIterations   = 10_000_000
	maxScryptMemory = 256 << 20
	maxScryptP      = 16
)

// deriveKey returns a key of the given size.
func deriveKey(kdf pkix.AlgorithmIdentifier, passphrase []byte, size int) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		return derivePBKDF2(kdf.Parameters.FullBytes, passphrase, size)
	case kdf.Algorithm.Equal(oidScrypt):
		return deriveScrypt(kdf.Parameters.FullBytes, passphrase, size)
	}
	return nil, &UnsupportedError{What: "key derivation " + kdf.Algorithm.String()}
}

func derivePBKDF2(der, passphrase []byte, size int) ([]byte, error) {
	var p pbkdf2Parameters
	if err := unmarshal(der, &p); err != nil {
		return nil, err
	}
	newHash := sha1.New
	if len(p.PRF.Algorithm) != 0 {
		newHash = nil
		for _, prf := range prfs {
			if prf.oid.Equal(p.PRF.Algorithm) {
				newHash = prf.new
			}
		}
	}
	switch {
	case newHash == nil:
		return nil, &UnsupportedError{What: "PBKDF2 function " + p.PRF.Algorithm.String()}
	case p.Iterations > maxIterations:
		return nil, &UnsupportedError{What: "PBKDF2 iteration count"}
	case p.Iterations < 1, p.KeyLength != 0 && p.KeyLength != size:
		return nil, errMalformed
	}
	return pbkdf2Key(newHash, passphrase, p.Salt, p.Iterations, size)
}

func pbkdf2Key(newHash func() hash.Hash, passphrase, salt []byte, iterations, size int) ([]byte, error) {
	return pbkdf2.Key(newHash, string(passphrase), salt, iterations, size)
}

func deriveScrypt(der, passphrase []byte, size int) ([]byte, error) {
	var p scryptParameters
	if err := unmarshal(der, &p); err != nil {
		return nil, err
	}
	switch {
	case p.N < 2 || p.R < 1 || p.P < 1 || p.KeyLength != 0 && p.KeyLength != size:
		return nil, errMalformed
	case p.P > maxScryptP || p.R > maxScryptMemory/128 || p.N > maxScryptMemory/128/p.R:
		return nil, &UnsupportedError{What: "scrypt cost"}
	}
	key, err := scrypt.Key(passphrase, p.Salt, p.N, p.R, p.P, size)
	if err != nil {
		return nil, errMalformed // N is not a power of two
	}
	return key, nil
}

// oldScheme names the schemes that came before PBES2.
func oldScheme(oid asn1.ObjectIdentifier) string {
	switch pkcs5, pkcs12 := (asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5}), (asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1}); {
	case len(oid) == 7 && oid[:6].Equal(pkcs5):
		return "PBES1, use openssl pkcs8 -topk8 -v2 aes-256-cbc on a copy"
	case len(oid) == 8 && oid[:7].Equal(pkcs12):
		return "PKCS#12 cipher, use openssl pkcs8 -topk8 -v2 aes-256-cbc on a copy"
	}
	return "scheme " + oid.String()
}
