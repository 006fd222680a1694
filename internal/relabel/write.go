package relabel

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/inode"
	"imaseal/internal/undo"
	"imaseal/walk"
)

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
	flags, flagsErr := inode.Flags(e.File)
	if flagsErr != nil || flags&(inode.Immutable|inode.AppendOnly) == 0 {
		return err
	}
	if !wr.Lift {
		return &ImmutableError{AppendOnly: flags&inode.Immutable == 0, Err: err}
	}
	if err := inode.SetFlags(e.File, flags&^(inode.Immutable|inode.AppendOnly)); err != nil {
		return fmt.Errorf("lifting the immutable flag: %w", err)
	}
	err = wr.set(e, changes)
	if back := inode.SetFlags(e.File, flags); back != nil {
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
			done := "written"
			if changes[i-1].New == nil {
				done = "removed"
			}
			return fmt.Errorf("half labelled: %s is %s: %w", changes[i-1].Attr, done, err)
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
