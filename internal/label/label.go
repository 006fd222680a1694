// Package label decides which labels a file should carry. It reads a file and
// returns changes; it writes nothing.
//
// A file's class comes from rules ([plan.Rules]) and, where one is given, from a
// policy, which may demand more. What is there and right is never replaced, and
// what is better than what would be written is kept: see [Labeller.Decide].
package label

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/sigfile"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// FinishSize is the size up to which a file in hand is read to its end when the
// run is interrupted: about a second's reading. Larger ones are left as they were.
const FinishSize = 1 << 30

// A Labeller is a run.Job that gives files the labels they should carry. It is
// not changed once it is used, and safe for concurrent use.
type Labeller struct {
	Algo hash.Algorithm
	// Rules decide what a file should carry.
	Rules plan.Rules
	// Policy selects files, and may demand more than Rules; nil for neither.
	Policy *Policy
	// Force writes labels that are there and right, and replaces labels that
	// are of no known type.
	Force bool
	// ReplaceSignatures replaces signatures by hashes, and valid ones of other
	// keys by those of Key.
	ReplaceSignatures bool
	// Key makes the signatures of files of class sign; nil if there are none.
	Key *Key
	// Trust are the keys whose valid signatures are as good as those of Key;
	// nil for none.
	Trust sign.Verifiers
	// EVM makes security.evm; nil for none.
	EVM *EVM
	// OnlyEVM leaves security.ima as it is, whatever it is.
	OnlyEVM bool
	// Contexts gives files their security.selinux first; nil for none.
	Contexts Contexts
	// Stale says what becomes of files that have an EVM label which a new IMA
	// label would make wrong, and get no other.
	Stale Stale
	// SigFiles also writes signatures to a file beside each file.
	SigFiles bool
	// Digests has the digest of the content in the result of every file, also of
	// one whose label is kept whatever the content is.
	Digests bool
}

// Stale says what becomes of files whose EVM label would be made wrong.
type Stale uint8

// What becomes of them.
const (
	// RefuseStale fails them.
	RefuseStale Stale = iota
	// RenewedByKernel is for a kernel with the HMAC key: it makes HMACs anew by
	// itself when security.ima is written (evm_inode_post_setxattr()), and of
	// signatures it lets nobody break one.
	RenewedByKernel
	// LeaveStale labels them all the same, and warns.
	LeaveStale
)

// A Key makes signatures and recognises its own.
type Key struct {
	Signer sign.Signer
	Own    sign.Verifiers // knows the key itself
	// Version of the signatures, 2 or 3, or 1 where V1 makes them.
	Version uint8
	V1      sign.SignerV1
}

// Errors about a label in place that is not replaced unasked.
var (
	ErrUnknownLabel    = errors.New("has a label of unknown type, which is left alone")
	ErrBrokenSignature = errors.New("has a malformed signature, which is left alone")
	// ErrForeignSigFile says that a file in the place of a detached signature
	// is none, but perhaps a signature of another program.
	ErrForeignSigFile = errors.New("a file of that name holds something else, and is left alone")
	// ErrNotRegular says that an IMA label is asked for where kernels look at none.
	ErrNotRegular = errors.New("is no regular file, and only those have IMA labels")
	// ErrStaleEVM says that a new IMA label or context would make the EVM label
	// wrong.
	ErrStaleEVM = errors.New("has an EVM label that new labels would make wrong, so that a kernel with EVM refuses the file")
)

// Decide implements run.Job.
func (l *Labeller) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	chosen, err := l.choose(f)
	switch {
	case err == errNotAppraised:
		return run.Skip(reason.NotAppraised), nil
	case err != nil:
		return run.Decision{}, err
	case chosen.class == plan.Skip:
		return run.Skip(reason.ByRule), nil
	case l.SigFiles && sigfile.Is(f):
		return run.Skip(reason.SignatureFile), nil
	case !l.OnlyEVM && !f.Meta().IsRegular():
		return run.Decision{}, ErrNotRegular
	}
	j := &labelling{Labeller: l, ctx: ctx, reading: ctx, reader: r, file: f, choice: chosen}
	if f.Meta().Size < FinishSize {
		j.reading = context.WithoutCancel(ctx)
	}
	j.res.Class = string(j.class)
	changes, err := j.decide()
	j.d.Result, j.d.Changes, j.d.Content = j.res, changes, true
	return j.d, err
}

// A labelling is the work on one file.
type labelling struct {
	*Labeller
	ctx, reading context.Context
	reader       *hash.Reader
	file         tree.File
	choice
	newContext bool // security.selinux is to be written, and file shows it
	res        report.Result
	d          run.Decision
}

// decide returns the changes that the file needs.
func (j *labelling) decide() ([]tree.Change, error) {
	old, err := tree.Value(j.file, imaevm.AttrIMA)
	if err != nil {
		return nil, err
	}
	j.res.IMA = old
	ima, err := j.newIMA()
	if err != nil {
		return nil, err
	}
	changes, err := j.context()
	if err != nil {
		return nil, err
	}
	kept := j.res.Outcome == report.Kept
	newIMA := !j.OnlyEVM && (!bytes.Equal(ima, old) || old == nil || j.Force && !kept)
	if newIMA {
		changes = append(changes, tree.Change{Attr: imaevm.AttrIMA, Old: old, New: ima})
	}
	evm, err := j.evmChange(ima, newIMA)
	if err != nil {
		return nil, err
	}
	changes = append(changes, evm...)
	beside, err := j.sigFile(ima)
	if err != nil {
		return nil, fmt.Errorf("writing the detached signature: %w", err)
	}
	changes = append(changes, beside...)
	if len(changes) > 0 {
		j.res.IMA = ima
		j.res.Outcome, j.res.Code, j.res.Reason = report.Labelled, "", ""
		j.warnReplaced("a signature", old, ima)
	}
	for _, c := range evm {
		j.warnReplaced("an EVM signature", c.Old, c.New)
		j.res.EVM = c.New
	}
	return changes, nil
}

// warnReplaced says that a signature of another key gives way.
func (j *labelling) warnReplaced(what string, old, label []byte) {
	was, err := imaevm.ParseSignature(old)
	if err != nil || bytes.Equal(old, label) || j.Key != nil && was.KeyID == j.Key.Signer.KeyID() {
		return
	}
	j.res.Warn(reason.ReplacedSignature, fmt.Sprintf("replaces %s by key %s", what, was.KeyID))
}

// newIMA returns the label that the file will carry.
func (j *labelling) newIMA() ([]byte, error) {
	if j.OnlyEVM {
		j.res.Outcome = report.Unchanged
		return j.res.IMA, nil
	}
	return j.wantIMA()
}

// wantIMA returns the label that the file should carry instead of the one in the
// result, the same if that is right or better, and sets the outcome for a file
// that will not be written.
func (j *labelling) wantIMA() ([]byte, error) {
	res, old := &j.res, j.res.IMA
	if keep, err := j.Keeps(j.class, old); keep || err != nil {
		j.keep(reason.Signature)
		if err == nil && j.Digests {
			res.Digest, err = j.digest(j.Algo)
		}
		return old, err
	}
	kind, key, digest := imaevm.TypeSignature, j.Key, j.verity
	if !digest.IsZero() {
		kind, key = imaevm.TypeVerity, j.Key.ofVersion(3)
	} else {
		var err error
		if digest, err = j.toSign(); err != nil {
			return nil, err
		}
	}
	res.Digest = digest
	res.Outcome = report.Unchanged
	if j.class == plan.Sign {
		if keep, err := j.trusts(kind, old, nil); keep || err != nil {
			j.keep(reason.TrustedKey)
			return old, err
		}
		if j.Key == nil { // only what is signed already could do
			return nil, &DemandError{Code: reason.NeedsKey, What: needsSignature, Advice: needsKey}
		}
		res.KeyID, res.HasKeyID = key.Signer.KeyID(), key.Version != 1
		return key.label(j.ctx, kind, digest, old, j.Force)
	}
	if label, err := imaevm.ParseHash(old); err == nil && label.Digest == digest && !j.Force {
		return old, nil
	}
	return imaevm.NewHash(digest).AppendBinary(nil)
}

// keep sets the outcome of a file whose label is better than a new one.
func (j *labelling) keep(c reason.Code) {
	j.res.Outcome, j.res.Code, j.res.Reason = report.Kept, c, c.Words()
	if s, err := imaevm.ParseSignature(j.res.IMA); err == nil {
		j.res.KeyID, j.res.HasKeyID = s.KeyID, true
	}
}

// toSign returns the digest for the label: the content's, or the one that is known.
func (j *labelling) toSign() (hash.Digest, error) {
	if d, ok, err := inspect.KnownDigest(j.file); ok || err != nil {
		return d, err
	}
	return j.digest(j.Algo)
}

// digest reads the content.
func (j *labelling) digest(a hash.Algorithm) (hash.Digest, error) {
	d, n, err := j.reader.Content(j.reading, a, j.file, j.file.Meta().Size)
	j.res.Bytes += n
	return d, ReadError(j.reading, err)
}

// ReadError says that an error is one of reading.
func ReadError(ctx context.Context, err error) error {
	_, short := errors.AsType[*hash.ShortError](err)
	_, cannot := errors.AsType[*hash.NotComputableError](err)
	switch {
	case err == nil, cannot, ctx.Err() != nil:
		return err
	case short:
		return &tree.ChangedError{Cause: err}
	}
	return fmt.Errorf("reading: %w", err)
}

// trusts reports whether the label in place is a valid signature of the type by a
// key that is as good as Key, and is therefore kept. Input returns what it covers;
// nil stands for the content.
func (j *labelling) trusts(kind imaevm.Type, old []byte, input func(imaevm.Signature) ([]byte, error)) (bool, error) {
	s, err := imaevm.ParseSignature(old)
	isOwn := err == nil && j.Key != nil && s.KeyID == j.Key.Signer.KeyID()
	if err != nil || s.Kind != kind || isOwn || j.Trust == nil || (j.Force || j.ReplaceSignatures) && j.Key != nil {
		return false, nil
	}
	if !s.Alg.Computable() || kind == imaevm.TypeVerity && s.Alg != j.res.Digest.Algorithm() {
		return false, nil
	}
	_, isKnown := tree.As[tree.Digested](j.file)
	var d hash.Digest
	switch {
	case input != nil:
		covered, err := input(s)
		if err != nil {
			return false, err
		}
		if d, err = hash.Sum(s.Alg, covered); err != nil {
			return false, err
		}
	case s.Alg == j.res.Digest.Algorithm():
		d = j.res.Digest
	case isKnown:
		return false, nil // of another algorithm than the known digest's
	default:
		if d, err = j.digest(s.Alg); err != nil {
			return false, err
		}
	}
	err = sign.Verify(s, d, j.Trust)
	if unchecked, ok := errors.AsType[*sign.AmbiguousKeyError](err); ok && len(unchecked.Keys) == 0 {
		return j.Key == nil, nil // a keyring of the kernel has it, which nobody here can check with
	}
	return err == nil, nil
}

// ofVersion returns the key for signatures of the version.
func (k *Key) ofVersion(version uint8) *Key {
	if k == nil {
		return nil
	}
	other := *k
	other.Version = version
	return &other
}

// label returns the label over d: the old one if it is by the same key, of the
// same form, and valid.
func (k *Key) label(ctx context.Context, kind imaevm.Type, d hash.Digest, old []byte, force bool) ([]byte, error) {
	if k.made(kind, d, old) && !force {
		return old, nil
	}
	if k.Version == 1 {
		return k.labelV1(ctx, kind, d)
	}
	label, err := sign.Label(ctx, k.Signer, kind, k.Version, d)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return label.AppendBinary(nil)
}

// made reports whether the key made the label over d.
func (k *Key) made(kind imaevm.Type, d hash.Digest, label []byte) bool {
	if k.Version == 1 {
		return k.madeV1(kind, d, label)
	}
	s, err := imaevm.ParseSignature(label)
	return err == nil && s.Kind == kind && s.Version == k.Version && s.Alg == d.Algorithm() &&
		s.KeyID == k.Signer.KeyID() && sign.Verify(s, d, k.Own) == nil
}

// Keeps reports whether the label in place is one that a file of the class
// keeps. What the program does not know it neither keeps nor replaces.
func (l *Labeller) Keeps(class plan.Class, old []byte) (bool, error) {
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

// isExecutable reports whether the file has an x bit or is ELF.
func isExecutable(f tree.File) (bool, error) {
	meta := f.Meta()
	if meta.Executable() {
		return true, nil
	}
	const magic = "\x7fELF"
	if meta.Size < int64(len(magic)) {
		return false, nil
	}
	var b [len(magic)]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && err != io.EOF { // it shrinks
		return false, fmt.Errorf("reading: %w", err)
	}
	return string(b[:]) == magic, nil
}
