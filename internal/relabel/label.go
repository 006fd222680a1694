package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// A Labeller writes hash labels. Its methods are safe for concurrent use.
type Labeller struct {
	Store attr.Store
	Algo  hash.Algorithm
	// Force writes labels that are there and right, and replaces labels that
	// are of no known type.
	Force bool
	// ReplaceSignatures replaces signatures by hashes.
	ReplaceSignatures bool
	// Writer does the writing.
	Writer Writer
}

// Errors about a label in place that a hash must not replace.
var (
	ErrUnknownLabel    = errors.New("has a label of unknown type, which is left alone")
	ErrBrokenSignature = errors.New("has a malformed signature, which is left alone")
)

// Label is a Job: it gives the file a hash label.
func (l *Labeller) Label(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	if e.Stat.Size < finishSize {
		ctx = context.WithoutCancel(ctx)
	}
	res := report.Result{Path: e.Path, Class: "hash"}
	var change undo.File
	err := unchanging(e, func() error { return l.try(ctx, w, e, &res, &change) })
	if err != nil && len(change.Changes) > 0 {
		err = errors.Join(err, l.Writer.takeBack(e, change))
	}
	if err != nil {
		res.Outcome, res.Err = report.Failed, err
	}
	return res
}

// try is one attempt. What it changes is kept in change, for the next.
func (l *Labeller) try(ctx context.Context, w *Worker, e *walk.Entry, res *report.Result, change *undo.File) error {
	old, err := get(l.Store, e, imaevm.AttrIMA)
	if err != nil {
		return err
	}
	res.IMA = old
	if keep, err := l.keeps(old); keep || err != nil {
		if err == nil {
			res.Outcome, res.Reason = report.Kept, "signature"
		}
		return err
	}
	digest, n, err := w.read(ctx, e, l.Algo)
	res.Bytes += n
	if err != nil {
		return err
	}
	res.Digest = digest
	if label, err := imaevm.ParseHash(old); err == nil && label.Digest == digest && !l.Force {
		res.Outcome = report.Unchanged
		return nil
	}
	label, err := imaevm.NewHash(digest).AppendBinary(nil)
	if err != nil {
		return err
	}
	if err := l.Writer.write(w, e, change, undo.Change{Attr: imaevm.AttrIMA, Old: old, New: label}); err != nil {
		return err
	}
	res.Outcome, res.IMA = report.Labelled, label
	if !bytes.Equal(old, label) {
		l.warnEVM(e, res)
	}
	if hasWriter(e) {
		res.Warning = "open for writing: the label is stale as soon as it is written to"
	}
	return nil
}

// keeps reports whether the label in place is one that a hash must not
// replace.
func (l *Labeller) keeps(old []byte) (bool, error) {
	if len(old) == 0 || l.Force && l.ReplaceSignatures {
		return false, nil
	}
	switch t := imaevm.Type(old[0]); t {
	case imaevm.TypeHash, imaevm.TypeHashLegacy:
		return false, nil
	case imaevm.TypeSignature, imaevm.TypeVerity:
		if l.ReplaceSignatures {
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

// warnEVM says so if a label of EVM no longer fits.
func (l *Labeller) warnEVM(e *walk.Entry, res *report.Result) {
	evm, err := get(l.Store, e, imaevm.AttrEVM)
	if err == nil && len(evm) > 0 {
		res.EVM = evm
		res.Warning = "security.evm was made for the old label"
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

// A Writer changes attributes as all commands do: logged first, immutable
// files with care, and with the file looked at again afterwards.
type Writer struct {
	Store attr.Store
	// Log, if not nil, is written before each change.
	Log *undo.Log
	// Lift lifts the immutable flag for the change.
	Lift bool
	// DryRun says that Store drops what is written.
	DryRun bool
}

// An ImmutableError says that a file's attributes cannot be changed, even by
// root.
type ImmutableError struct {
	AppendOnly bool
	Err        error
}

func (e *ImmutableError) Error() string {
	if e.AppendOnly {
		return "file is append-only (chattr +a)"
	}
	return "file is immutable (chattr +i)"
}

func (e *ImmutableError) Unwrap() error { return e.Err }

// write makes the changes, in their order. done is what the run changed of the
// file in earlier attempts, and afterwards all it changed. The error is a
// *changedError if the content is not what it was when e.Stat was taken.
func (wr *Writer) write(w *Worker, e *walk.Entry, done *undo.File, changes ...undo.Change) error {
	again := len(done.Changes) > 0
	for i := range changes {
		for _, before := range done.Changes {
			if before.Attr == changes[i].Attr {
				changes[i].Old = before.Old // undo puts back what was there before the run
			}
		}
	}
	line := undo.File{Inode: e.Stat.Ino, Changes: changes, Again: again}
	if wr.Log != nil {
		var err error
		if line.Path, err = filepath.Abs(e.Path); err != nil {
			return err
		}
		if err := wr.Log.Record(line); err != nil {
			return err
		}
	}
	if !wr.DryRun {
		if err := w.wrote(e); err != nil {
			return err
		}
	}
	if err := wr.apply(e, changes); err != nil {
		return err
	}
	*done = line
	var st unix.Stat_t
	if err := unix.Fstat(fd(e.File), &st); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !sameContent(&e.Stat, &st) {
		return &changedError{cause: errTimes}
	}
	return nil
}

// apply sets and removes attributes.
func (wr *Writer) apply(e *walk.Entry, changes []undo.Change) error {
	err := wr.set(e, changes)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	flags, flagsErr := getFlags(e.File)
	if flagsErr != nil || flags&(immutableFlag|appendFlag) == 0 {
		return err
	}
	if !wr.Lift {
		return &ImmutableError{AppendOnly: flags&immutableFlag == 0, Err: err}
	}
	if err := setFlags(e.File, flags&^(immutableFlag|appendFlag)); err != nil {
		return fmt.Errorf("lifting the immutable flag: %w", err)
	}
	err = wr.set(e, changes)
	if back := setFlags(e.File, flags); back != nil {
		err = errors.Join(err, fmt.Errorf("putting the immutable flag back: %w", back))
	}
	return err
}

func (wr *Writer) set(e *walk.Entry, changes []undo.Change) error {
	for i, c := range changes {
		var err error
		if c.New == nil {
			err = wr.Store.Remove(e.File, c.Attr)
			if err == attr.ErrNotSet {
				err = nil
			}
		} else {
			err = wr.Store.Set(e.File, c.Attr, c.New)
		}
		if err != nil && i > 0 {
			return fmt.Errorf("half labelled: %s is written: %w", changes[i-1].Attr, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack puts back what was there before the run, in reverse order: a file
// that never held still keeps its old labels.
func (wr *Writer) takeBack(e *walk.Entry, done undo.File) error {
	var back []undo.Change
	for i := len(done.Changes) - 1; i >= 0; i-- {
		c := done.Changes[i]
		back = append(back, undo.Change{Attr: c.Attr, Old: c.New, New: c.Old})
	}
	if err := wr.apply(e, back); err != nil {
		return fmt.Errorf("putting the old label back: %w", err)
	}
	return nil
}

// pathless drops the file's name from an error: the report prints it.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
