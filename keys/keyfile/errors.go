package keyfile

import (
	"fmt"
	"strings"
)

// An UnsupportedError says that a key is of a kind that cannot be used.
type UnsupportedError struct{ Kind string }

func (e *UnsupportedError) Error() string {
	switch {
	case e.Kind == "RSA-512":
		return "RSA keys of 512 bits are not supported: anyone can break them; use 2048, 3072 or 4096 bits"
	case strings.HasPrefix(e.Kind, "RSA-") && e.Kind != "RSA-PSS":
		return fmt.Sprintf("the kernel cannot verify signatures of %s keys; use 2048, 3072 or 4096 bits", e.Kind)
	}
	return fmt.Sprintf("the kernel cannot verify signatures of %s keys; use RSA with 2048, 3072 or 4096 bits, or P-256, P-384, P-521", e.Kind)
}

// A TPMError says that a key is one of a TPM, so that neither half can be used
// without that.
type TPMError struct{}

func (*TPMError) Error() string { return "is a key of a TPM; name its certificate or public key" }

// A PassphraseError says that a private key is encrypted, and could not be
// opened: the passphrase is wrong, or there is nobody to ask for it.
type PassphraseError struct{ Wrong bool }

func (e *PassphraseError) Error() string {
	if e.Wrong {
		return "wrong passphrase"
	}
	return "the private key is encrypted, and no passphrase was given"
}

// inFile adds the file's name to an error.
func inFile(path string, err error) error { return fmt.Errorf("%q: %w", path, err) }

// A FormError says that a file holds neither keys nor certificates, or not whole ones.
type FormError struct {
	Why string
	Err error // nil for none but Why
}

func (e *FormError) Error() string { return e.Why }
func (e *FormError) Unwrap() error { return e.Err }
