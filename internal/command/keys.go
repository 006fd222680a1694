package command

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

func (p Program) keysCommand() *cli.Command {
	return &cli.Command{
		Name:  "keys",
		Usage: "make, identify and load keys and certificates",
		Subcommands: []*cli.Command{
			p.generateCommand(), p.idCommand(), p.certCommand(), p.importCommand(), p.evmKeyCommand(),
		},
	}
}

// Modes of the files that commands make.
const (
	secretMode = 0o600
	publicMode = 0o644
)

// An existsError says that a file of keys would be overwritten.
type existsError struct{ name string }

func (e *existsError) Error() string { return report.Quote(e.name) + " exists and is not overwritten" }

// mayWrite refuses to write to files if that could not end well: before keys
// are made, and passphrases asked for. reads are files that the command needs.
func mayWrite(names, reads []string, force bool) error {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return conflict(fmt.Sprintf("%s would be written twice", report.Quote(name)), "give each file a name of its own")
		}
		info, err := os.Stat(name)
		for _, read := range reads {
			if other, readErr := os.Stat(read); err == nil && readErr == nil && os.SameFile(info, other) {
				return conflict(fmt.Sprintf("%s is read, and would be overwritten", report.Quote(name)), "name another file to write to")
			}
		}
		switch err := keyfile.Replaceable(name, force); {
		case errors.Is(err, os.ErrExist):
			return &existsError{name: name}
		case err != nil:
			return fmt.Errorf("%s %w", report.Quote(name), err)
		}
	}
	return nil
}

// writeFiles writes all files or none, and says which.
func (p Program) writeFiles(files []keyfile.File, force bool) error {
	if err := keyfile.WriteFiles(files, force); err != nil {
		return err
	}
	for _, f := range files {
		if err := p.print(fmt.Sprintf("wrote %s\n", report.Quote(f.Path))); err != nil {
			return err
		}
	}
	return nil
}

// openCertified opens a private key that gets a certificate, or that of a CA. In
// both cases kernels verify with it, and it does not matter whether the key's
// file has a certificate.
func (p Program) openCertified(c *cli.Context, ref string, ask keyfile.Ask) (*keys.Key, error) {
	key, err := keys.Open(c.Context, ref, ask, p.keyOptions(c))
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		if w.Kind == keys.ReadableByOthers || w.Kind == keys.WeakKey {
			p.warn("%s", w)
		}
	}
	return key, nil
}

func (p Program) idCommand() *cli.Command {
	return &cli.Command{
		Name:      "id",
		Usage:     "print the key ids of keys and certificates",
		ArgsUsage: "FILE...",
		Description: `Prints the id by which labels name each key: from the certificate's subject key
identifier, else from the SHA-1 of the public key.

   imaseal keys id signing.der`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the passphrase of a private key"}},
		Action: p.keyID,
	}
}

func (p Program) keyID(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return conflict("no FILE is given", "name keys or certificates")
	}
	ask := p.asker(c)
	for _, name := range c.Args().Slice() {
		found, err := p.publicKeys(c, name, ask)
		if err != nil {
			return err
		}
		for _, k := range found {
			if err := p.print(fmt.Sprintf("%s  %-8s  %s\n", k.KeyID(), k.Kind(), report.Quote(k.Source()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// publicKeys returns the keys in a file, or the one in a device; an encrypted
// one is opened.
func (p Program) publicKeys(c *cli.Context, name string, ask keyfile.Ask) ([]*keys.Public, error) {
	var known *keys.Verifiers
	var err error
	if !keys.IsDevice(name) {
		known, err = keys.OpenVerifiers(name)
	}
	if known == nil && err == nil || is[*keyfile.PassphraseError](err) {
		key, err := keys.Open(c.Context, name, ask, p.keyOptions(c))
		if err != nil {
			return nil, err
		}
		defer key.Close()
		return []*keys.Public{key.Public}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, w := range known.Warnings() {
		p.warn("%s", w)
	}
	return known.Keys(), nil
}
