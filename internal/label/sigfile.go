package label

import (
	"bytes"

	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/sigfile"
	"imaseal/internal/tree"
)

// sigFile returns the change that gives a signed file its signature beside it,
// if that is asked for and is not there. A file that is no such signature is only
// replaced with Force.
func (j *labelling) sigFile(label []byte) ([]tree.Change, error) {
	if !j.SigFiles || j.class != plan.Sign {
		return nil, nil
	}
	old, err := sigfile.Read(j.file)
	switch {
	case err == nil && bytes.Equal(old, label):
		return nil, nil
	case err == tree.ErrNoAttr:
		old = nil
	case err != nil && !j.Force:
		return nil, err
	case !j.Force && !sigfile.Holds(old):
		return nil, ErrForeignSigFile
	}
	return []tree.Change{{Attr: tree.SidecarAttr, Old: old, New: label}}, nil
}

// Sizes returns the sizes of the labels that a file has, and of those that it
// would have, if signatures of the classes have these sizes. A label that is not
// written stays as large as it is.
func (l *Labeller) Sizes(f tree.File, sizes map[plan.Class]tree.Labels) (has, want tree.Labels) {
	chosen, err := l.choose(f)
	if err != nil || l.SigFiles && sigfile.Is(f) {
		return has, want
	}
	ima, imaErr := tree.Value(f, imaevm.AttrIMA)
	evm, evmErr := tree.Value(f, imaevm.AttrEVM)
	if imaErr != nil || evmErr != nil {
		return has, want
	}
	has, want = tree.Labels{IMA: len(ima), EVM: len(evm)}, sizes[chosen.class]
	want.IMA, want.EVM = max(has.IMA, want.IMA), max(has.EVM, want.EVM)
	if l.SigFiles && chosen.class == plan.Sign {
		_, err := sigfile.Read(f)
		want.Sidecar = true
		has.Sidecar = err != tree.ErrNoAttr
	}
	return has, want
}
