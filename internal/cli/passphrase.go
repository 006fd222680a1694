package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/advice"
	"imaseal/keys/keyfile"
)

// A passphraseOption names a file with the passphrase of private keys.
type passphraseOption struct{ file string }

func (o *passphraseOption) flag(category, of string) urfave.Flag {
	return &urfave.StringFlag{Name: "passphrase-file", Destination: &o.file, Category: category, Usage: "`FILE` with the passphrase of " + of}
}

// Variables of the environment that hold the passphrase of a private key.
var passphraseVariables = []string{"IMASEAL_KEY_PASSPHRASE", "EVMCTL_KEY_PASSWORD"}

// errNoPassphrase says that a passphrase is needed and nobody can be asked.
var errNoPassphrase = &advisedError{
	err: errors.New("no passphrase is given, and there is no terminal to ask on"), code: "needs-passphrase", advice: advice.Passphrase,
}

// asker returns how the passphrases of private keys are found: in a file, in
// the environment, or on the terminal. Never on the command line, which others
// see.
func (p Program) asker(ctx context.Context, o passphraseOption) keyfile.Ask {
	given := p.givenPassphrase(o.file)
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
func (p Program) givenPassphrase(file string) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		if file != "" {
			return p.readPassphrase(file)
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
	type answer struct {
		passphrase []byte
		err        error
	}
	answers := make(chan answer, 1)
	go func() {
		passphrase, err := term.ReadPassword(fd)
		answers <- answer{passphrase, err}
	}()
	select {
	case a := <-answers:
		return a.passphrase, a.err
	case <-ctx.Done():
		term.Restore(fd, state)
		return nil, context.Cause(ctx)
	}
}

// readPassphrase reads a file's first line.
func (p Program) readPassphrase(file string) ([]byte, error) {
	b, mode, err := keyfile.Read(file)
	if err != nil {
		return nil, err
	}
	p.warnReadable(file, mode)
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

func (p Program) getenv(name string) string {
	if p.Getenv == nil {
		return ""
	}
	return p.Getenv(name)
}
