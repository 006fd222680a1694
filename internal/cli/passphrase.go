package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/advice"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/keys/keyfile"
)

// A passphraseOption names a file with the passphrase of private keys.
type passphraseOption struct{ file string }

func (o *passphraseOption) flag(category, of string) urfave.Flag {
	return &urfave.StringFlag{Name: "passphrase-file", Destination: &o.file, Category: category, Usage: "`FILE` with the passphrase of " + of + "; - is standard input"}
}

// Variables of the environment that hold the passphrase of a private key.
var passphraseVariables = []string{"IMASEAL_KEY_PASSPHRASE", "EVMCTL_KEY_PASSWORD"}

// errNoPassphrase says that a passphrase is needed and nobody can be asked.
var errNoPassphrase = &advisedError{
	err: errors.New("no passphrase is given, and there is no terminal to ask on"), code: reason.NeedsPassphrase, advice: advice.Passphrase,
}

// asker returns how the passphrases of private keys are found: in a file, in
// the environment, or on the terminal. Never on the command line, which others
// see.
func (p Program) asker(ctx context.Context, o passphraseOption) keyfile.Ask {
	given := p.givenPassphrase(ctx, o.file)
	return func(prompt string) ([]byte, error) {
		passphrase, err := given()
		if passphrase == nil && err == nil {
			passphrase, err = askTerminal(ctx, prompt)
		}
		return bytes.Clone(passphrase), err
	}
}

// givenPassphrase returns a function that returns the passphrase of a file or
// the environment, nil for none. The file is read once, since it may be a pipe.
// Standard input that is a terminal gives none, since one is asked for there
// without showing it.
func (p Program) givenPassphrase(ctx context.Context, file string) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		switch {
		case file == "-" && isTerminal(p.Stdin):
			return nil, nil
		case file != "":
			passphrase, err := p.readPassphrase(ctx, file)
			if err != nil && ctx.Err() == nil {
				err = &passphraseFileError{file: file, err: err}
			}
			return passphrase, err
		}
		for _, name := range passphraseVariables {
			if value := p.getenv(name); value != "" {
				return []byte(value), nil
			}
		}
		return nil, nil
	})
}

// askTerminal reads a line without showing it. A signal ends that, and leaves
// the terminal as it was.
func askTerminal(ctx context.Context, prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoPassphrase
	}
	defer tty.Close()
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, errNoPassphrase
	}
	fmt.Fprintf(tty, "%s: ", prompt)
	defer fmt.Fprintln(tty)
	passphrase, err := stream.Await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		term.Restore(fd, state)
	}
	return passphrase, err
}

// A passphraseFileError says that the file of --passphrase-file gives no
// passphrase. It is told without what the passphrase was for.
type passphraseFileError struct {
	file string
	err  error
}

func (e *passphraseFileError) Error() string {
	return fmt.Sprintf("--passphrase-file %s: %v", report.Quote(e.file), e.err)
}

func (e *passphraseFileError) Unwrap() error { return e.err }

// errEmpty says that there is nothing in a file to read.
var errEmpty = errors.New("is empty")

// readPassphrase reads the first line of a file, or of standard input.
func (p Program) readPassphrase(ctx context.Context, file string) ([]byte, error) {
	if file == "-" {
		return stream.Await(ctx, func() ([]byte, error) { return firstLine(p.Stdin) })
	}
	var mode fs.FileMode
	b, err := awaitFile(ctx, file, func(name string) (b []byte, err error) {
		b, mode, err = keyfile.Read(name)
		return b, err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Unwrap(err) // without the name of the file
	}
	p.warnReadable(file, mode)
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// maxLine bounds a passphrase, in bytes.
const maxLine = 1 << 16

// firstLine reads a line of which the end is the end of r, too.
func firstLine(r io.Reader) ([]byte, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadBytes('\n')
	switch {
	case err != nil && err != io.EOF:
		return nil, pathless(err)
	case len(line) == 0:
		return nil, errEmpty
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
}

func (p Program) getenv(name string) string {
	if p.Getenv == nil {
		return ""
	}
	return p.Getenv(name)
}
