package integrate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Install puts what is planned into the system: all of it, or nothing if there is a
// file that somebody changed, which is a *ChangedError. done is told about each
// item; its State is still what was there before. If something fails in the middle,
// or done does, what was there before is put back, and the error says so unless it
// is done's. What is killed in the middle can be done again.
func (r *Root) Install(planned []Item, done func(Item) error) error {
	if err := r.refuse(planned); err != nil {
		return err
	}
	i := installing{root: r}
	r.madeDir = func(name string) { i.dirs = append(i.dirs, name) }
	defer func() { r.madeDir = nil }()
	for _, it := range planned {
		if it.State != Installed {
			if err := i.write(it); err != nil {
				return r.pathError("write", it.Path, i.undone(err))
			}
		}
		if err := done(it); err != nil {
			if failed := i.undo(); failed != nil {
				return errors.Join(err, failed)
			}
			return err
		}
	}
	return nil
}

// An installing is what a run of Install has changed so far.
type installing struct {
	root   *Root
	dirs   []string // that were made
	before []Item   // what was there of what was written
}

// write writes an item, and notes what was in its place.
func (i *installing) write(it Item) error {
	before := Item{Path: it.Path, State: Absent}
	if it.State == Older {
		there, err := i.root.look(it.Path)
		if err != nil {
			return err
		}
		before.State, before.Mode, before.Text = Older, there.mode, there.text
	}
	if err := i.root.write(&it); err != nil {
		return err
	}
	i.before = append(i.before, before)
	return nil
}

// undone undoes the run because of an error, which it returns with what came of that.
func (i *installing) undone(err error) error {
	if i.before == nil && i.dirs == nil {
		return err
	}
	if failed := i.undo(); failed != nil {
		return fmt.Errorf("%w; what was installed before could not be undone: %w", err, failed)
	}
	return fmt.Errorf("%w; what was installed before is undone", err)
}

// undo puts back what was there before.
func (i *installing) undo() error {
	var failed []error
	for _, it := range slices.Backward(i.before) {
		var err error
		if it.State == Older {
			err = i.root.write(&it)
		} else {
			it.State = Installed
			err = i.root.unlink(&it)
		}
		if err != nil {
			failed = append(failed, i.root.pathError("write", it.Path, err))
		}
	}
	for _, name := range slices.Backward(i.dirs) {
		switch err := i.root.removeDir(name); err {
		case nil, unix.ENOENT, unix.ENOTEMPTY, unix.EEXIST: // others have put something there
		default:
			failed = append(failed, i.root.pathError("remove", name, err))
		}
	}
	return errors.Join(failed...)
}
