package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/keys"
	"imaseal/keys/tpm"
	"imaseal/sign"
)

// keyOptions name the private key of commands that sign.
type keyOptions struct {
	key, cert, id string
	tpm           string
	passphrase    passphraseOption
	jobs          *int           // signatures at once
	timeout       *time.Duration // for one
	version       *int           // of signatures
	signatures    string         // the store
}

func (o *keyOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "key", Destination: &o.key, Category: labels, Usage: "private `KEY`: a file, -, env:NAME, pkcs11:… in a token, tpm:HANDLE, SCHEME://… behind a program"},
		&urfave.StringFlag{Name: "cert", Destination: &o.cert, Category: labels, Usage: "the key's certificate `FILE`, which gives the key id"},
		&urfave.StringFlag{Name: "keyid", Destination: &o.id, Category: labels, Usage: "key `ID` to put into labels, eight hexadecimal digits"},
		o.passphrase.flag(labels, "an encrypted key"),
		tpmFlag(&o.tpm, labels),
		&urfave.IntFlag{Name: "key-jobs", Action: noted(&o.jobs), Category: labels, DefaultText: "as many as it wants", Usage: "`NUMBER` of signatures that a device or program is asked for at once"},
		&urfave.DurationFlag{Name: "key-timeout", Action: noted(&o.timeout), Category: labels, Value: time.Minute, Usage: "`TIME` that a device or program may take for a signature"},
		&urfave.IntFlag{Name: "sig-version", Action: noted(&o.version), Category: labels, Value: defaultVersion, Usage: "`VERSION` of signatures: 2, or 3 for Linux 7.2 and later, which ML-DSA keys always make; 1 is historic, for RSA keys in keyrings that are not trusted ones"},
	}
}

// storeFlag is for commands that make many signatures.
func (o *keyOptions) storeFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "signatures", Destination: &o.signatures, Category: labels, Usage: "a `STORE` of signatures that were made before, and are not made again: a directory, or a URL that takes GET and PUT"}
}

// tpmFlag names the device of keys in a TPM.
func tpmFlag(to *string, category string) urfave.Flag {
	return &urfave.StringFlag{Name: "tpm", Destination: to, Category: category, DefaultText: "TPM2TOOLS_TCTI, else " + tpm.DefaultDevice, Usage: "`DEVICE` or TCTI of the TPM with the key"}
}

// checkKey refuses what can name no key.
func checkKey(ref, tpm string) error {
	if err := keys.Check(ref, tpm); err != nil {
		return &cmdline.UsageError{Err: err}
	}
	return nil
}

// defaultVersion of signatures is the one that every kernel takes.
const defaultVersion = 2

// errNoKey says that a signature is asked for, and nothing to make it with.
var errNoKey = conflict("no private key is given", "--key FILE; imaseal keys generate --out PREFIX makes one")

// A keyRequest names the private key to sign with.
type keyRequest struct {
	ref        string
	options    keys.Options
	passphrase passphraseOption
	version    uint8  // of signatures; 0 leaves that to the kind of key
	signatures string // the store; "" for none
}

// plan returns nil if no key is given.
func (o *keyOptions) plan() (*keyRequest, error) {
	r := &keyRequest{ref: o.key, options: keys.Options{Certificate: o.cert, TPM: o.tpm}, passphrase: o.passphrase, signatures: o.signatures}
	if o.version != nil {
		var err error
		if r.version, err = parseVersion(*o.version, 1); err != nil {
			return nil, err
		}
	}
	if err := firstError(o.device(&r.options), checkKey(o.key, o.tpm), checkStore(o.signatures)); err != nil {
		return nil, err
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
			given{"passphrase-file", o.passphrase.file != ""}, given{"tpm", o.tpm != ""}, given{"key-jobs", o.jobs != nil}, given{"key-timeout", o.timeout != nil},
			given{"sig-version", o.version != nil}, given{"signatures", o.signatures != ""})
	}
	return r, nil
}

// parseVersion refuses versions of signatures that there are not, and those before
// least.
func parseVersion(version, least int) (uint8, error) {
	if version < least || version > 3 {
		words := map[int]string{1: "1, 2 or 3", 2: "2 or 3"}
		return 0, conflict(fmt.Sprintf("--sig-version %d is not %s", version, words[least]), "2 is for every kernel, 3 for Linux 7.2 and later")
	}
	return uint8(version), nil
}

// device says how a key is used that is not in a file.
func (o *keyOptions) device(to *keys.Options) error {
	if o.jobs != nil {
		if *o.jobs < 1 {
			return conflict(fmt.Sprintf("--key-jobs %d: at least one signature at a time is needed", *o.jobs), "")
		}
		to.Jobs = *o.jobs
	}
	if o.timeout != nil {
		if *o.timeout <= 0 {
			return conflict(fmt.Sprintf("--key-timeout %s: no signature is made in no time", *o.timeout), "90s is a minute and a half")
		}
		to.Timeout = *o.timeout
	}
	return nil
}

// versionFor returns the version of signatures by a key over such digests.
func (r *keyRequest) versionFor(s sign.Scheme, algo hash.Algorithm) (uint8, error) {
	switch {
	case r.version == 1 && s != sign.RSA:
		return 0, conflict("--sig-version 1: "+s.String()+" keys make none", "leave it out")
	case r.version == 1 && !slices.Contains(sign.DigestsV1(), algo):
		return 0, conflict("--sig-version 1 is over sha1 or sha256 digests, not "+algo.String(), "--algo sha256")
	case s != sign.MLDSA:
		return cmp.Or(r.version, defaultVersion), nil
	case r.version == 2:
		return 0, conflict("--sig-version 2: "+sign.ErrHashless.Error(), "leave it out")
	}
	return 3, nil
}

// notice says what happens to a key during a run.
func (p Program) notice(text string) { p.warn(reason.Key, "%s", text) }

// complete adds where keys come from that are in no file, and who is told about
// them.
func (p Program) complete(o keys.Options) keys.Options {
	o.Stdin, o.Getenv, o.Notice = p.Stdin, p.getenv, p.notice
	return o
}

// openKey opens the private key, and prints what is questionable about it. The
// caller closes it.
func (p Program) openKey(ctx context.Context, r *keyRequest) (*keys.Key, error) {
	key, err := keys.Open(ctx, r.ref, p.asker(ctx, r.passphrase), p.complete(r.options))
	if err != nil {
		return nil, err
	}
	p.warnOfKeys(key.Warnings())
	return key, nil
}
