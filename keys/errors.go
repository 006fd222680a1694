package keys

import (
	"errors"
	"fmt"
)

// ErrOwnSignature says that a key made a signature which its own public key
// does not verify: the halves do not belong together, or what signs is broken
// or signed something else.
var ErrOwnSignature = errors.New("the key does not verify its own signature")

// A MismatchError says that none of the certificates in a file is the key's.
type MismatchError struct{ Key, Certificate string }

func (e *MismatchError) Error() string {
	if e.Key == e.Certificate {
		return fmt.Sprintf("%q: the certificate does not belong to the private key", e.Key)
	}
	return fmt.Sprintf("the certificate in %q does not belong to the key in %q", e.Certificate, e.Key)
}

// A GivenUpError says that a device or program failed so often in a row that it
// is not asked any more.
type GivenUpError struct {
	Source string // the key's reference
	Err    error  // how it failed last
}

func (e *GivenUpError) Error() string {
	return fmt.Sprintf("key %q is given up after %d failures in a row: %v", e.Source, hopeless, e.Err)
}

// Unwrap returns how it failed last.
func (e *GivenUpError) Unwrap() error { return e.Err }
