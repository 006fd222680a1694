// Package verify compares labels with contents and metadata: it recomputes what
// the labels of a file claim. It says nothing of policies and kernels; that is
// package judge's.
package verify

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/sigfile"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// A Verifier is a run.Job that checks labels. It is safe for concurrent use.
type Verifier struct {
	// Keys check signatures; nil for none.
	Keys sign.Verifiers
	// HMAC checks EVM HMACs; nil for none.
	HMAC *imaevm.HMACKey
	// Covers is what EVM covers, where there are Keys or HMAC.
	Covers target.EVM
	// SigFiles checks the signature in the file beside each file instead of
	// security.ima.
	SigFiles bool
	// IgnoreEVM leaves security.evm aside, OnlyEVM security.ima and the content.
	IgnoreEVM, OnlyEVM bool
	// HashInHeader takes the algorithm of EVM's digest in labels of version 1 from
	// where evmctl puts it, not from where kernels look for it; and no portable
	// label is one of that version.
	HashInHeader bool
	// NeedSignature refuses hashes as appraise_type=imasig does: but for those
	// that a portable EVM signature covers. NeedEVM refuses files without
	// security.evm, as a kernel does once EVM is active.
	NeedSignature, NeedEVM bool

	withEVM, withoutEVM atomic.Int64
}

// Notes implements tree.Noter: it says whether some files have EVM labels and some
// have none.
func (v *Verifier) Notes() reason.List {
	with, without := v.withEVM.Load(), v.withoutEVM.Load()
	if with == 0 || without == 0 || v.NeedEVM {
		return nil
	}
	return reason.List{reason.New(reason.SomeEVM,
		"%d files have an EVM label and %d have none, which a kernel with EVM active denies (--require evm finds them)", with, without)}
}

// Decide implements run.Job. It changes nothing.
func (v *Verifier) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	j := &verification{Verifier: v, ctx: ctx, reader: r, file: f}
	if v.SigFiles && sigfile.Is(f) {
		return run.Skip(reason.SignatureFile), nil
	}
	err := j.verify()
	return run.Decision{Result: j.res, Content: j.read, Meta: j.read}, err
}

// A verification is the work on one file.
type verification struct {
	*Verifier
	ctx    context.Context
	reader *hash.Reader
	file   tree.File
	res    report.Result
	read   bool // the content
}

// found sets what became of the file.
func (j *verification) found(o report.Outcome, c reason.Code, format string, args ...any) {
	j.res.Outcome, j.res.Code, j.res.Reason = o, c, fmt.Sprintf(format, args...)
}

func (j *verification) valid() { j.res.Outcome, j.res.Code, j.res.Reason = report.Valid, "", "" }

func (j *verification) verify() error {
	var err error
	if j.res.IMA, err = tree.Value(j.file, imaevm.AttrIMA); err != nil {
		return err
	}
	if j.res.EVM, err = tree.Value(j.file, imaevm.AttrEVM); err != nil {
		return err
	}
	if j.OnlyEVM {
		return j.onlyEVM()
	}
	name, value, missing := imaevm.AttrIMA, j.res.IMA, reason.NoIMA
	if j.SigFiles {
		name, missing = "detached signature", reason.NoSidecar
		if value, err = sigfile.Read(j.file); err != nil && err != tree.ErrNoAttr {
			return fmt.Errorf("reading the detached signature: %w", err)
		}
	}
	if len(value) == 0 {
		j.found(report.Unlabelled, missing, "no %s", name)
		return nil
	}
	if err := j.ima(name, value); err != nil {
		return err
	}
	switch {
	case j.res.Outcome != report.Valid:
	case j.IgnoreEVM:
		kind := imaevm.Type(value[0])
		j.demandSignature(kind, kind == imaevm.TypeVerity)
	case !j.SigFiles:
		return j.evm()
	}
	return nil
}

// demand judges a file whose labels are right by what else it must have.
func (j *verification) demand() {
	if j.res.EVM == nil {
		j.withoutEVM.Add(1)
	} else {
		j.withEVM.Add(1)
	}
	kind := imaevm.Type(j.res.IMA[0])
	covered := j.Keys != nil && len(j.res.EVM) > 0 && imaevm.Type(j.res.EVM[0]) == imaevm.TypePortable
	if j.NeedEVM && j.res.EVM == nil {
		j.found(report.Unlabelled, reason.NoEVM, "no %s", imaevm.AttrEVM)
		return
	}
	j.demandSignature(kind, covered)
}

// demandSignature refuses what is none, where one is required.
func (j *verification) demandSignature(kind imaevm.Type, isCovered bool) {
	if j.NeedSignature && kind != imaevm.TypeSignature && !isCovered {
		j.found(report.Invalid, reason.NeedsSignature, "a label of type %s, and a signature is required", kind)
	}
}

// ima judges an IMA label, which stands in what name says.
func (j *verification) ima(name string, value []byte) error {
	label, err := imaevm.Parse(value)
	if trailing, ok := errors.AsType[*imaevm.TrailingError](err); ok { // the kernel takes such a label
		label, err = trailing.Label, nil
		j.res.Warn(reason.TrailingBytes, fmt.Sprintf("%s has %d bytes behind its digest", name, trailing.Extra))
	}
	if err != nil {
		j.found(report.Invalid, reason.Malformed, "malformed %s: %v", name, err)
		return nil
	}
	switch label := label.(type) {
	case imaevm.HashLabel:
		return j.compare(label)
	case imaevm.Signature:
		if label.Kind == imaevm.TypePortable {
			break
		}
		return j.signature(label)
	case imaevm.SignatureV1:
		return j.signatureV1(label)
	}
	j.found(report.Invalid, reason.WrongType, "%s holds a label of type %s, which the kernel refuses there", name, label.Type())
	return nil
}

// content computes the digest of the file, or sets the outcome and returns false
// if it cannot be computed.
func (j *verification) content(a hash.Algorithm) (bool, error) {
	digest, n, err := j.reader.Content(j.ctx, a, j.file, j.file.Meta().Size)
	j.res.Bytes += n
	j.read = true
	_, short := errors.AsType[*hash.ShortError](err)
	cannot, isCannot := errors.AsType[*hash.NotComputableError](err)
	switch {
	case isCannot:
		j.found(report.Unverifiable, reason.NotComputable, "%v", cannot)
		return false, nil
	case short:
		return false, &tree.ChangedError{Cause: err}
	case err != nil && j.ctx.Err() == nil:
		return false, fmt.Errorf("reading: %w", err)
	}
	j.res.Digest = digest
	if err != nil {
		return false, err
	}
	known, ok, err := inspect.KnownDigest(j.file)
	if ok && known.Algorithm() == a && known != digest {
		j.found(report.Invalid, reason.WrongDigest, "the content is %s, and the package says %s", digest, known)
		return false, nil
	}
	return err == nil, err
}

// compare checks a hash label.
func (j *verification) compare(label imaevm.HashLabel) error {
	j.res.Class = string(plan.Hash)
	if ok, err := j.content(label.Digest.Algorithm()); !ok {
		return err
	}
	j.valid()
	if j.res.Digest != label.Digest {
		j.found(report.Invalid, reason.WrongDigest, "the content is %s, the label says %s", j.res.Digest, label.Digest)
	}
	return nil
}

// signature checks a signature label.
func (j *verification) signature(label imaevm.Signature) error {
	j.res.Class, j.res.KeyID, j.res.HasKeyID = string(plan.Sign), label.KeyID, true
	if j.Keys == nil {
		j.found(report.Unverifiable, reason.NoKey, "%s by key %s, and no key to check it with", label.Kind, label.KeyID)
		return nil
	}
	covered := j.content
	if label.Kind == imaevm.TypeVerity {
		covered = j.verity
	}
	if ok, err := covered(label.Alg); !ok {
		return err
	}
	j.verdict(sign.Verify(label, j.res.Digest, j.Keys))
	return nil
}

// signatureV1 checks a signature label of version 1 by the digest that it names.
func (j *verification) signatureV1(label imaevm.SignatureV1) error {
	j.res.Class = string(plan.Sign)
	a, ok := label.ContentAlgorithm()
	switch {
	case !ok:
		j.found(report.Unverifiable, reason.Unsupported, "signature of version 1 over a digest of unknown algorithm %d", label.Hash)
		return nil
	case j.Keys == nil:
		j.found(report.Unverifiable, reason.NoKey, "signature of version 1 by key %s, and no key to check it with", label.KeyID)
		return nil
	}
	if ok, err := j.content(a); !ok {
		return err
	}
	j.verdict(sign.Verify(label, j.res.Digest, j.Keys))
	return nil
}

// verity asks the file for the digest that a verity signature covers, or sets
// the outcome and returns false if that cannot be right.
func (j *verification) verity(a hash.Algorithm) (bool, error) {
	digest, ok, err := inspect.VerityDigest(j.file)
	switch {
	case err != nil:
		return false, err
	case !ok:
		j.found(report.Invalid, reason.NoVerity, "verity signature on a file without fs-verity")
		return false, nil
	}
	j.res.Digest = digest
	if digest.Algorithm() != a {
		j.found(report.Invalid, reason.WrongVerity, "%s signature on a file with %s fs-verity", a, digest.Algorithm())
		return false, nil
	}
	return true, nil
}

// verdict turns what sign.Verify says into an outcome.
func (j *verification) verdict(err error) {
	o, c := outcome(err)
	j.res.Outcome, j.res.Code, j.res.Reason = o, c, ""
	if err != nil {
		j.res.Reason = err.Error()
	}
}

func outcome(err error) (report.Outcome, reason.Code) {
	if err == nil {
		return report.Valid, ""
	}
	if _, bad := errors.AsType[*sign.BadSignatureError](err); bad {
		return report.Invalid, reason.BadSignature
	}
	if _, unknown := errors.AsType[*sign.UnknownKeyError](err); unknown {
		return report.Unverifiable, reason.UnknownKey
	}
	if _, ambiguous := errors.AsType[*sign.AmbiguousKeyError](err); ambiguous {
		return report.Unverifiable, reason.AmbiguousKey
	}
	return report.Unverifiable, reason.Unsupported
}
