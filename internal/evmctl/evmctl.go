// Package evmctl is the command line of evmctl (ima-evm-utils) as far as it is words:
// it turns arguments into a [Request], and results into what evmctl prints. What is
// requested is carried out by the engines that imaseal's own commands have; nothing
// here opens, labels or checks a file.
//
// The source of facts is src/evmctl.c of ima-evm-utils 1.6.2; what Debian's 1.4 does
// otherwise was compared.
package evmctl

import (
	"errors"
	"fmt"
	"strings"

	"imaseal/hash"
)

// Version is the one of evmctl whose command line this is: scripts ask for it.
const Version = "1.6.2"

// Statuses that evmctl ends with. None is from 126 to 254, which its tests take for
// those of a shell.
const (
	StatusOK     = 0
	StatusFailed = 1   // something does not verify, or the arguments are wrong
	StatusError  = 125 // something could not be done
)

// A Request is what arguments ask for.
type Request struct {
	Options
	Command string   // its name, "" for none
	Paths   []string // or other words behind the command
	// Digest is the algorithm that the options name.
	Digest hash.Algorithm
}

// A CommandError says that a command is none, or misses something. evmctl prints the
// usage on its standard output.
type CommandError struct{ Message, Usage string }

func (e *CommandError) Error() string { return strings.TrimSpace(e.Message + e.Usage) }

// A FailedError is one after which evmctl ends with StatusFailed.
type FailedError struct{ Err error }

func (e *FailedError) Error() string { return e.Err.Error() }
func (e *FailedError) Unwrap() error { return e.Err }

// Missing is the error for a command that misses something.
func Missing(command string) error {
	return &CommandError{Message: "Parameters missing\n", Usage: lookUp(command).usage()}
}

// Parse reads arguments, without the program's name. The error is a *UsageError, an
// *UnsupportedError, a *CommandError, or one about an algorithm.
func Parse(args []string) (Request, error) {
	r := Request{Options: Options{Algo: hash.SHA256.String()}}
	words, err := getopt(args, &r.Options)
	if errors.Is(err, errEnough) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if len(words) == 0 {
		return r, nil
	}
	c := lookUp(words[0])
	if c == nil {
		return r, &CommandError{Usage: fmt.Sprintf("Invalid command: %s\n", words[0])}
	}
	r.Command, r.Paths = c.name, words[1:]
	if c.unsupported != "" {
		return r, &UnsupportedError{What: c.name + ": " + c.unsupported}
	}
	if r.Digest, err = algorithm(r.Algo); err != nil && c.hashes {
		return r, err
	}
	if c.paths && len(r.Paths) == 0 {
		return r, Missing(c.name)
	}
	return r, nil
}

// algorithm returns the one of a name, which may be OpenSSL's.
func algorithm(name string) (hash.Algorithm, error) {
	switch name {
	case "md_gost12_256":
		name = hash.Streebog256.String()
	case "md_gost12_512":
		name = hash.Streebog512.String()
	case "sm3-256":
		name = hash.SM3.String()
	}
	a, err := hash.Parse(name)
	if err == nil && !a.Computable() {
		err = &hash.NotComputableError{Algorithm: a}
	}
	return a, err
}
