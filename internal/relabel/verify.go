package relabel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/sign"
	"imaseal/walk"
)

// A Verifier compares labels with contents and metadata. Its methods are safe
// for concurrent use.
type Verifier struct {
	Store attr.Store
	// Keys check signatures; nil for none.
	Keys sign.Verifiers
	// HMAC checks EVM HMACs; nil for none.
	HMAC *imaevm.HMACKey
	// View is what EVM covers; needed with Keys or HMAC.
	View *EVMView
	// SigFiles checks the signature in the file beside each file instead of
	// security.ima.
	SigFiles bool
	// NeedSignature refuses hashes as appraise_type=imasig does: but for those
	// that a portable EVM signature covers. NeedEVM refuses files without
	// security.evm, as a kernel does once EVM is active.
	NeedSignature, NeedEVM bool

	withEVM, withoutEVM atomic.Int64
}

// CountEVM returns how many files with a valid security.ima have a security.evm,
// and how many have none.
func (v *Verifier) CountEVM() (with, without int64) {
	return v.withEVM.Load(), v.withoutEVM.Load()
}

// Verify is a Job: it recomputes what the file's labels claim.
func (v *Verifier) Verify(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	f := &verification{Verifier: v, worker: w, entry: e, res: report.Result{Path: e.Path}}
	if v.SigFiles && isSigFile(e) {
		f.res.Outcome, f.res.Code, f.res.Reason = report.Skipped, "detached-signature", sigFileReason
		return f.res
	}
	err := unchanging(e, func() error { return f.try(ctx) })
	if err != nil {
		f.res.Outcome, f.res.Reason, f.res.Err = report.Failed, "", err
	}
	return f.res
}

// A verification is the work on one file.
type verification struct {
	*Verifier
	worker *Worker
	entry  *walk.Entry
	res    report.Result
}

// found sets what became of the file.
func (f *verification) found(o report.Outcome, reason string) {
	f.res.Outcome, f.res.Reason = o, reason
}

// try is one attempt.
func (f *verification) try(ctx context.Context) error {
	res := &f.res
	*res = report.Result{Path: res.Path, Bytes: res.Bytes} // an earlier attempt may have found other things
	var err error
	if res.IMA, err = get(f.Store, f.entry, imaevm.AttrIMA); err != nil {
		return err
	}
	if res.EVM, err = get(f.Store, f.entry, imaevm.AttrEVM); err != nil {
		return err
	}
	name, value := imaevm.AttrIMA, res.IMA
	if f.SigFiles {
		name = "detached signature"
		if value, err = readSigFile(f.entry); err != nil && err != errNoSigFile {
			return fmt.Errorf("reading the detached signature: %w", err)
		}
	}
	if len(value) == 0 {
		f.found(report.Unlabelled, "no "+name)
		return nil
	}
	if err := f.ima(ctx, name, value); err != nil {
		return err
	}
	if res.Outcome == report.Valid && !f.SigFiles {
		return f.evm()
	}
	return nil
}

// demand judges a file whose labels are right by what else it must have.
func (f *verification) demand() {
	res := &f.res
	if res.EVM == nil {
		f.withoutEVM.Add(1)
	} else {
		f.withEVM.Add(1)
	}
	kind := imaevm.Type(res.IMA[0])
	covered := f.Keys != nil && len(res.EVM) > 0 && imaevm.Type(res.EVM[0]) == imaevm.TypePortable
	switch {
	case f.NeedEVM && res.EVM == nil:
		f.found(report.Unlabelled, "no "+imaevm.AttrEVM)
	case f.NeedSignature && kind != imaevm.TypeSignature && !covered:
		f.found(report.Invalid, fmt.Sprintf("a label of type %s, and a signature is required", kind))
	}
}

// ima judges an IMA label, which stands in what name says.
func (f *verification) ima(ctx context.Context, name string, value []byte) error {
	label, err := imaevm.Parse(value)
	if trailing, ok := errors.AsType[*imaevm.TrailingError](err); ok { // the kernel takes such a label
		label, err = trailing.Label, nil
		f.res.Warn("", fmt.Sprintf("%s has %d bytes behind its digest", name, trailing.Extra))
	}
	if err != nil {
		f.found(report.Invalid, "malformed "+name+": "+err.Error())
		return nil
	}
	switch label := label.(type) {
	case imaevm.HashLabel:
		return f.compare(ctx, label)
	case imaevm.Signature:
		if label.Kind == imaevm.TypePortable {
			break
		}
		return f.signature(ctx, label)
	case imaevm.SignatureV1:
		f.res.Class = string(plan.Sign)
		f.found(report.Unverifiable, "signature of version 1, which is not supported")
		return nil
	}
	f.found(report.Invalid, fmt.Sprintf("%s holds a label of type %s, which the kernel refuses there", name, label.Type()))
	return nil
}

// content computes the digest of the file, or sets the outcome and returns false
// if it cannot be computed.
func (f *verification) content(ctx context.Context, a hash.Algorithm) (bool, error) {
	digest, n, err := f.worker.read(ctx, f.entry, a)
	f.res.Bytes += n
	if cannot, ok := errors.AsType[*hash.NotComputableError](err); ok {
		f.found(report.Unverifiable, cannot.Error())
		return false, nil
	}
	f.res.Digest = digest
	return err == nil, err
}

// compare checks a hash label.
func (f *verification) compare(ctx context.Context, label imaevm.HashLabel) error {
	f.res.Class = string(plan.Hash)
	if ok, err := f.content(ctx, label.Digest.Algorithm()); !ok {
		return err
	}
	f.found(report.Valid, "")
	if f.res.Digest != label.Digest {
		f.found(report.Invalid, fmt.Sprintf("the content is %s, the label says %s", f.res.Digest, label.Digest))
	}
	return nil
}

// signature checks a signature label.
func (f *verification) signature(ctx context.Context, label imaevm.Signature) error {
	f.res.Class, f.res.KeyID, f.res.HasKeyID = string(plan.Sign), label.KeyID, true
	if f.Keys == nil {
		f.found(report.Unverifiable, fmt.Sprintf("%s by key %s, and no key to check it with", label.Kind, label.KeyID))
		return nil
	}
	covered := f.content
	if label.Kind == imaevm.TypeVerity {
		covered = f.verity
	}
	if ok, err := covered(ctx, label.Alg); !ok {
		return err
	}
	f.found(verdict(sign.Verify(label, f.res.Digest, f.Keys)))
	return nil
}

// verity asks the kernel for the digest that a verity signature covers, or sets
// the outcome and returns false if that cannot be right.
func (f *verification) verity(_ context.Context, a hash.Algorithm) (bool, error) {
	digest, ok, err := verityDigest(f.entry)
	switch {
	case err != nil:
		return false, err
	case !ok:
		f.found(report.Invalid, "verity signature on a file without fs-verity")
		return false, nil
	}
	f.res.Digest = digest
	if digest.Algorithm() != a {
		f.found(report.Invalid, fmt.Sprintf("%s signature on a file with %s fs-verity", a, digest.Algorithm()))
		return false, nil
	}
	return true, nil
}

// verityDigest returns the fs-verity digest of a file, and false if it has none.
func verityDigest(e *walk.Entry) (hash.Digest, bool, error) {
	number, sum, err := inode.VerityDigest(e.File)
	if err != nil {
		return hash.Digest{}, false, nil
	}
	d, err := hash.NewDigest(verityAlgorithms[number], sum)
	if err != nil {
		return hash.Digest{}, true, fmt.Errorf("asking for the fs-verity digest: %w", err)
	}
	return d, true, nil
}

// verityAlgorithms are the numbers of fs-verity. Kernel: FS_VERITY_HASH_ALG_* in
// include/uapi/linux/fsverity.h.
var verityAlgorithms = map[uint16]hash.Algorithm{1: hash.SHA256, 2: hash.SHA512}

// verdict turns what sign.Verify says into an outcome.
func verdict(err error) (report.Outcome, string) {
	_, bad := errors.AsType[*sign.BadSignatureError](err)
	switch {
	case err == nil:
		return report.Valid, ""
	case bad:
		return report.Invalid, err.Error()
	}
	return report.Unverifiable, err.Error() // unknown or ambiguous key, unsupported form
}

// evm judges security.evm, as far as there is a key for what it holds.
func (f *verification) evm() error {
	if f.Keys == nil && f.HMAC == nil || f.res.EVM == nil {
		f.demand()
		return nil
	}
	outcome, reason, err := f.evmVerdict(f.entry, f.res.IMA, f.res.EVM)
	if err != nil {
		return fmt.Errorf("checking security.evm: %w", err)
	}
	if outcome != report.Valid {
		f.found(outcome, "security.evm: "+reason)
		return nil
	}
	f.demand()
	return nil
}

// evmVerdict judges a label in security.evm, for a file whose security.ima is ima.
func (v *Verifier) evmVerdict(e *walk.Entry, ima, evm []byte) (report.Outcome, string, error) {
	label, err := imaevm.Parse(evm)
	if err != nil {
		return report.Invalid, err.Error(), nil
	}
	kind := label.Type()
	switch label.(type) {
	case imaevm.HMAC:
		if v.HMAC == nil {
			return report.Unverifiable, "HMAC, and no HMAC key to check it with", nil
		}
	case imaevm.Signature:
		if kind == imaevm.TypeVerity {
			return report.Invalid, "a label of type " + kind.String() + ", which the kernel refuses there", nil
		}
		if v.Keys == nil {
			return report.Unverifiable, kind.String() + ", and no key to check it with", nil
		}
	default:
		return report.Invalid, "a label of type " + kind.String() + ", which the kernel refuses there", nil
	}
	input, err := v.View.input(e, kind, ima)
	if err != nil {
		return "", "", err
	}
	if mac, ok := label.(imaevm.HMAC); ok {
		if v.HMAC.Sum(input) != mac {
			return report.Invalid, "the HMAC does not match", nil
		}
		return report.Valid, "", nil
	}
	s := label.(imaevm.Signature)
	d, err := hash.Sum(s.Alg, input)
	if err != nil {
		return report.Unverifiable, err.Error(), nil
	}
	outcome, reason := verdict(sign.Verify(s, d, v.Keys))
	return outcome, reason, nil
}
