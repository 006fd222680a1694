package cli

import (
	"context"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/tree"
	"imaseal/keys"
)

// labelSizes is how many bytes of labels the files of each class get, if a
// signature label has that many.
func labelSizes(algo hash.Algorithm, signature int, kinds map[plan.Class]imaevm.Type) map[plan.Class]tree.Labels {
	evm := func(c plan.Class) int {
		switch kinds[c] {
		case 0:
			return 0
		case imaevm.TypeHMAC:
			return imaevm.HMACSize
		}
		return signature
	}
	return map[plan.Class]tree.Labels{
		plan.Hash: {IMA: imaevm.HashHeader + algo.Size(), EVM: evm(plan.Hash)},
		plan.Sign: {IMA: signature, EVM: evm(plan.Sign)},
	}
}

// A spacer knows whether labels fit into what it holds.
type spacer interface {
	CheckSpace(context.Context, tree.Space) error
}

// spacer returns what knows that of the session's files, nil for an archive, which
// has room for all.
func (s *session) spacer() spacer {
	if s.tree != nil {
		return s.tree
	}
	in, _ := s.carrier.(spacer)
	return in
}

// checkLabels refuses a run whose labels do not fit on the file system, if they have
// the sizes.
func (s *session) checkLabels(ctx context.Context, l *label.Labeller, sizes map[plan.Class]tree.Labels) error {
	largest := tree.Labels{Sidecar: l.SigFiles}
	for _, labels := range sizes {
		largest.IMA, largest.EVM = max(largest.IMA, labels.IMA), max(largest.EVM, labels.EVM)
	}
	return s.checkSpace(ctx, largest, func(f tree.File) (has, want tree.Labels) { return l.Sizes(f, sizes) })
}

// checkSpace refuses a run whose labels do not fit on the file system: sizes returns
// those that a file has, and would have, of which largest is the largest.
func (s *session) checkSpace(ctx context.Context, largest tree.Labels, sizes func(tree.File) (has, want tree.Labels)) error {
	in := s.spacer()
	if in == nil {
		return nil
	}
	err := in.CheckSpace(ctx, tree.Space{
		Largest: largest, IMA: s.kept(imaevm.AttrIMA), EVM: s.kept(imaevm.AttrEVM), DryRun: s.plan.DryRun,
		Labels: func(f tree.File) (has, want tree.Labels) {
			if s.isRenamed() {
				f = userNamespace.File(f)
			}
			return sizes(f)
		},
	})
	if err != nil && s.plan.DryRun {
		code, _ := hint(err)
		s.program.warn(code, "%s", printable(err))
		return nil
	}
	if err != nil {
		s.dropLog()
	}
	return err
}

// signatureSize is that of a label, in bytes.
func signatureSize(key *keys.Key, version uint8) int {
	if version == 1 {
		return imaevm.SignatureHeaderV1 + key.SignatureSize()
	}
	return imaevm.SignatureHeader + key.SignatureSize()
}
