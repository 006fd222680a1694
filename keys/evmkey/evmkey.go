// Package evmkey makes and reads EVM's HMAC key: as it is, and as the blob
// that the kernel loads.
//
// # Plain keys
//
// A file of a secret holds its bytes, or, if it ends with a newline and has
// nothing else but hexadecimal digits, two to a byte, what they stand for.
// Hexadecimal digits without a newline could be meant as either, and are
// refused.
//
// # Blobs
//
// A blob is the text that an encrypted key of the kernel is exported as, and
// loaded from with "load " before it (Documentation/security/keys/
// trusted-encrypted.rst; security/keys/encrypted-keys/encrypted.c):
//
//	FORMAT MASTER LENGTH HEX
//
// FORMAT is default or enc32; the kernel also loads blobs without the word,
// and exports default then. MASTER names the master key, user:NAME or
// trusted:NAME. LENGTH is that of the key in decimal, 20 to 4096, and 32 with
// enc32. HEX is, in lower case digits,
//
//	16  initialisation vector
//	 1  zero
//	 n  AES-256-CBC of the key, padded with zeros to full blocks
//	32  HMAC-SHA-256 of FORMAT, MASTER, LENGTH, each with a zero byte
//	    behind it, and all of the above; without FORMAT if it is left out
//
// The key for AES is the SHA-256 of "ENC_KEY", a zero byte and the master key,
// that for the HMAC the SHA-256 of "AUTH_KEY", a zero byte and the master key,
// each padded with zeros to 9 bytes more than the master key has and at
// least to 32 (get_derived_key()).
package evmkey

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"imaseal/keys/keyfile"
)

// Sizes of an EVM key in bytes. EVM takes up to MaxSize (MAX_KEY_SIZE in
// security/integrity/evm/evm.h), encrypted keys have MinSize or more
// (MIN_DATA_SIZE in encrypted.c).
const (
	MinSize     = 20
	DefaultSize = 32
	MaxSize     = 128
)

// A SizeError says that a key has not the size that EVM or encrypted keys
// want.
type SizeError struct{ Size, Min, Max int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("a key of %d bytes; an EVM key has %d to %d", e.Size, e.Min, e.Max)
}

// New returns a random key of MinSize to MaxSize bytes.
func New(size int) ([]byte, error) {
	if size < MinSize || size > MaxSize {
		return nil, &SizeError{Size: size, Min: MinSize, Max: MaxSize}
	}
	key := make([]byte, size)
	rand.Read(key)
	return key, nil
}

// Read reads a plain EVM key of 1 to MaxSize bytes from a file. The caller
// clears it, and may want to warn of the mode: see keyfile.ReadableBy. The
// errors name the file.
func Read(path string) (key []byte, mode fs.FileMode, err error) {
	key, mode, err = ReadSecret(path)
	if err == nil && len(key) > MaxSize {
		err = fmt.Errorf("%q: %w", path, &SizeError{Size: len(key), Min: 1, Max: MaxSize})
		clear(key)
	}
	if err != nil {
		return nil, 0, err
	}
	return key, mode, nil
}

// ReadSecret reads a master key, or any secret, from a file.
func ReadSecret(path string) (secret []byte, mode fs.FileMode, err error) {
	data, mode, err := keyfile.Read(path)
	if err != nil {
		return nil, 0, err
	}
	if secret, err = decode(data); err != nil {
		clear(data)
		return nil, 0, fmt.Errorf("%q: %w", path, err)
	}
	return secret, mode, nil
}

var errAmbiguous = errors.New("only hexadecimal digits, without a newline: these bytes, or what they stand for? End the line if the latter")

// decode returns what the content of a secret's file means.
func decode(data []byte) ([]byte, error) {
	digits, line := bytes.CutSuffix(data, []byte("\n"))
	secret, err := hex.DecodeString(string(digits))
	switch {
	case err != nil || len(digits) == 0:
		return data, nil
	case !line:
		clear(secret)
		return nil, errAmbiguous
	}
	clear(data)
	return secret, nil
}
