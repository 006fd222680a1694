package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/relabel"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

func (p Program) verifyCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringSliceFlag{Name: "key", Category: labels, Usage: "certificates or public keys: a `FILE`, or a directory of them"},
		&urfave.BoolFlag{Name: "sigfile", Category: labels, Usage: "check PATH.sig instead of security.ima"},
		&urfave.StringSliceFlag{Name: "require", Category: labels, Usage: "`DEMAND` of the target's kernel on every file: imasig, a signature, or evm, an EVM label"},
		namespaceFlag(labels),
	}
	return &urfave.Command{
		Name:      "verify",
		Usage:     "recompute digests and check labels",
		ArgsUsage: "PATH...",
		Description: `Reads every selected file below each PATH and compares it with its label.
The exit status is 0 only if every file carries a label that fits, and 4 if
one does not. Signatures need --key: certificates or public keys, from files
or from a directory. EVM labels are checked too, as far as there is a key
for them; with --require evm or --evm-key every file needs one.

Before the first boot under enforcement:
   imaseal verify /mnt/root

A signed tree, by all certificates in a directory:
   imaseal verify --key /etc/keys/ima /mnt/root

A tree whose target has EVM active and demands signatures:
   imaseal verify --key /etc/keys --require imasig,evm /mnt/root

HMACs of the file system as it will be on its host:
   imaseal verify --evm-key evm.key --kernel-config config-6.12 /mnt/root

Only the names of what is wrong:
   imaseal verify --json /mnt/root | jq -r 'select(.outcome=="invalid").path'`,
		Flags:  slices.Concat(selectionFlags(), own, viewFlags(), outputFlags()),
		Action: p.verify,
	}
}

func (p Program) verify(c *urfave.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	request.ReadOnly = true
	if request, err = validate(request); err != nil {
		return err
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	verifier := &relabel.Verifier{Store: storeOf(request), SigFiles: c.Bool("sigfile")}
	if err := demands(c, verifier); err != nil {
		return err
	}
	if err := p.openChecks(c, verifier); err != nil {
		return err
	}
	err = r.do(c.Context, verifier.Verify)
	if with, without := verifier.CountEVM(); with > 0 && without > 0 && !verifier.NeedEVM {
		p.warn("%d files have an EVM label and %d have none, which a kernel with EVM active denies (--require evm finds them)", with, without)
	}
	return err
}

// demands reads --require. Who has an HMAC key has EVM active on the target.
func demands(c *urfave.Context, verifier *relabel.Verifier) error {
	verifier.NeedEVM = c.String("evm-key") != ""
	for word := range strings.SplitSeq(strings.Join(c.StringSlice("require"), ","), ",") {
		switch {
		case word == "imasig":
			verifier.NeedSignature = true
		case word == "evm":
			verifier.NeedEVM = true
		case c.IsSet("require"):
			return &cmdline.UsageError{
				Err:    fmt.Errorf("--require %q is not imasig or evm", word),
				Advice: cmdline.DidYouMean(cmdline.Nearest(word, []string{"imasig", "evm"}), ""),
			}
		}
	}
	if len(c.StringSlice("require")) > 0 && verifier.SigFiles {
		return conflict("--require is about labels, and --sigfile checks none", "leave out one of them")
	}
	return nil
}

// openVerifiers opens the keys that check signatures, and prints what is
// questionable about them. Nobody is asked for passphrases: what checks is public.
func (p Program) openVerifiers(paths []string) (*keys.Verifiers, error) {
	known, err := keys.OpenVerifiers(paths...)
	if is[*keyfile.PassphraseError](err) {
		return nil, &advisedError{err: err, advice: "name its certificate or public key instead; openssl pkey -pubout prints that"}
	}
	if err != nil {
		return nil, err
	}
	for _, w := range known.Warnings() {
		p.warn("%s", w)
	}
	return known, nil
}

// openChecks opens the keys that the options name.
func (p Program) openChecks(c *urfave.Context, verifier *relabel.Verifier) error {
	if paths := c.StringSlice("key"); len(paths) > 0 {
		known, err := p.openVerifiers(paths)
		if err != nil {
			return err
		}
		verifier.Keys = known
	} else if c.String("evm-key") == "" {
		return refuseUnused(c, "--key or --evm-key", "evm-uuid", "evm-no-uuid", "evm-xattr", "kernel-config")
	}
	if c.String("evm-key") != "" {
		var err error
		if verifier.HMAC, err = p.openHMAC(c); err != nil {
			return err
		}
	}
	view, source, err := p.evmView(c)
	if err != nil {
		return err
	}
	if verifier.HMAC != nil {
		p.tellEVM(c, view, source)
	}
	view.Store = verifier.Store
	verifier.View = view
	return nil
}
