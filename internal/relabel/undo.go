package relabel

import (
	"bytes"
	"context"
	"io"
	"slices"

	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// An Undoer puts back what a run changed, one file after the other, so that
// the changes of a file are taken back in their order.
type Undoer struct {
	Log    *undo.Reader
	Name   string // of the log, for messages
	Writer Writer

	line   undo.File           // of the file that is visited
	passed bool                // an earlier line of the file has to tell
	done   map[string]struct{} // files with earlier lines, which have their outcome
}

// Source finds the files of the log, the last line first, as Run.Source does. A
// file with several lines is visited until one of them gives an outcome. A
// damaged line is a failure under the name of the log, and the others are undone
// all the same.
func (u *Undoer) Source(ctx context.Context, visit walk.Visitor) error {
	u.done = make(map[string]struct{})
	for {
		f, err := u.Log.Prev()
		if err == io.EOF { // not that of a line that could not be read
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := visit(walk.Entry{Path: u.Name, Err: err}); err != nil {
				return err
			}
			continue
		}
		if _, ok := u.done[f.Path]; !ok {
			u.line, u.passed = f, false
			if err := visit(walk.OpenFile(f.Path)); err != nil {
				return err
			}
			if f.Again && !u.passed {
				u.done[f.Path] = struct{}{}
			}
		} else if !f.Again {
			delete(u.done, f.Path)
		}
	}
}

// Undo is a Job: it puts the labels back that the file had before the run, if
// it still has those that the run wrote.
func (u *Undoer) Undo(_ context.Context, w *Worker, e *walk.Entry) report.Result {
	res := report.Result{Path: e.Path}
	f := u.line
	if f.Inode != e.Stat.Ino {
		res.Outcome, res.Reason = report.Kept, "another file has this name by now"
		return res
	}
	state, err := u.compare(e, f.Changes)
	switch {
	case err != nil:
	case state == isOther && f.Again:
		u.passed = true // the run ended before this attempt
		return report.Result{}
	case state == isOther:
		res.Outcome, res.Reason = report.Kept, "the label was changed since the run"
	case state == isOld:
		res.Outcome, res.Reason = report.Unchanged, "was not changed by the run"
	default:
		res.Outcome = report.Restored
		err = u.putBack(w, e, f.Changes)
	}
	if err != nil {
		res.Outcome, res.Err = report.Failed, err
	}
	return res
}

// labelState says whose labels a file carries.
type labelState int

const (
	isNew   labelState = iota // at least one of the run's, and no stranger's
	isOld                     // those from before the run
	isOther                   // a stranger's
)

func (u *Undoer) compare(e *walk.Entry, changes []undo.Change) (labelState, error) {
	state := isOld
	for _, c := range changes {
		value, err := get(u.Writer.Store, e, c.Attr)
		switch {
		case err != nil:
			return isOther, err
		case same(value, c.Old):
		case same(value, c.New):
			state = isNew
		default:
			return isOther, nil
		}
	}
	return state, nil
}

// same compares values, where nil is no attribute.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func (u *Undoer) putBack(w *Worker, e *walk.Entry, changes []undo.Change) error {
	var back []undo.Change
	for _, c := range slices.Backward(changes) {
		back = append(back, undo.Change{Attr: c.Attr, Old: c.New, New: c.Old})
	}
	err := u.Writer.write(w, e, new(undo.File), back...)
	if isChanged(err) { // content is no matter here
		return nil
	}
	return err
}
