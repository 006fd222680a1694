package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/keys"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// keyFlags are the options of commands that sign.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "key", Category: labels, Usage: "private key `FILE`, PEM or DER"},
		&cli.StringFlag{Name: "cert", Category: labels, Usage: "the key's certificate `FILE`, which gives the key id"},
		&cli.StringFlag{Name: "keyid", Category: labels, Usage: "key `ID` to put into labels, eight hexadecimal digits"},
		&cli.StringFlag{Name: "passphrase-file", Category: labels, Usage: "`FILE` with the passphrase of an encrypted key"},
		&cli.IntFlag{Name: "sig-version", Category: labels, Value: 2, Usage: "`VERSION` of signatures: 2, or 3 for Linux 7.2 and later"},
	}
}

// Variables of the environment that hold the passphrase of a private key.
var passphraseVariables = []string{"IMASEAL_KEY_PASSPHRASE", "EVMCTL_KEY_PASSWORD"}

// errNoPassphrase says that a key is encrypted and nobody can be asked.
var errNoPassphrase = errors.New("the key is encrypted, and there is no passphrase")

var errNoKey = conflict("no private key is given", "--key FILE; imaseal keys generate makes one")

// asker returns how the passphrase of a private key is found: in a file, in the
// environment, or on the terminal. Never on the command line, which others see.
func (p Program) asker(file string) keyfile.Ask {
	return func(prompt string) ([]byte, error) {
		if file != "" {
			return readPassphrase(file)
		}
		for _, name := range passphraseVariables {
			if value := p.getenv(name); value != "" {
				return []byte(value), nil
			}
		}
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return nil, errNoPassphrase
		}
		defer tty.Close()
		fmt.Fprintf(tty, "%s: ", prompt)
		defer fmt.Fprintln(tty)
		return term.ReadPassword(int(tty.Fd()))
	}
}

// readPassphrase reads a file's first line.
func readPassphrase(file string) ([]byte, error) {
	b, _, err := keyfile.Read(file)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

func (p Program) getenv(name string) string {
	if p.Getenv == nil {
		return ""
	}
	return p.Getenv(name)
}

// openKey opens the private key that the options name, and prints what is
// questionable about it. The caller closes it.
func (p Program) openKey(c *cli.Context) (*keys.Key, error) {
	if c.String("key") == "" {
		return nil, errNoKey
	}
	var o keys.Options
	o.Certificate = c.String("cert")
	if c.IsSet("keyid") {
		id, err := imaevm.ParseKeyID(c.String("keyid"))
		if err != nil {
			return nil, &usageError{err: err}
		}
		o.KeyID = &id
	}
	key, err := keys.Open(c.String("key"), p.asker(c.String("passphrase-file")), o)
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		p.warn("%s", w)
	}
	return key, nil
}

// checkSigning refuses options of signatures that cannot be, before the key is
// opened and its passphrase asked for.
func checkSigning(c *cli.Context, rules plan.Rules) error {
	if rules.Uses(plan.Sign) && c.String("key") == "" {
		return errNoKey
	}
	if version := c.Int("sig-version"); version != 2 && version != 3 {
		return &usageError{err: fmt.Errorf("--sig-version %d is not 2 or 3", version)}
	}
	return nil
}

// signingKey makes a key ready for labels: equal contents are signed once.
func signingKey(c *cli.Context, key *keys.Key) *relabel.SigningKey {
	return &relabel.SigningKey{Signer: sign.NewCache(key), Own: key, Version: uint8(c.Int("sig-version"))}
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

// words splits a value at commas.
func words(value string) []string {
	return slices.DeleteFunc(strings.Split(value, ","), func(s string) bool { return s == "" })
}
