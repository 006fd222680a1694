// Package apply gives files labels that were made elsewhere: those of a file of
// labels (package labelfile), which says what each was made for. A label goes only
// to a file that is still that. No key is needed.
package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// An Applier is a run.Job that writes the labels of an index. It is not changed once
// it is used, and safe for concurrent use.
type Applier struct {
	Index *labelfile.Index
	// Keys verify each signature before it is written; nil checks none.
	Keys sign.Verifiers
	// Trust, Force, ReplaceSignatures and Stale are as those of a Labeller.
	Trust                    sign.Verifiers
	Force, ReplaceSignatures bool
	Stale                    label.Stale
	// Vendor says that the labels are of files as they were installed: one that
	// they do not fit any more is left out, and no failure.
	Vendor bool
	// At returns the path by which there are labels for a file, and false if
	// there can be none; nil is that relative to its tree.
	At func(tree.File) (string, bool)
}

// at returns the path by which there are labels for a file; empty for none.
func (a *Applier) at(f tree.File) string {
	if a.At == nil {
		return f.Rel()
	}
	path, _ := a.At(f)
	return path
}

// none is the reason to leave out a file without a label.
func (a *Applier) none() reason.Code {
	if a.Vendor {
		return reason.NoVendorLabel
	}
	return reason.NotNamed
}

// Errors about labels and the files that they are for.
var (
	// ErrMissing says that there is no file for a label.
	ErrMissing = errors.New("there is a label for it, and no such file")
	// ErrSeveral says that several records fit a file and have other labels.
	ErrSeveral = errors.New("there are several labels for it, which are not the same")
	// ErrWrongLabel says that a label is not that of what its record says.
	ErrWrongLabel = errors.New("its label is not one of its content")
)

// A ContentError says that a file is not the one that its label was made for.
type ContentError struct{ Is, Was hash.Digest }

func (e *ContentError) Error() string {
	if e.Is.IsZero() {
		return fmt.Sprintf("it has no fs-verity digest, and the label was made for %s", e.Was)
	}
	return fmt.Sprintf("the content is %s, and the label was made for %s", e.Is, e.Was)
}

// A MetaError says that EVM would not find what a label was made for.
type MetaError struct{ What, Is, Was string }

func (e *MetaError) Error() string {
	return fmt.Sprintf("%s is %s, and the EVM label was made for %s", e.What, e.Is, e.Was)
}

// A SignatureError says that a signature is not one of a key that was given.
type SignatureError struct {
	Attr string
	Err  error
}

func (e *SignatureError) Error() string { return e.Attr + " in the file of labels: " + e.Err.Error() }
func (e *SignatureError) Unwrap() error { return e.Err }

// Leave returns a reason to leave out a name that there is no label for, so that
// the file can be labelled under another one.
func (a *Applier) Leave(f tree.File) reason.Code {
	if a.Index.Has(a.at(f)) {
		return ""
	}
	return a.none()
}

// Decide implements run.Job.
func (a *Applier) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	records, err := a.Index.Find(a.at(f))
	if err != nil {
		return run.Decision{}, err
	}
	if len(records) == 0 {
		return run.Skip(a.none()), nil
	}
	j := &applying{Applier: a, ctx: context.WithoutCancel(ctx), reader: r, file: f}
	if f.Meta().Size >= label.FinishSize {
		j.ctx = ctx
	}
	j.d.Content = true
	if a.Vendor {
		return j.vendor(records)
	}
	err = j.decide(records)
	return j.d, err
}

// An applying is the work on one file.
type applying struct {
	*Applier
	ctx     context.Context
	reader  *hash.Reader
	file    tree.File
	digests []hash.Digest // of the content
	d       run.Decision
}

func (j *applying) decide(records []labelfile.Record) error {
	r, err := j.choose(records)
	if err != nil {
		return err
	}
	res := &j.d.Result
	res.Class, res.Digest = r.Class, r.Digest
	if err := j.check(r); err != nil {
		return err
	}
	var changes []tree.Change
	for _, l := range r.Values() {
		old, err := tree.Value(j.file, l.Name)
		if err != nil {
			return err
		}
		changes = append(changes, tree.Change{Attr: l.Name, Old: old, New: l.Value})
	}
	kept, err := j.keeps(r, changes)
	if err != nil {
		return err
	}
	if kept != "" {
		res.Outcome, res.Code, res.Reason = report.Kept, kept, kept.Words()
		res.IMA, _ = tree.Value(j.file, imaevm.AttrIMA)
		return nil
	}
	res.Outcome, res.IMA, res.EVM = report.Unchanged, r.IMA, r.EVMLabel
	if s, err := imaevm.ParseSignature(r.IMA); err == nil {
		res.KeyID, res.HasKeyID = s.KeyID, true
	}
	for _, c := range changes {
		if tree.Same(c.Old, c.New) && !j.Force {
			continue
		}
		j.warnReplaced(c)
		j.d.Changes = append(j.d.Changes, c)
	}
	if len(j.d.Changes) == 0 {
		return nil
	}
	res.Outcome = report.Labelled
	return j.stale(r)
}

// warnReplaced says that a signature of another key gives way.
func (j *applying) warnReplaced(c tree.Change) {
	was, err := imaevm.ParseSignature(c.Old)
	is, isErr := imaevm.ParseSignature(c.New)
	if err == nil && (isErr != nil || is.KeyID != was.KeyID) {
		j.d.Result.Warn(reason.ReplacedSignature, fmt.Sprintf("replaces a signature in %s by key %s", c.Attr, was.KeyID))
	}
}

// stale returns an error if the file has an EVM label that will not fit any more,
// and gets no other.
func (j *applying) stale(r labelfile.Record) error {
	if r.EVM != nil {
		return nil
	}
	evm, err := tree.Value(j.file, imaevm.AttrEVM)
	if err != nil || len(evm) == 0 {
		return err
	}
	if j.Stale == label.RenewedByKernel && imaevm.Type(evm[0]) == imaevm.TypeHMAC {
		return nil
	}
	return label.ErrStaleEVM
}

// keeps returns why the file keeps what it has, nothing if it does not. Then
// nothing is written to it: an EVM label would be that of another IMA label.
func (j *applying) keeps(r labelfile.Record, changes []tree.Change) (reason.Code, error) {
	rewrite := label.Labeller{Force: j.Force, ReplaceSignatures: j.ReplaceSignatures}
	same := true // so far, and so the EVM label covers what it will
	for _, c := range changes {
		if tree.Same(c.Old, c.New) {
			continue
		}
		var why reason.Code
		var err error
		switch c.Attr {
		case imaevm.AttrIMA:
			class := plan.Sign
			if _, err := imaevm.ParseHash(c.New); err == nil {
				class = plan.Hash
			}
			var keep bool
			if keep, err = rewrite.Keeps(class, c.Old); keep {
				why = reason.Signature
			} else if err == nil {
				why, err = j.trusts(c, j.digest)
			}
		case imaevm.AttrEVM:
			why, err = j.keepsEVM(r, c, same)
		}
		if err != nil || why != "" {
			return why, err
		}
		same = false
	}
	return "", nil
}

// keepsEVM is keeps of the EVM label, where the others are to stay as they are.
func (j *applying) keepsEVM(r labelfile.Record, c tree.Change, same bool) (reason.Code, error) {
	if len(c.Old) == 0 {
		return "", nil
	}
	switch t := imaevm.Type(c.Old[0]); t {
	case imaevm.TypeHMAC:
		return "", nil
	case imaevm.TypeSignature, imaevm.TypePortable:
		if !same {
			return "", nil
		}
		if r.EVM.Kind == imaevm.TypeHMAC && !j.ReplaceSignatures && !j.Force {
			return reason.EVMSignature, nil
		}
		if r.EVM.Kind != t {
			return "", nil
		}
		return j.trusts(c, func(a hash.Algorithm) (hash.Digest, error) { return covered(r, a) })
	default:
		if j.Force {
			return "", nil
		}
		return "", fmt.Errorf("security.evm %w: %s", label.ErrUnknownLabel, t)
	}
}

// trusts tells whether an old label is a valid signature of another key that is
// trusted.
func (j *applying) trusts(c tree.Change, digest func(hash.Algorithm) (hash.Digest, error)) (reason.Code, error) {
	was, err := imaevm.ParseSignature(c.Old)
	if err != nil || j.Trust == nil || j.Force || j.ReplaceSignatures || !was.Alg.Computable() || was.Kind == imaevm.TypeVerity {
		return "", nil
	}
	if is, err := imaevm.ParseSignature(c.New); err == nil && is.KeyID == was.KeyID {
		return "", nil
	}
	d, err := digest(was.Alg)
	if err == nil && sign.Verify(was, d, j.Trust) == nil {
		return reason.TrustedKey, nil
	}
	return "", err
}

// digest returns the digest of the content, which is read once for each algorithm.
func (j *applying) digest(a hash.Algorithm) (hash.Digest, error) {
	for _, d := range j.digests {
		if d.Algorithm() == a {
			return d, nil
		}
	}
	d, n, err := j.reader.Content(j.ctx, a, j.file, j.file.Meta().Size)
	j.d.Result.Bytes += n
	if err != nil {
		return d, label.ReadError(j.ctx, err)
	}
	j.digests = append(j.digests, d)
	return d, nil
}

// covered returns the digest of what EVM covers.
func covered(r labelfile.Record, a hash.Algorithm) (hash.Digest, error) {
	input, err := r.EVM.Input(r.IMA)
	if err != nil {
		return hash.Digest{}, err
	}
	return hash.Sum(a, input)
}

// choose returns the record that was made for the file as it is.
func (j *applying) choose(records []labelfile.Record) (labelfile.Record, error) {
	var chosen *labelfile.Record
	var why error
	for i := range records {
		r := &records[i]
		mismatch, err := j.mismatch(r)
		switch {
		case err != nil:
			return *r, err
		case mismatch != nil:
			if why == nil || !isMeta(why) && isMeta(mismatch) { // which is closer
				why = mismatch
			}
		case chosen == nil:
			chosen = r
		case !bytes.Equal(r.IMA, chosen.IMA) || !bytes.Equal(r.EVMLabel, chosen.EVMLabel) || !bytes.Equal(r.SELinux, chosen.SELinux):
			return *r, ErrSeveral
		}
	}
	if chosen == nil {
		return labelfile.Record{}, why
	}
	return *chosen, nil
}

func isMeta(err error) bool {
	_, ok := errors.AsType[*MetaError](err)
	return ok
}

// mismatch returns in what the file is another than the record's; err is about
// reading it.
func (j *applying) mismatch(r *labelfile.Record) (mismatch, err error) {
	is, err := j.recorded(r)
	if err != nil {
		return nil, err
	}
	if is != r.Digest {
		return &ContentError{Is: is, Was: r.Digest}, nil
	}
	if r.EVM == nil {
		return nil, nil
	}
	j.d.Meta = true
	meta, err := compare(j.file, r)
	if meta == nil {
		return nil, err // not a nil pointer that is an error
	}
	return meta, err
}

// recorded returns the digest of the file that the record is about.
func (j *applying) recorded(r *labelfile.Record) (hash.Digest, error) {
	if !r.Verity {
		return j.digest(r.Digest.Algorithm())
	}
	d, _, err := inspect.VerityDigest(j.file)
	return d, err
}
