package command

import (
	"slices"

	"github.com/urfave/cli/v2"

	"imaseal/internal/relabel"
	"imaseal/keys"
)

func (p Program) verifyCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringSliceFlag{Name: "key", Category: labels, Usage: "certificates or public keys: a `FILE`, or a directory of them"},
		&cli.BoolFlag{Name: "sigfile", Category: labels, Usage: "check PATH.sig instead of security.ima"},
		namespaceFlag(labels),
		&cli.BoolFlag{Name: "require-evm", Category: evmCategory, Usage: "files need security.evm, as on hosts with EVM active (implied by --evm-key)"},
	}
	return &cli.Command{
		Name:      "verify",
		Usage:     "recompute digests and check labels",
		ArgsUsage: "PATH...",
		Description: `Reads every selected file below each PATH and compares it with its label.
The exit status is 0 only if every file carries a label that fits, and 4 if
one does not. Signatures need --key: certificates or public keys, from files
or from a directory. EVM labels are checked too, as far as there is a key
for them; with --require-evm or --evm-key every file needs one.

Before the first boot under enforcement:
   imaseal verify /mnt/root

A signed tree, by all certificates in a directory:
   imaseal verify --key /etc/keys/ima /mnt/root

HMACs of the file system as it will be on its host:
   imaseal verify --evm-key evm.key --kernel-config config-6.12 /mnt/root

Only the names of what is wrong:
   imaseal verify --json /mnt/root | jq -r 'select(.outcome=="invalid").path'`,
		Flags:  slices.Concat(selectionFlags(), own, viewFlags(), outputFlags()),
		Action: p.verify,
	}
}

func (p Program) verify(c *cli.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	if request, err = validate(request); err != nil {
		return err
	}
	if c.Bool("sigfile") && c.Bool("require-evm") {
		return conflict("--sigfile checks no attributes, so that --require-evm asks for nothing", "leave out one of them")
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	checker := &relabel.Checker{Store: r.store(), SigFiles: c.Bool("sigfile"), RequireEVM: c.Bool("require-evm") || c.IsSet("evm-key")}
	if err := p.openChecks(c, checker); err != nil {
		return err
	}
	return r.do(c.Context, checker.Verify)
}

// openChecks opens the keys that the options name.
func (p Program) openChecks(c *cli.Context, checker *relabel.Checker) error {
	if paths := c.StringSlice("key"); len(paths) > 0 {
		known, err := keys.OpenVerifiers(paths...)
		if err != nil {
			return err
		}
		for _, w := range known.Warnings() {
			p.warn("%s", w)
		}
		checker.Keys = known
	} else if c.String("evm-key") == "" {
		return refuseUnused(c, "--key or --evm-key", "evm-uuid", "evm-no-uuid", "evm-xattr", "kernel-config")
	}
	if c.String("evm-key") != "" {
		var err error
		if checker.HMAC, err = p.openHMAC(c); err != nil {
			return err
		}
	}
	var err error
	checker.View, err = p.evmView(c, checker.Store, checker.HMAC != nil)
	return err
}
