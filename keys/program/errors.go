package program

import (
	"fmt"
	"strings"
	"time"

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

// An EndedError says that the program ended before it answered.
type EndedError struct {
	How    string // its exit status or signal
	Stderr string // the last that it wrote to standard error
}

func (e *EndedError) Error() string {
	if e.Stderr == "" {
		return "ended without an answer: " + e.How
	}
	return fmt.Sprintf("ended without an answer: %s: %s", e.How, e.Stderr)
}

// Temporary is true: another one can be started.
func (*EndedError) Temporary() bool { return true }

// A TimeoutError says that the program took too long, and was killed.
type TimeoutError struct{ After time.Duration }

func (e *TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// Temporary is true: another one can be started.
func (*TimeoutError) Temporary() bool { return true }

// A ProtocolError says that the program does not keep to its protocol.
type ProtocolError struct{ Why string }

func (e *ProtocolError) Error() string { return "not the protocol: " + e.Why }
