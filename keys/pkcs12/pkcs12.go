// Package pkcs12 reads PKCS#12 files (RFC 7292): a private key with its
// certificate and those of its authorities, encrypted with a passphrase.
package pkcs12

import (
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// ErrPassphrase says that the passphrase is not the file's.
var ErrPassphrase = errors.New("wrong passphrase")

// Decode returns the private key in a file, and its certificate, followed by
// others. The error is ErrPassphrase, or says what is wrong or not supported.
func Decode(der, passphrase []byte) (key any, certs []*x509.Certificate, err error) {
	key, leaf, others, err := pkcs12.DecodeChain(der, string(passphrase))
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, nil, ErrPassphrase
	case err != nil:
		return nil, nil, fmt.Errorf("PKCS#12: %w", err)
	}
	return key, append([]*x509.Certificate{leaf}, others...), nil
}
