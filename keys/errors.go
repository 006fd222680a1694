package keys

import "fmt"

// A MismatchError says that none of the certificates in a file is the key's.
type MismatchError struct{ Key, Certificate string }

func (e *MismatchError) Error() string {
	if e.Key == e.Certificate {
		return fmt.Sprintf("%q: the certificate does not belong to the private key", e.Key)
	}
	return fmt.Sprintf("the certificate in %q does not belong to the key in %q", e.Certificate, e.Key)
}
