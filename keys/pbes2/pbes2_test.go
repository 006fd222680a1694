package pbes2

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math"
	"testing"

	"imaseal/keys/keytest"
)

const passphrase = "correct horse, Ünïcode"

// plainKey returns a P-256 key in PKCS#8 and a file that holds it.
func plainKey(t *testing.T) (der []byte, path string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
		t.Fatal(err)
	}
	return der, keytest.File(t, der)
}

func TestDecryptOpenSSL(t *testing.T) {
	plain, path := plainKey(t)
	for _, args := range [][]string{
		{},
		{"-v2", "aes-128-cbc"},
		{"-v2", "aes-192-cbc"},
		{"-v2", "aes-256-cbc"},
		{"-v2", "des3"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA224"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"},
		{"-v2", "aes-256-cbc", "-iter", "1"},
		{"-scrypt"},
		{"-scrypt", "-v2", "aes-128-cbc", "-scrypt_N", "1024", "-scrypt_r", "4", "-scrypt_p", "2"},
	} {
		der := keytest.Run(t, "openssl", append([]string{
			"pkcs8", "-topk8", "-inform", "DER", "-outform", "DER", "-in", path, "-passout", "pass:" + passphrase}, args...)...)
		got, err := Decrypt(der, []byte(passphrase))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%q: %x, %v", args, got, err)
		}
		// A wrong passphrase is noticed, but for well padded rubbish.
		if got, err := Decrypt(der, []byte("wrong")); !errors.Is(err, ErrPassphrase) && (err != nil || bytes.Equal(got, plain)) {
			t.Errorf("%q, wrong passphrase: %v", args, err)
		}
	}
}

func TestDecryptUnsupported(t *testing.T) {
	_, path := plainKey(t)
	for _, args := range [][]string{
		{"-v1", "PBE-SHA1-3DES"},
		{"-v2", "camellia-256-cbc"},
	} {
		der := keytest.Run(t, "openssl", append([]string{
			"pkcs8", "-topk8", "-inform", "DER", "-outform", "DER", "-in", path, "-passout", "pass:" + passphrase}, args...)...)
		_, err := Decrypt(der, []byte(passphrase))
		if _, ok := errors.AsType[*UnsupportedError](err); !ok {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestEncryptForOpenSSL(t *testing.T) {
	plain, _ := plainKey(t)
	der, err := Encrypt(plain, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	out := keytest.Run(t, "openssl", "pkcs8", "-inform", "DER", "-in", keytest.File(t, der), "-passin", "pass:"+passphrase)
	b, _ := pem.Decode(out)
	if b == nil || !bytes.Equal(b.Bytes, plain) {
		t.Errorf("openssl reads %s", out)
	}
	if got, err := Decrypt(der, []byte(passphrase)); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := Encrypt(plain, nil); err == nil {
		t.Error("empty passphrase taken")
	}
}

// fixture is a P-256 key encrypted by openssl pkcs8 -topk8 -v2 aes-256-cbc
// -v2prf hmacWithSHA512 -iter 1000 with the passphrase "fixture".
const fixture = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhGtc0nnA/ClwICA+gw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEASoEEM+ae9osuLpZ4R2Ogy1bXggEgZAZ
jO8YNPlaw+zmo/abBhl2Grf6UPk3bGIjqmHV1lHQlBPcAZHj2OWxkwxIpSR5dsSI
nWgrYqqsuW+JSpcG8Af24aMaPsADR/mSsfj82RvAfsxftcc1Kt/NQiIEpKLfNERD
mNsCRWMKUG+ooTgEcfT1m771SO5Zxp+pZWbKVUAz6Fl0Y5ptQohLptRrwcyAUZA=
-----END ENCRYPTED PRIVATE KEY-----
`

func TestDecryptFixture(t *testing.T) {
	b, _ := pem.Decode([]byte(fixture))
	plain, err := Decrypt(b.Bytes, []byte("fixture"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		t.Error(err)
	}
}

// Whatever the file says, opening it does not panic. Work that is allowed but
// slow is left out.
func FuzzDecrypt(f *testing.F) {
	b, _ := pem.Decode([]byte(fixture))
	f.Add(b.Bytes)
	f.Fuzz(func(t *testing.T, der []byte) {
		var key encryptedKey
		var params parameters
		if unmarshal(der, &key) == nil && unmarshal(key.Algorithm.Parameters.FullBytes, &params) == nil {
			var pbkdf2 pbkdf2Parameters
			var scrypt scryptParameters
			if unmarshal(params.KDF.Parameters.FullBytes, &pbkdf2) == nil && pbkdf2.Iterations > 2000 ||
				unmarshal(params.KDF.Parameters.FullBytes, &scrypt) == nil && scrypt.N > 1024 {
				return
			}
		}
		if plain, err := Decrypt(der, []byte("fixture")); err != nil && plain != nil {
			t.Errorf("%x with %v", plain, err)
		}
	})
}

// Each field of the structure changed in turn gives an error.
func TestDecryptMalformed(t *testing.T) {
	b, _ := pem.Decode([]byte(fixture))
	var key encryptedKey
	if _, err := asn1.Unmarshal(b.Bytes, &key); err != nil {
		t.Fatal(err)
	}
	for n := range b.Bytes {
		if _, err := Decrypt(b.Bytes[:n], []byte("fixture")); err == nil {
			t.Errorf("%d bytes decrypt", n)
		}
	}
	if _, err := Decrypt(append(bytes.Clone(b.Bytes), 0), []byte("fixture")); err == nil {
		t.Error("a trailing byte is taken")
	}
	for _, iterations := range []int{-1, 0, maxIterations + 1} {
		if der, err := derivePBKDF2(marshal(t, pbkdf2Parameters{Salt: []byte("salt"), Iterations: iterations}), nil, 32); err == nil {
			t.Errorf("%d iterations: %x", iterations, der)
		}
	}
	for _, p := range []scryptParameters{
		{N: 3, R: 8, P: 1}, {N: 0, R: 8, P: 1}, {N: 1 << 14, R: 0, P: 1}, {N: 1 << 14, R: 8, P: 0}, {N: 1 << 14, R: 8, P: 17},
		{N: 1 << 19, R: 8, P: 1}, {N: math.MaxInt/2 + 1, R: 8, P: 1}, {N: 2, R: math.MaxInt/2 + 1, P: 1}, {N: 1 << 14, R: 8, P: 1, KeyLength: 16},
	} {
		if key, err := deriveScrypt(marshal(t, p), nil, 32); err == nil {
			t.Errorf("%+v: %x", p, key)
		}
	}
	odd := key
	odd.Data = odd.Data[1:]
	none := key
	none.Data = nil
	for name, k := range map[string]encryptedKey{"part of a block": odd, "nothing": none} {
		if _, err := Decrypt(marshal(t, k), []byte("fixture")); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
