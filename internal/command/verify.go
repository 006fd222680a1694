package command

import (
	"slices"

	"github.com/urfave/cli/v2"

	"imaseal/internal/relabel"
)

func (p Program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "recompute digests and check labels",
		ArgsUsage: "PATH...",
		Description: `Reads every selected file below each PATH and compares it with its label.
The exit status is 0 only if every file carries a label that fits, and 4 if
one does not. Signatures are reported as unverifiable.

Before the first boot under enforcement:
   imaseal verify /mnt/root

Only the names of what is wrong:
   imaseal verify --json /mnt/root | jq -r 'select(.outcome=="invalid").path'`,
		Flags:  slices.Concat(selectionFlags(), []cli.Flag{namespaceFlag(labels)}, outputFlags()),
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
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	checker := &relabel.Checker{Store: r.store()}
	return r.do(c.Context, checker.Verify)
}
