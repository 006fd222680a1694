package tree

import "errors"

// A Hold says what is known of those who could write to a file.
type Hold uint8

// The holds.
const (
	// Alone: nobody has the file open for writing, and whoever wants to waits
	// until it is closed.
	Alone Hold = iota
	// Writer: somebody has it open for writing, or mapped.
	Writer
	// Untold: nobody can tell. Only times tell of changes.
	Untold
)

// Live is what a File has that others can write to while it is read.
type Live interface {
	// Begin begins an attempt: from now on Unchanged tells of every change
	// that is made, or that is being made, unless the hold is Writer and
	// writers is false. Otherwise Begin can have to wait for somebody who
	// writes. It refreshes Meta. The error is a *ChangedError if the file
	// keeps changing.
	Begin(writers bool) (Hold, error)
	// Unchanged returns a *ChangedError if the content may be another than at
	// Begin, or, with meta, if the owner or the mode is.
	Unchanged(meta bool) error
}

// A ChangedError says that a file changed while it was in hand.
type ChangedError struct{ Cause error }

func (e *ChangedError) Error() string { return "content changed: " + e.Cause.Error() }
func (e *ChangedError) Unwrap() error { return e.Cause }

// IsChanged reports whether the error is a *ChangedError.
func IsChanged(err error) bool {
	_, ok := errors.AsType[*ChangedError](err)
	return ok
}
