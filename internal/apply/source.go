package apply

import (
	"context"

	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
)

// Missing returns a source of the files of another, and, behind them, of those for
// which there are labels and no files: these are failures.
func (a *Applier) Missing(s tree.Source) tree.Source {
	return tree.Then(s, func(ctx context.Context, visit func(tree.Found) error) error {
		return a.Index.Unused(func(path string) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return visit(tree.Found{Path: path, Err: ErrMissing})
		})
	})
}

// Sizes returns the sizes of the labels that a file has, and of those that it would
// have.
func (a *Applier) Sizes(f tree.File) (has, want tree.Labels) {
	ima, imaErr := tree.Value(f, imaevm.AttrIMA)
	evm, evmErr := tree.Value(f, imaevm.AttrEVM)
	if imaErr != nil || evmErr != nil {
		return has, want
	}
	has = tree.Labels{IMA: len(ima), EVM: len(evm)}
	want = has
	records, err := a.Index.Records(a.at(f))
	if err != nil {
		return has, want
	}
	for _, r := range records {
		want.IMA, want.EVM = max(want.IMA, len(r.IMA)), max(want.EVM, len(r.EVMLabel))
	}
	return has, want
}
