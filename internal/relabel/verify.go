package relabel

import (
	"context"
	"errors"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/walk"
)

// A Checker compares labels with contents. Its methods are safe for
// concurrent use.
type Checker struct {
	Store attr.Store
}

// Verify is a Job: it recomputes the digest that the file's label claims.
func (c *Checker) Verify(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	res := report.Result{Path: e.Path}
	err := unchanging(e, func() error { return c.try(ctx, w, e, &res) })
	if err != nil {
		res.Outcome, res.Err = report.Failed, err
	}
	return res
}

func (c *Checker) try(ctx context.Context, w *Worker, e *walk.Entry, res *report.Result) error {
	var err error
	if res.IMA, err = get(c.Store, e, imaevm.AttrIMA); err != nil {
		return err
	}
	if res.EVM, err = get(c.Store, e, imaevm.AttrEVM); err != nil {
		return err
	}
	if len(res.IMA) == 0 {
		res.Outcome, res.Reason = report.Unlabelled, "no security.ima"
		return nil
	}
	label, err := imaevm.Parse(res.IMA)
	var trailing *imaevm.TrailingError
	if errors.As(err, &trailing) { // the kernel takes such a label
		label, err = trailing.Label, nil
		res.Warning = fmt.Sprintf("security.ima has %d bytes behind its digest", trailing.Extra)
	}
	if err != nil {
		res.Outcome, res.Reason = report.Invalid, "malformed security.ima: "+err.Error()
		return nil
	}
	switch label := label.(type) {
	case imaevm.HashLabel:
		return c.compare(ctx, w, e, label, res)
	case imaevm.Signature:
		res.Class, res.KeyID, res.HasKeyID = "sign", label.KeyID, true
		res.Outcome, res.Reason = report.Unverifiable, fmt.Sprintf("%s by key %s, and no key to check it with", label.Kind, label.KeyID)
	case imaevm.SignatureV1:
		res.Class = "sign"
		res.Outcome, res.Reason = report.Unverifiable, "signature of version 1, which is not supported"
	default:
		res.Outcome, res.Reason = report.Invalid, fmt.Sprintf("security.ima holds a label of type %s, which the kernel refuses there", label.Type())
	}
	return nil
}

// compare checks a hash label.
func (c *Checker) compare(ctx context.Context, w *Worker, e *walk.Entry, label imaevm.HashLabel, res *report.Result) error {
	res.Class = "hash"
	digest, n, err := w.read(ctx, e, label.Digest.Algorithm())
	res.Bytes += n
	var cannot *hash.NotComputableError
	if errors.As(err, &cannot) {
		res.Outcome, res.Reason = report.Unverifiable, cannot.Error()
		return nil
	}
	if err != nil {
		return err
	}
	res.Digest = digest
	res.Outcome, res.Reason = report.Valid, ""
	if digest != label.Digest {
		res.Outcome = report.Invalid
		res.Reason = fmt.Sprintf("the content is %s, the label says %s", digest, label.Digest)
	}
	return nil
}
