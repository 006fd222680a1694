package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/sign"
	"imaseal/walk"
)

// A Labeller writes labels. Its methods are safe for concurrent use.
type Labeller struct {
	Algo hash.Algorithm
	// Rules decide what a file should carry.
	Rules plan.Rules
	// Policy selects files, and may demand more than Rules; nil for neither.
	Policy *Policy
	// Force writes labels that are there and right, and replaces labels that
	// are of no known type.
	Force bool
	// ReplaceSignatures replaces signatures by hashes.
	ReplaceSignatures bool
	// Key makes the signatures of files of class sign; nil if there are none.
	Key *SigningKey
	// EVM makes security.evm; nil for none.
	EVM *EVMLabels
	// SigFiles also writes signatures to a file beside each file.
	SigFiles bool
	// Writer does the writing; its Store is read, too.
	Writer Writer
}

// A SigningKey makes signatures and recognises its own.
type SigningKey struct {
	Signer sign.Signer
	Own    sign.Verifiers // knows the key itself
	// Version of the signatures, 2 or 3.
	Version uint8
}

// Errors about a label in place that is not replaced unasked.
var (
	ErrUnknownLabel    = errors.New("has a label of unknown type, which is left alone")
	ErrBrokenSignature = errors.New("has a malformed signature, which is left alone")
)

// sigFileReason is the reason of files with signatures of other files.
const sigFileReason = "detached signature"

// Label is a Job: it gives the file the labels that it should carry.
func (l *Labeller) Label(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	class, err := l.class(e)
	f := &labelling{Labeller: l, worker: w, entry: e, class: class, res: report.Result{Path: e.Path}}
	switch res := &f.res; {
	case err == errNotAppraised:
		res.Outcome, res.Code, res.Reason = report.Skipped, reason.NotAppraised, notAppraised
	case err != nil:
		res.Outcome, res.Err = report.Failed, err
	case class == plan.Skip:
		res.Outcome, res.Code, res.Reason = report.Skipped, reason.ByRule, reason.ByRule.Words()
	case l.SigFiles && isSigFile(e):
		res.Outcome, res.Code, res.Reason = report.Skipped, reason.SignatureFile, sigFileReason
	default:
		res.Class = string(class)
		f.label(ctx)
	}
	return f.res
}

// A labelling is the work on one file.
type labelling struct {
	*Labeller
	worker *Worker
	entry  *walk.Entry
	class  plan.Class
	res    report.Result
	change undo.File // what was changed so far, by earlier attempts too
}

// label makes attempts, and sees to what a failed one leaves.
func (f *labelling) label(ctx context.Context) {
	err := unchanging(f.entry, func() error { return f.try(ctx) })
	if err == nil {
		return
	}
	if _, half := errors.AsType[*halfError](err); !half {
		if backErr := f.Writer.takeBack(f.entry, f.change); backErr != nil {
			err = fmt.Errorf("%v; %w", err, backErr) // to be reported even where the first is not
		}
	}
	f.res.Outcome, f.res.Reason, f.res.Err = report.Failed, "", err
	// What could be written, and could not be put back, is there.
	f.res.IMA, _ = get(f.Writer.Store, f.entry, imaevm.AttrIMA)
	f.res.EVM, _ = get(f.Writer.Store, f.entry, imaevm.AttrEVM)
}

// Leave is a walk.Config.Leave: it leaves out the names that a rule skips, so
// that the file can be labelled under another one.
func (l *Labeller) Leave(e *walk.Entry) reason.Code {
	if class, err := l.byRules(e); err == nil && class == plan.Skip {
		return reason.ByRule
	}
	return ""
}

// byRules returns the class that the rules decide.
func (l *Labeller) byRules(e *walk.Entry) (plan.Class, error) {
	rel := e.Rel
	if e.Named() { // there is no tree but that of its name
		rel = strings.TrimLeft(path.Clean(e.Path), "/")
	}
	return l.Rules.Class(rel, func() (bool, error) { return isExecutable(e) })
}

// class returns the class of a file, as rules and policy decide.
func (l *Labeller) class(e *walk.Entry) (plan.Class, error) {
	class, err := l.byRules(e)
	if err != nil || class == plan.Skip || l.Policy == nil {
		return class, err
	}
	return l.byPolicy(e, class)
}

// isExecutable reports whether the file has an x bit or is ELF.
func isExecutable(e *walk.Entry) (bool, error) {
	if e.Stat.Mode&0o111 != 0 {
		return true, nil
	}
	const magic = "\x7fELF"
	if e.Stat.Size < int64(len(magic)) {
		return false, nil
	}
	var b [len(magic)]byte
	if _, err := e.File.ReadAt(b[:], 0); err != nil && err != io.EOF { // it shrinks
		return false, fmt.Errorf("reading: %w", pathless(err))
	}
	return string(b[:]) == magic, nil
}

// try is one attempt.
func (f *labelling) try(ctx context.Context) error {
	res := &f.res
	old, err := get(f.Writer.Store, f.entry, imaevm.AttrIMA)
	if err != nil {
		return err
	}
	res.IMA = old
	ima, err := f.wantIMA(ctx)
	if err != nil {
		return err
	}
	var changes []undo.Change
	if !bytes.Equal(ima, old) || old == nil || f.Force && res.Outcome != report.Kept {
		changes = append(changes, undo.Change{Attr: imaevm.AttrIMA, Old: old, New: ima})
	}
	var evm []byte
	if f.EVM != nil {
		if res.EVM, err = get(f.Writer.Store, f.entry, imaevm.AttrEVM); err != nil {
			return err
		}
		if evm, err = f.wantEVM(ctx, ima, len(changes) > 0); err != nil {
			return err
		}
		if !bytes.Equal(evm, res.EVM) || evm != nil && f.Force && res.Outcome != report.Kept {
			changes = append(changes, undo.Change{Attr: imaevm.AttrEVM, Old: res.EVM, New: evm})
		}
	}
	if len(changes) > 0 {
		if err := f.Writer.write(f.worker, f.entry, &f.change, changes...); err != nil {
			return err
		}
		res.IMA, res.EVM = ima, evm
	}
	wrote, err := f.sigFile(ima)
	if len(f.change.Changes) > 0 { // now or in an attempt before
		f.warn()
		wrote = true
	}
	if wrote {
		res.Outcome, res.Reason = report.Labelled, ""
	}
	return err
}

// sigFile writes the label of a signed file to the file beside it, if that is
// asked for, and reports whether it was another.
func (f *labelling) sigFile(label []byte) (bool, error) {
	if !f.SigFiles || f.class != plan.Sign {
		return false, nil
	}
	wrote, err := f.Writer.sigFile(f.worker, f.entry, label, f.Force)
	if err != nil {
		return false, fmt.Errorf("writing the detached signature: %w", err)
	}
	return wrote, nil
}

// warn says what the user should know of a file that was labelled.
func (f *labelling) warn() {
	var warnings []string
	newIMA := slices.ContainsFunc(f.change.Changes, func(c undo.Change) bool {
		return c.Attr == imaevm.AttrIMA && !bytes.Equal(c.Old, c.New)
	})
	if newIMA && (f.EVM == nil || f.EVM.Kinds[f.class] == 0) {
		evm, err := get(f.Writer.Store, f.entry, imaevm.AttrEVM)
		if err == nil && len(evm) > 0 {
			f.res.EVM = evm
			warnings = append(warnings, "security.evm was made for the old label")
		}
	}
	if f.worker.hasWriter(f.entry) {
		warnings = append(warnings, "open for writing: the label is stale as soon as it is written to")
	}
	f.res.Warnings = nil
	for _, text := range warnings {
		f.res.Warn("", text)
	}
}

// wantIMA returns the label that the file should carry instead of the one in the
// result, the same if that is right or better, and sets the outcome for a file
// that will not be written.
func (f *labelling) wantIMA(ctx context.Context) ([]byte, error) {
	res, old := &f.res, f.res.IMA
	if keep, err := f.keeps(f.class, old); keep || err != nil {
		res.Outcome, res.Reason = report.Kept, "signature"
		if s, err := imaevm.ParseSignature(old); err == nil {
			res.KeyID, res.HasKeyID = s.KeyID, true
		}
		return old, err
	}
	reading := ctx
	if f.entry.Stat.Size < finishSize {
		reading = context.WithoutCancel(ctx)
	}
	digest, n, err := f.worker.read(reading, f.entry, f.Algo)
	res.Bytes += n
	if err != nil {
		return nil, err
	}
	res.Digest = digest
	res.Outcome = report.Unchanged
	if f.class == plan.Sign {
		res.KeyID, res.HasKeyID = f.Key.Signer.KeyID(), true
		return f.Key.label(ctx, imaevm.TypeSignature, digest, old, f.Force)
	}
	if label, err := imaevm.ParseHash(old); err == nil && label.Digest == digest && !f.Force {
		return old, nil
	}
	return imaevm.NewHash(digest).AppendBinary(nil)
}

// label returns the label over d: the old one if it is by the same key, of the
// same form, and valid.
func (k *SigningKey) label(ctx context.Context, kind imaevm.Type, d hash.Digest, old []byte, force bool) ([]byte, error) {
	if k.made(kind, d, old) && !force {
		return old, nil
	}
	label, err := sign.Label(ctx, k.Signer, kind, k.Version, d)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return label.AppendBinary(nil)
}

// made reports whether the key made the label over d.
func (k *SigningKey) made(kind imaevm.Type, d hash.Digest, label []byte) bool {
	s, err := imaevm.ParseSignature(label)
	return err == nil && s.Kind == kind && s.Version == k.Version && s.Alg == d.Algorithm() &&
		s.KeyID == k.Signer.KeyID() && sign.Verify(s, d, k.Own) == nil
}

// keeps reports whether the label in place is one that a file of the class
// keeps. What the program does not know it neither keeps nor replaces.
func (l *Labeller) keeps(class plan.Class, old []byte) (bool, error) {
	if len(old) == 0 {
		return false, nil
	}
	switch t := imaevm.Type(old[0]); t {
	case imaevm.TypeHash, imaevm.TypeHashLegacy:
		return false, nil
	case imaevm.TypeSignature, imaevm.TypeVerity:
		if l.ReplaceSignatures || class == plan.Sign {
			return false, nil
		}
		if _, err := imaevm.Parse(old); err != nil {
			return false, fmt.Errorf("%w: %w", ErrBrokenSignature, err)
		}
		return true, nil
	default:
		if l.Force {
			return false, nil
		}
		return false, fmt.Errorf("%w: %s", ErrUnknownLabel, t)
	}
}

// get reads a label: nil for none, an error that says so for a file system
// that cannot have any.
func get(s attr.Store, e *walk.Entry, name string) ([]byte, error) {
	value, err := s.Get(e.File, name)
	if err == attr.ErrNotSet {
		return nil, nil
	}
	if value == nil && err == nil {
		value = []byte{} // an empty attribute is one
	}
	return value, err
}
