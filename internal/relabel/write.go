package relabel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
// *changedError if the file is not what it was when e.Stat was taken.
func (wr *Writer) write(w *Worker, e *walk.Entry, done *undo.File, changes ...undo.Change) error {
	if wr.Log != nil {
		line := undo.File{Inode: e.Stat.Ino, Changes: merge(done.Changes, changes), Again: len(done.Changes) > 0}
		var err error
		if line.Path, err = absolute(e.Path); err != nil {
			return fmt.Errorf("writing the undo log: %w", err)
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
	n, err := wr.apply(e, changes)
	done.Changes = merge(done.Changes, changes[:n])
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd(e.File), &st); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !sameContent(&e.Stat, &st) || !sameOwner(&e.Stat, &st) {
		return &changedError{cause: errTimes}
	}
	return nil
}

// merge returns what an attempt changes after what earlier ones did: undo puts
// back what was there before the run.
func merge(earlier, changes []undo.Change) []undo.Change {
	all := slices.Clone(earlier)
	for _, c := range changes {
		i := slices.IndexFunc(all, func(b undo.Change) bool { return b.Attr == c.Attr })
		if i < 0 {
			all = append(all, c)
		} else {
			all[i].New = c.New
		}
	}
	return all
}

// absolute is filepath.Abs without its cleaning: behind a link, ".." leads
// elsewhere than the text says.
func absolute(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	wd, err := os.Getwd()
	return strings.TrimRight(wd, "/") + "/" + name, err
}

// apply sets and removes attributes, and returns how many it did.
func (wr *Writer) apply(e *walk.Entry, changes []undo.Change) (int, error) {
	n, err := wr.set(e, changes)
	if n > 0 || !errors.Is(err, unix.EPERM) {
		return n, err
	}
	flags, flagsErr := inode.Flags(e.File)
	if flagsErr != nil || flags&(inode.Immutable|inode.AppendOnly) == 0 {
		return n, err
	}
	if !wr.Lift {
		return n, &ImmutableError{AppendOnly: flags&inode.Immutable == 0, Err: err}
	}
	if err := inode.SetFlags(e.File, flags&^(inode.Immutable|inode.AppendOnly)); err != nil {
		return n, fmt.Errorf("lifting the immutable flag: %w", err)
	}
	n, err = wr.set(e, changes)
	if back := inode.SetFlags(e.File, flags); back != nil {
		err = errors.Join(err, fmt.Errorf("putting the immutable flag back: %w", back))
	}
	return n, err
}

// A halfError says that some of a file's changes were made and the next was
// not.
type halfError struct {
	done undo.Change // the last that was made
	err  error
}

func (e *halfError) Error() string {
	if e.done.New == nil {
		return fmt.Sprintf("half cleared: %s is removed: %v", e.done.Attr, e.err)
	}
	return fmt.Sprintf("half labelled: %s is written: %v", e.done.Attr, e.err)
}

func (e *halfError) Unwrap() error { return e.err }

func (wr *Writer) set(e *walk.Entry, changes []undo.Change) (int, error) {
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
			return i, &halfError{done: changes[i-1], err: err}
		}
		if err != nil {
			return 0, err
		}
	}
	return len(changes), nil
}

// takeBack puts back what was there before the run, in reverse order, so that a
// file that never held still keeps its old labels: all but those that somebody
// else has replaced since.
func (wr *Writer) takeBack(e *walk.Entry, done undo.File) error {
	var back []undo.Change
	for _, c := range slices.Backward(done.Changes) {
		value, err := get(wr.Store, e, c.Attr)
		if err != nil {
			return fmt.Errorf("putting the old label back: %w", err)
		}
		if same(value, c.New) {
			back = append(back, undo.Change{Attr: c.Attr, Old: c.New, New: c.Old})
		}
	}
	if _, err := wr.apply(e, back); err != nil {
		return fmt.Errorf("putting the old label back: %w", err)
	}
	return nil
}

// pathless drops the file's name from an error: the report prints it.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
