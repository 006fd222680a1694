package program

import (
	"fmt"
	"strings"

	"imaseal/keys/child"
)

// A MissingError says that no program for a reference is in PATH.
type MissingError struct {
	Ref      string
	Programs []string // the names that were looked for
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("no program %s in PATH", strings.Join(e.Programs, " or "))
}

// An AnswerError is an error that the program answered with.
type AnswerError struct {
	Text string
	// Again says that the same request may succeed later.
	Again bool
}

func (e *AnswerError) Error() string { return child.Printable(e.Text) }

// Temporary reports whether the same request may succeed later.
func (e *AnswerError) Temporary() bool { return e.Again }

// A ProtocolError says that the program does not keep to its protocol.
type ProtocolError struct{ Why string }

func (e *ProtocolError) Error() string { return "not the protocol: " + e.Why }
