package cli

import (
	"context"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/run"
)

// clearOptions are the options of imaseal clear.
type clearOptions struct {
	owner   ownerOptions
	files   selectionOptions
	label   string
	writing writingOptions
	output  outputOptions
}

func (o *clearOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "label", Destination: &o.label, Category: labels, Value: "all", Usage: "remove security.ima, security.evm or both"},
	}
	return slices.Concat(o.owner.flags(), o.files.flags(), own, o.writing.flags(), o.output.flags())
}

// A clearRequest is what clear is asked for.
type clearRequest struct {
	plan.Plan
	output outputOptions
}

func (o *clearOptions) plan(paths []string) (clearRequest, error) {
	owner, err := o.owner.plan()
	if err != nil {
		return clearRequest{}, err
	}
	w, err := o.writing.plan()
	if err := firstError(err, o.output.check(), checkWord("label", o.label)); err != nil {
		return clearRequest{}, err
	}
	attrs := map[string][]string{
		"ima": {imaevm.AttrIMA}, "evm": {imaevm.AttrEVM},
		"all": label.All(),
	}
	request, err := plan.Plan{
		Command: "clear", Selection: o.files.plan(paths, owner), Writing: w, Attrs: attrs[o.label], Jobs: o.output.jobs,
	}.Validate()
	err = firstError(err, refuseForPackages(request.Selection, o.owner.given()), refusePackageEVM(request.Selection, o.label == "evm"))
	return clearRequest{request, o.output}, firstError(err, checkArchiveOutput(request, o.output))
}

func (p Program) clearCommand() *urfave.Command {
	o := &clearOptions{files: p.files()}
	return &urfave.Command{
		Name:      "clear",
		Usage:     "remove labels",
		ArgsUsage: "PATH...",
		Description: `Removes security.ima and security.evm, signatures too, from every selected
file below each PATH. No content is read.

A way back is kept, or only labels of EVM are removed:

   imaseal clear --undo-log /root/labels.undo /mnt/root
   imaseal clear --label evm /mnt/root
   imaseal clear --in-place tar:root.tar`,
		Flags:  o.flags(),
		Action: action(o.plan, p.clear),
	}
}

func (p Program) clear(ctx context.Context, r clearRequest) error {
	s, err := p.prepare(ctx, r.Plan, sessionOptions{output: r.output, countFiles: true, packages: packageOptions{mend: true}, writers: run.Ignore})
	if err != nil {
		return err
	}
	defer s.close()
	return s.do(ctx, label.Clearer{Attrs: r.Attrs})
}
