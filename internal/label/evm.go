package label

import (
	"bytes"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// An EVM says which EVM labels files get. Signatures are made with the Key of the
// Labeller.
type EVM struct {
	// Covers is what the target's EVM covers.
	Covers target.EVM
	// Kinds is the kind of label by the class of the file. A class without
	// one gets no label.
	Kinds map[plan.Class]imaevm.Type
	HMAC  *imaevm.HMACKey // nil where no class gets an HMAC
}

// kind returns the kind of EVM label of the file's class, zero for none.
func (j *labelling) kind() imaevm.Type {
	if j.EVM == nil {
		return 0
	}
	return j.EVM.Kinds[j.class]
}

// evmChange returns the change of security.evm that the file needs, if its
// security.ima will be ima. newIMA says that it is to be written, so that no old
// label can fit but one that was made for the same bytes.
func (j *labelling) evmChange(ima []byte, newIMA bool) ([]tree.Change, error) {
	kind := j.kind()
	if kind == 0 && !newIMA && !j.newContext {
		return nil, nil
	}
	old, err := tree.Value(j.file, imaevm.AttrEVM)
	if err != nil {
		return nil, err
	}
	if j.EVM != nil || len(old) > 0 {
		j.res.EVM = old
	}
	if kind == 0 {
		return nil, j.stale(ima, old)
	}
	j.d.Meta = true
	want, err := j.wantEVM(kind, ima, newIMA)
	if err != nil {
		return nil, err
	}
	if tree.Same(want, old) && !(j.Force && j.res.Outcome != report.Kept) {
		return nil, nil
	}
	j.warnMended(want, old, newIMA || j.newContext)
	return []tree.Change{{Attr: imaevm.AttrEVM, Old: old, New: want}}, nil
}

// warnMended names a file whose IMA label was right already and whose EVM label
// of the same maker was not: as a run leaves it that was killed between the two,
// or somebody who changed its owner or mode.
func (j *labelling) warnMended(want, old []byte, newInput bool) {
	if newInput || len(old) == 0 || len(want) == 0 || old[0] != want[0] || bytes.Equal(want, old) {
		return
	}
	was, err := imaevm.ParseSignature(old)
	if err == nil && was.KeyID != j.Key.Signer.KeyID() {
		return
	}
	j.res.Warn(reason.MendedEVM, "security.evm did not fit, and is mended")
}

// stale says what becomes of a file whose EVM label does not cover its new IMA
// label or SELinux context, and gets no other.
func (j *labelling) stale(ima, evm []byte) error {
	if len(evm) == 0 || bytes.Equal(ima, j.res.IMA) && !j.newContext {
		return nil
	}
	isHMAC := imaevm.Type(evm[0]) == imaevm.TypeHMAC
	switch {
	case j.Stale == RenewedByKernel && isHMAC:
		return nil
	case j.Stale == LeaveStale:
		j.res.Warn(reason.StaleEVM, "security.evm was made for the old label")
		return nil
	}
	return ErrStaleEVM
}

// wantEVM returns the EVM label that the file should carry instead of the one in
// the result.
func (j *labelling) wantEVM(kind imaevm.Type, ima []byte, newIMA bool) ([]byte, error) {
	old := j.res.EVM
	if t, known := evmType(old); !known && !j.Force {
		return nil, fmt.Errorf("security.evm %w: %s", ErrUnknownLabel, t)
	}
	if !newIMA {
		keep, err := j.keepsEVM(kind, ima, old)
		if err != nil {
			return nil, fmt.Errorf("checking security.evm: %w", err)
		}
		if keep {
			return old, nil
		}
	}
	want, err := j.evmLabel(kind, ima, old)
	if err != nil {
		return nil, fmt.Errorf("making security.evm: %w", err)
	}
	return want, nil
}

// evmType returns the type of a label in security.evm, and whether it is one
// that belongs there, or there is none.
func evmType(label []byte) (imaevm.Type, bool) {
	if len(label) == 0 {
		return 0, true
	}
	t := imaevm.Type(label[0])
	return t, t == imaevm.TypeHMAC || t == imaevm.TypeSignature || t == imaevm.TypePortable
}

// keepsEVM reports whether the label in place is one that no other should
// replace: a valid one of a trusted key, or, where an HMAC would be, a signature
// of another key, or one that is right.
func (j *labelling) keepsEVM(kind imaevm.Type, ima, old []byte) (bool, error) {
	s, err := imaevm.ParseSignature(old)
	if err != nil {
		return false, nil
	}
	if s.Kind == kind {
		keep, err := j.trusts(kind, old, func(s imaevm.Signature) ([]byte, error) {
			return j.EVM.Covers.Input(j.file, s.Kind, ima)
		})
		return keep, err
	}
	if kind != imaevm.TypeHMAC || j.class != plan.Hash || j.ReplaceSignatures || j.newContext {
		return false, nil
	}
	keep := true
	if j.Key != nil && s.KeyID == j.Key.Signer.KeyID() {
		input, err := j.EVM.Covers.Input(j.file, s.Kind, ima)
		if err != nil {
			return false, err
		}
		d, err := hash.Sum(s.Alg, input)
		keep = err == nil && sign.Verify(s, d, j.Key.Own) == nil
	}
	if keep {
		j.res.Outcome, j.res.Code, j.res.Reason = report.Kept, reason.EVMSignature, reason.EVMSignature.Words()
	}
	return keep, nil
}

// evmLabel returns the EVM label of the kind: the old one if that is valid.
func (j *labelling) evmLabel(kind imaevm.Type, ima, old []byte) ([]byte, error) {
	input, err := j.EVM.Covers.Input(j.file, kind, ima)
	if err != nil {
		return nil, err
	}
	if kind == imaevm.TypeHMAC {
		return j.EVM.HMAC.Sum(input).AppendBinary(nil)
	}
	d, err := hash.Sum(j.Algo, input)
	if err != nil {
		return nil, err
	}
	return j.Key.label(j.ctx, kind, d, old, j.Force)
}
