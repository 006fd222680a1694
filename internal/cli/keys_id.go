package cli

import (
	"context"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// keysIDOptions are the options of imaseal keys id.
type keysIDOptions struct{ passphrase passphraseOption }

func (o *keysIDOptions) flags() []urfave.Flag {
	return []urfave.Flag{o.passphrase.flag("", "a private key")}
}

// A keysIDRequest is what keys id is asked for.
type keysIDRequest struct {
	files      []string
	passphrase passphraseOption
}

func (o *keysIDOptions) plan(files []string) (keysIDRequest, error) {
	if len(files) == 0 {
		return keysIDRequest{}, conflict("no FILE is given", "name keys or certificates")
	}
	return keysIDRequest{files, o.passphrase}, nil
}

func (p Program) keysIDCommand() *urfave.Command {
	o := new(keysIDOptions)
	return &urfave.Command{
		Name:      "id",
		Usage:     "print the key ids of keys and certificates",
		ArgsUsage: "FILE...",
		Description: `Prints the id by which labels name each key: from the certificate's subject key
identifier, else from the SHA-1 of the public key.

   imaseal keys id signing.der`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysID),
	}
}

func (p Program) keysID(ctx context.Context, r keysIDRequest) error {
	ask := p.asker(ctx, r.passphrase)
	for _, name := range r.files {
		found, err := p.publicKeys(ctx, name, ask)
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

// publicKeys returns the keys in a file; an encrypted one is opened.
func (p Program) publicKeys(ctx context.Context, name string, ask keyfile.Ask) ([]*keys.Public, error) {
	known, err := keys.OpenVerifiers(name)
	if is[*keyfile.PassphraseError](err) {
		key, err := keys.Open(ctx, name, ask, keys.Options{})
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
