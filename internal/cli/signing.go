package cli

import (
	"context"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/keys"
)

// keyOptions name the private key of commands that sign.
type keyOptions struct {
	key, cert, id string
	passphrase    passphraseOption
	version       *int // of signatures
}

func (o *keyOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "key", Destination: &o.key, Category: labels, Usage: "private key `FILE`, PEM or DER"},
		&urfave.StringFlag{Name: "cert", Destination: &o.cert, Category: labels, Usage: "the key's certificate `FILE`, which gives the key id"},
		&urfave.StringFlag{Name: "keyid", Destination: &o.id, Category: labels, Usage: "key `ID` to put into labels, eight hexadecimal digits"},
		o.passphrase.flag(labels, "an encrypted key"),
		&urfave.IntFlag{Name: "sig-version", Action: noted(&o.version), Category: labels, Value: defaultVersion, Usage: "`VERSION` of signatures: 2, or 3 for Linux 7.2 and later"},
	}
}

// defaultVersion of signatures is the one that every kernel takes.
const defaultVersion = 2

// errNoKey says that a signature is asked for, and nothing to make it with.
var errNoKey = conflict("no private key is given", "--key FILE; imaseal keys generate makes one")

// A keyRequest names the private key to sign with.
type keyRequest struct {
	ref        string
	options    keys.Options
	passphrase passphraseOption
	version    uint8 // of signatures
}

// plan returns nil if no key is given.
func (o *keyOptions) plan() (*keyRequest, error) {
	r := &keyRequest{ref: o.key, options: keys.Options{Certificate: o.cert}, passphrase: o.passphrase, version: defaultVersion}
	if o.version != nil {
		if *o.version != 2 && *o.version != 3 {
			return nil, conflict(fmt.Sprintf("--sig-version %d is not 2 or 3", *o.version), "2 is for every kernel, 3 for Linux 7.2 and later")
		}
		r.version = uint8(*o.version)
	}
	if o.id != "" {
		id, err := imaevm.ParseKeyID(o.id)
		switch {
		case err != nil:
			return nil, &cmdline.UsageError{Err: err}
		case id == 0:
			return nil, conflict("--keyid "+o.id+": no key has this id", "leave it out to take that of the certificate or key")
		}
		r.options.KeyID = &id
	}
	if o.key == "" {
		return nil, refuseUnused("--key", given{"cert", o.cert != ""}, given{"keyid", o.id != ""},
			given{"passphrase-file", o.passphrase.file != ""}, given{"sig-version", o.version != nil})
	}
	return r, nil
}

// openKey opens the private key, and prints what is questionable about it. The
// caller closes it.
func (p Program) openKey(ctx context.Context, r *keyRequest) (*keys.Key, error) {
	key, err := keys.Open(ctx, r.ref, p.asker(ctx, r.passphrase), r.options)
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		p.warn("%s", w)
	}
	return key, nil
}
