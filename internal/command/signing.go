package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// keyFlags are the options of commands that sign.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "key", Category: labels, Usage: "private `KEY`: a file, or SCHEME://KEY behind a program"},
		&cli.StringFlag{Name: "cert", Category: labels, Usage: "the key's certificate `FILE`, which gives the key id"},
		&cli.StringFlag{Name: "keyid", Category: labels, Usage: "key `ID` to put into labels, eight hexadecimal digits"},
		&cli.StringFlag{Name: "passphrase-file", Category: labels, Usage: "`FILE` with the passphrase of an encrypted key"},
		&cli.IntFlag{Name: "key-jobs", Category: labels, Usage: "`NUMBER` of signatures that a device or program is asked for at once (default: as many as it wants)"},
		&cli.DurationFlag{Name: "key-timeout", Category: labels, Value: time.Minute, Usage: "`TIME` that a device or program may take for a signature"},
		&cli.IntFlag{Name: "sig-version", Category: labels, Value: 2, Usage: "`VERSION` of signatures: 2, or 3 for Linux 7.2 and later"},
	}
}

// Variables of the environment that hold the passphrase of a private key.
var passphraseVariables = []string{"IMASEAL_KEY_PASSPHRASE", "EVMCTL_KEY_PASSWORD"}

// errNoKey says that a signature is asked for, and nothing to make it with.
var errNoKey = conflict("no private key is given", "--key FILE; imaseal keys generate makes one")

// errNoPassphrase says that a passphrase is needed and nobody can be asked.
var errNoPassphrase = errors.New("no passphrase is given, and there is no terminal to ask on")

// asker returns how the passphrases of private keys are found: in a file, in
// the environment, or on the terminal. Never on the command line, which others
// see.
func (p Program) asker(c *cli.Context) keyfile.Ask {
	given := p.givenPassphrase(c.String("passphrase-file"))
	return func(prompt string) ([]byte, error) {
		passphrase, err := given()
		if passphrase == nil && err == nil {
			passphrase, err = askTerminal(c.Context, prompt)
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

// keyOptions returns how a private key is used that is not in a file.
func (p Program) keyOptions(c *cli.Context) keys.Options {
	return keys.Options{
		Jobs:    c.Int("key-jobs"),
		Timeout: c.Duration("key-timeout"),
		Getenv:  p.getenv,
		Notice:  func(text string) { p.warn("%s", text) },
	}
}

// openKey opens the private key that the options name, and prints what is
// questionable about it. The caller closes it.
func (p Program) openKey(c *cli.Context) (*keys.Key, error) {
	o := p.keyOptions(c)
	o.Certificate = c.String("cert")
	if c.IsSet("keyid") {
		id, err := imaevm.ParseKeyID(c.String("keyid"))
		if err != nil {
			return nil, &cmdline.UsageError{Err: err}
		}
		o.KeyID = &id
	}
	key, err := keys.Open(c.Context, c.String("key"), p.asker(c), o)
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		p.warn("%s", w)
	}
	return key, nil
}

// labelUsage refuses options of hash and sign that contradict each other or
// are of no use, before anything is opened. It returns the kinds of EVM labels.
func labelUsage(c *cli.Context, rules plan.Rules) (map[plan.Class]imaevm.Type, error) {
	if c.Int("key-jobs") < 0 || c.Duration("key-timeout") <= 0 {
		return nil, conflict("--key-jobs and --key-timeout cannot be below zero, and no signature is made in no time", "")
	}
	if v := c.Int("sig-version"); v != 2 && v != 3 {
		return nil, conflict(fmt.Sprintf("--sig-version %d is not 2 or 3", v), "2 is for every kernel, 3 for Linux 7.2 and later")
	}
	kinds, err := evmKinds(c.String("evm"), rules)
	if err != nil {
		return nil, err
	}
	if err := evmUsage(c, kinds); err != nil {
		return nil, err
	}
	signs := rules.Uses(plan.Sign)
	evmSigns := usesKind(kinds, imaevm.TypePortable, imaevm.TypeSignature)
	switch {
	case c.String("key") == "" && signs:
		return nil, errNoKey
	case c.String("key") == "" && evmSigns:
		return nil, conflict("--evm "+c.String("evm")+" needs a private key", "--key FILE; imaseal keys generate makes one")
	case c.String("key") == "":
		return kinds, refuseUnused(c, "--key", "cert", "keyid", "passphrase-file", "key-jobs", "key-timeout", "sig-version")
	case c.Command.Name == "hash" && !evmSigns:
		return nil, conflict("hash signs nothing but EVM labels, so --key is of no use without --evm portable or signature", "add --evm portable, or use imaseal sign")
	}
	return kinds, nil
}

// refuseUnused refuses options that only count with another one.
func refuseUnused(c *cli.Context, without string, names ...string) error {
	for _, name := range names {
		if c.IsSet(name) && !isOfPolicy(c, name) {
			return conflict(fmt.Sprintf("--%s is given without %s", name, without), "leave it out, or add "+without)
		}
	}
	return nil
}

// refuseWith refuses options that contradict another one.
func refuseWith(c *cli.Context, with string, names ...string) error {
	for _, name := range names {
		if c.IsSet(name) {
			return conflict(fmt.Sprintf("--%s is of no use with --%s", name, with), "leave out one of them")
		}
	}
	return nil
}
