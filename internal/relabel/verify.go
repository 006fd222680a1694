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
	"imaseal/internal/report"
	"imaseal/sign"
	"imaseal/walk"
)

// A Checker compares labels with contents and metadata. Its methods are safe
// for concurrent use.
type Checker struct {
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
func (c *Checker) CountEVM() (with, without int64) {
	return c.withEVM.Load(), c.withoutEVM.Load()
}

// Verify is a Job: it recomputes what the file's labels claim.
func (c *Checker) Verify(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	res := report.Result{Path: e.Path}
	if c.SigFiles && isSigFile(e) {
		res.Outcome, res.Reason = report.Skipped, SigFile
		return res
	}
	err := unchanging(e, func() error { return c.try(ctx, w, e, &res) })
	if err != nil {
		res.Outcome, res.Reason, res.Err = report.Failed, "", err
	}
	return res
}

func (c *Checker) try(ctx context.Context, w *Worker, e *walk.Entry, res *report.Result) error {
	*res = report.Result{Path: res.Path, Bytes: res.Bytes} // an earlier attempt may have found other things
	var err error
	if res.IMA, err = get(c.Store, e, imaevm.AttrIMA); err != nil {
		return err
	}
	if res.EVM, err = get(c.Store, e, imaevm.AttrEVM); err != nil {
		return err
	}
	name, value := imaevm.AttrIMA, res.IMA
	if c.SigFiles {
		name = "detached signature"
		if value, err = readSigFile(e); err != nil && err != errNoSigFile {
			return fmt.Errorf("reading the detached signature: %w", err)
		}
	}
	if len(value) == 0 {
		res.Outcome, res.Reason = report.Unlabelled, "no "+name
		return nil
	}
	if err := c.ima(ctx, w, e, name, value, res); err != nil {
		return err
	}
	if res.Outcome == report.Valid && !c.SigFiles {
		return c.evm(e, res)
	}
	return nil
}

// demand judges a file whose labels are right by what else it must have.
func (c *Checker) demand(res *report.Result) {
	if res.EVM == nil {
		c.withoutEVM.Add(1)
	} else {
		c.withEVM.Add(1)
	}
	kind := imaevm.Type(res.IMA[0])
	covered := c.Keys != nil && len(res.EVM) > 0 && imaevm.Type(res.EVM[0]) == imaevm.TypePortable
	switch {
	case c.NeedEVM && res.EVM == nil:
		res.Outcome, res.Reason = report.Unlabelled, "no "+imaevm.AttrEVM
	case c.NeedSignature && kind != imaevm.TypeSignature && !covered:
		res.Outcome, res.Reason = report.Invalid, fmt.Sprintf("a label of type %s, and a signature is required", kind)
	}
}

// ima judges an IMA label.
func (c *Checker) ima(ctx context.Context, w *Worker, e *walk.Entry, name string, value []byte, res *report.Result) error {
	label, err := imaevm.Parse(value)
	var trailing *imaevm.TrailingError
	if errors.As(err, &trailing) { // the kernel takes such a label
		label, err = trailing.Label, nil
		res.Warning = fmt.Sprintf("%s has %d bytes behind its digest", name, trailing.Extra)
	}
	if err != nil {
		res.Outcome, res.Reason = report.Invalid, "malformed "+name+": "+err.Error()
		return nil
	}
	switch label := label.(type) {
	case imaevm.HashLabel:
		return c.compare(ctx, w, e, label, res)
	case imaevm.Signature:
		if label.Kind == imaevm.TypePortable {
			break
		}
		return c.signature(ctx, w, e, label, res)
	case imaevm.SignatureV1:
		res.Class = "sign"
		res.Outcome, res.Reason = report.Unverifiable, "signature of version 1, which is not supported"
		return nil
	}
	res.Outcome, res.Reason = report.Invalid, fmt.Sprintf("%s holds a label of type %s, which the kernel refuses there", name, label.Type())
	return nil
}

// content computes the digest of the file, and sets the outcome if it cannot
// be computed.
func (c *Checker) content(ctx context.Context, w *Worker, e *walk.Entry, a hash.Algorithm, res *report.Result) (bool, error) {
	digest, n, err := w.read(ctx, e, a)
	res.Bytes += n
	var cannot *hash.NotComputableError
	if errors.As(err, &cannot) {
		res.Outcome, res.Reason = report.Unverifiable, cannot.Error()
		return false, nil
	}
	res.Digest = digest
	return err == nil, err
}

// compare checks a hash label.
func (c *Checker) compare(ctx context.Context, w *Worker, e *walk.Entry, label imaevm.HashLabel, res *report.Result) error {
	res.Class = "hash"
	if ok, err := c.content(ctx, w, e, label.Digest.Algorithm(), res); !ok {
		return err
	}
	res.Outcome, res.Reason = report.Valid, ""
	if res.Digest != label.Digest {
		res.Outcome = report.Invalid
		res.Reason = fmt.Sprintf("the content is %s, the label says %s", res.Digest, label.Digest)
	}
	return nil
}

// signature checks a signature label.
func (c *Checker) signature(ctx context.Context, w *Worker, e *walk.Entry, label imaevm.Signature, res *report.Result) error {
	res.Class, res.KeyID, res.HasKeyID = "sign", label.KeyID, true
	if c.Keys == nil {
		res.Outcome = report.Unverifiable
		res.Reason = fmt.Sprintf("%s by key %s, and no key to check it with", label.Kind, label.KeyID)
		return nil
	}
	if label.Kind == imaevm.TypeVerity {
		if ok, err := verityDigest(e, label.Alg, res); !ok {
			return err
		}
	} else if ok, err := c.content(ctx, w, e, label.Alg, res); !ok {
		return err
	}
	res.Outcome, res.Reason = verdict(sign.Verify(label, res.Digest, c.Keys))
	return nil
}

// verityDigest asks the kernel for the digest that a verity signature covers.
func verityDigest(e *walk.Entry, a hash.Algorithm, res *report.Result) (bool, error) {
	number, sum, err := inode.VerityDigest(e.File)
	if err != nil {
		res.Outcome, res.Reason = report.Invalid, "verity signature on a file without fs-verity"
		return false, nil
	}
	has := map[uint16]hash.Algorithm{1: hash.SHA256, 2: hash.SHA512}[number] // FS_VERITY_HASH_ALG_*
	if res.Digest, err = hash.NewDigest(has, sum); err != nil {
		return false, fmt.Errorf("asking for the fs-verity digest: %w", err)
	}
	if has != a {
		res.Outcome, res.Reason = report.Invalid, fmt.Sprintf("%s signature on a file with %s fs-verity", a, has)
		return false, nil
	}
	return true, nil
}

// verdict turns what sign.Verify says into an outcome.
func verdict(err error) (report.Outcome, string) {
	var bad *sign.BadSignatureError
	switch {
	case err == nil:
		return report.Valid, ""
	case errors.As(err, &bad):
		return report.Invalid, err.Error()
	}
	return report.Unverifiable, err.Error() // unknown or ambiguous key, unsupported form
}

// evm judges security.evm, as far as there is a key for what it holds.
func (c *Checker) evm(e *walk.Entry, res *report.Result) error {
	if c.Keys == nil && c.HMAC == nil || res.EVM == nil {
		c.demand(res)
		return nil
	}
	outcome, reason, err := c.evmVerdict(e, res.IMA, res.EVM)
	if err != nil {
		return fmt.Errorf("checking security.evm: %w", err)
	}
	if outcome != report.Valid {
		res.Outcome, res.Reason = outcome, "security.evm: "+reason
		return nil
	}
	c.demand(res)
	return nil
}

func (c *Checker) evmVerdict(e *walk.Entry, ima, evm []byte) (report.Outcome, string, error) {
	label, err := imaevm.Parse(evm)
	if err != nil {
		return report.Invalid, err.Error(), nil
	}
	kind := label.Type()
	switch label.(type) {
	case imaevm.HMAC:
		if c.HMAC == nil {
			return report.Unverifiable, "HMAC, and no HMAC key to check it with", nil
		}
	case imaevm.Signature:
		if kind == imaevm.TypeVerity {
			return report.Invalid, "a label of type " + kind.String() + ", which the kernel refuses there", nil
		}
		if c.Keys == nil {
			return report.Unverifiable, kind.String() + ", and no key to check it with", nil
		}
	default:
		return report.Invalid, "a label of type " + kind.String() + ", which the kernel refuses there", nil
	}
	input, err := c.View.input(e, kind, ima)
	if err != nil {
		return "", "", err
	}
	if mac, ok := label.(imaevm.HMAC); ok {
		if c.HMAC.Sum(input) != mac {
			return report.Invalid, "the HMAC does not match", nil
		}
		return report.Valid, "", nil
	}
	s := label.(imaevm.Signature)
	d, err := hash.Sum(s.Alg, input)
	if err != nil {
		return report.Unverifiable, err.Error(), nil
	}
	outcome, reason := verdict(sign.Verify(s, d, c.Keys))
	return outcome, reason, nil
}
