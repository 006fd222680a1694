package pkcs11

import "fmt"

// A PINError says that the token does not take the PIN, or should not be asked
// to. It is asked once in a run.
type PINError struct {
	Token string // its label
	Why   string
}

func (e *PINError) Error() string { return fmt.Sprintf("PIN of token %q: %s", e.Token, e.Why) }

// A URIError says what is wrong with a URI.
type URIError struct{ Why string }

func (e *URIError) Error() string { return "PKCS#11 URI: " + e.Why }

// A MatchError says that not exactly one thing matches a URI.
type MatchError struct {
	What  string   // token, private key
	Found []string // that match, if several do
	Other []string // that do not, if none does
}

func (e *MatchError) Error() string {
	switch {
	case len(e.Found) > 0:
		return fmt.Sprintf("%d %ss match, say more in the URI: %s", len(e.Found), e.What, list(e.Found))
	case len(e.Other) > 0:
		return fmt.Sprintf("no %s matches; there is %s", e.What, list(e.Other))
	}
	return fmt.Sprintf("there is no %s", e.What)
}

// list names the first few.
func list(names []string) string {
	const few = 5
	s := ""
	for i, name := range names {
		switch {
		case i == few:
			return s + fmt.Sprintf(" and %d more", len(names)-few)
		case i > 0:
			s += ", "
		}
		s += name
	}
	return s
}
