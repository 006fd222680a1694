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
type keysIDOptions struct {
	passphrase passphraseOption
	tpm        string
	json       bool
}

func (o *keysIDOptions) flags() []urfave.Flag {
	return []urfave.Flag{o.passphrase.flag("", "a private key"), tpmFlag(&o.tpm, ""), jsonFlag(&o.json, "print one JSON object per key, then a summary object")}
}

// A keysIDRequest is what keys id is asked for.
type keysIDRequest struct {
	files      []string
	passphrase passphraseOption
	tpm        string // device of keys in a TPM
	json       bool
}

func (o *keysIDOptions) plan(files []string) (keysIDRequest, error) {
	if len(files) == 0 {
		return keysIDRequest{}, conflict("no FILE is given", "name keys or certificates")
	}
	readers := []given{reading("passphrase-file", o.passphrase.file)}
	for _, name := range files {
		readers = append(readers, given{name, name == "-"})
	}
	if err := readStdinOnce(readers...); err != nil {
		return keysIDRequest{}, err
	}
	for _, name := range files {
		if err := checkKey(name, o.tpm); err != nil {
			return keysIDRequest{}, err
		}
	}
	return keysIDRequest{files, o.passphrase, o.tpm, o.json}, nil
}

func (p Program) keysIDCommand() *urfave.Command {
	o := new(keysIDOptions)
	return &urfave.Command{
		Name:      "id",
		Usage:     "print the key ids of keys and certificates",
		ArgsUsage: "FILE...",
		Description: `Prints the id by which labels name each key: from the certificate's subject key
identifier, else from the SHA-1 of the public key.

   imaseal keys id signing.der
   imaseal keys id --json signing.der`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysID),
	}
}

func (p Program) keysID(ctx context.Context, r keysIDRequest) error {
	ask := p.asker(ctx, r.passphrase)
	for _, name := range r.files {
		found, err := p.publicKeys(ctx, name, r.tpm, ask)
		if err != nil {
			return err
		}
		for _, k := range found {
			if r.json {
				err = p.printJSON(showPublic(k))
			} else {
				err = p.print(fmt.Sprintf("%s  %-8s  %s\n", k.KeyID(), k.Kind(), report.Quote(k.Source())))
			}
			if err != nil {
				return err
			}
		}
	}
	if !r.json {
		return nil
	}
	return p.printSummary(shownSummary{Command: "keys id"})
}

// shownPublic is what keys id says of a key in JSON. Its fields only ever grow.
type shownPublic struct {
	shownPath        // or another reference
	KeyID     string `json:"keyid"`
	KeyIDV1   string `json:"keyid_v1,omitempty"`
	Type      string `json:"type"`
	// Certificate says that the key id is that of a certificate, by which
	// kernels find it.
	Certificate bool `json:"certificate"`
}

func showPublic(k *keys.Public) shownPublic {
	s := shownPublic{shownPath: showPath(k.Source()), KeyID: k.KeyID().String(), Type: k.Kind(), Certificate: k.Certificate() != nil}
	if id, ok := k.KeyIDV1(); ok {
		s.KeyIDV1 = id.String()
	}
	return s
}

// publicKeys returns the keys in a file, or the one that another reference names;
// an encrypted one is opened.
func (p Program) publicKeys(ctx context.Context, name, tpm string, ask keyfile.Ask) ([]*keys.Public, error) {
	var known *keys.Verifiers
	var err error
	isFile := keys.IsFile(name)
	if isFile {
		known, err = awaitKeys(ctx, name)
	}
	if !isFile || is[*keyfile.PassphraseError](err) || is[*keyfile.TPMError](err) {
		key, err := keys.Open(ctx, name, ask, p.complete(keys.Options{TPM: tpm}))
		if err != nil {
			return nil, err
		}
		defer key.Close()
		return []*keys.Public{key.Public}, nil
	}
	if err != nil {
		return nil, err
	}
	p.warnOfKeys(known.Warnings())
	return known.Keys(), nil
}
