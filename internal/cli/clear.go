package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/imaevm"
	"imaseal/internal/relabel"
)

func (p Program) clearCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "label", Category: labels, Value: "all", Usage: "remove security.ima, security.evm or both"},
	}
	return &urfave.Command{
		Name:      "clear",
		Usage:     "remove labels",
		ArgsUsage: "PATH...",
		Description: `Removes security.ima and security.evm, signatures too, from every selected
file below each PATH. No content is read.

A way back is kept, or only labels of EVM are removed:

   imaseal clear --undo-log /root/labels.undo /mnt/root
   imaseal clear --label evm /mnt/root`,
		Flags:  slices.Concat(selectionFlags(), own, writingFlags(), outputFlags()),
		Action: p.clear,
	}
}

func (p Program) clear(c *urfave.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	switch c.String("label") {
	case "ima":
		request.Attrs = []string{imaevm.AttrIMA}
	case "evm":
		request.Attrs = []string{imaevm.AttrEVM}
	default: // EVM first: it covers the other
		request.Attrs = []string{imaevm.AttrEVM, imaevm.AttrIMA}
	}
	if request, err = validate(request); err != nil {
		return err
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	clearer := &relabel.Clearer{Attrs: request.Attrs, Writer: r.writer()}
	return r.do(c.Context, clearer.Clear)
}
