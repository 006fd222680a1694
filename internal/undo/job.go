package undo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"imaseal/hash"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
)

// A Logged is a sink that writes a line to a log before each file's changes are
// made by another one.
type Logged struct {
	tree.Sink
	Log *Log
}

// Apply implements tree.Sink. What cannot be logged is not changed.
func (s Logged) Apply(f tree.File, changes []tree.Change) error {
	line := File{Path: f.Full()}
	if bound, ok := tree.As[tree.Bound](f); ok {
		line.Inode = bound.Inode()
	}
	for _, c := range changes {
		if !isAttr(c.Attr) {
			continue // a detached signature is no label of the file
		}
		line.Changes = append(line.Changes, Change{Attr: c.Attr, Old: c.Old, New: c.New})
		line.Again = line.Again || c.Again
	}
	if len(line.Changes) > 0 {
		if err := s.Log.Record(line); err != nil {
			return err
		}
	}
	return s.Sink.Apply(f, changes)
}

// A Source finds the files of a log, the last line first and one after the other,
// so that changes are taken back in their order. Each is found once: a file that
// was labelled again has several lines, of which the last that tells of it counts.
type Source struct {
	Log *Reader
	// Name is the log's, for messages.
	Name string
	// Open opens a file by its path.
	Open func(path string) tree.Found
}

// Walk implements tree.Source. A damaged line is a failure under the name of the
// log, and the others are undone all the same.
func (s *Source) Walk(ctx context.Context, visit func(tree.Found) error) error {
	pending := make(map[string][]File) // lines of files that have earlier ones
	for {
		line, err := s.Log.Prev()
		if err == io.EOF { // not that of a line that could not be read
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := visit(tree.Found{Path: s.Name, Err: err}); err != nil {
				return err
			}
			continue
		}
		lines := append(pending[line.Path], line)
		if line.Again {
			pending[line.Path] = lines
			continue
		}
		delete(pending, line.Path)
		if err := s.visit(lines, visit); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(pending)) { // whose first line is damaged
		if err := s.visit(pending[path], visit); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) visit(lines []File, visit func(tree.Found) error) error {
	found := s.Open(lines[0].Path)
	if found.File != nil {
		found.File = logged{found.File, lines}
	}
	return visit(found)
}

// A logged is a file with what a log has of it, the last line first.
type logged struct {
	tree.File
	lines []File
}

// Unwrap returns the file.
func (f logged) Unwrap() tree.File { return f.File }

// A Job puts back the labels that files of a Source had before the run, if they
// still have those that the run wrote. Content is no matter.
type Job struct{}

// Decide implements run.Job.
func (Job) Decide(_ context.Context, _ *hash.Reader, file tree.File) (run.Decision, error) {
	f, ok := tree.As[logged](file)
	if !ok {
		return run.Decision{}, fmt.Errorf("%T is no file of an undo log", file)
	}
	if bound, ok := tree.As[tree.Bound](file); ok && bound.Inode() != f.lines[0].Inode {
		return kept(report.Kept, reason.OtherFile), nil
	}
	for _, line := range f.lines {
		state, err := compare(file, line.Changes)
		switch {
		case err != nil:
			return run.Decision{}, err
		case state == isOther:
			continue // the run ended before this attempt
		case state == isOld:
			return kept(report.Unchanged, reason.NotChanged), nil
		}
		var d run.Decision
		d.Result.Outcome = report.Restored
		for _, c := range slices.Backward(line.Changes) {
			d.Changes = append(d.Changes, tree.Change{Attr: c.Attr, Old: c.New, New: c.Old})
		}
		return d, nil
	}
	return kept(report.Kept, reason.OtherLabel), nil
}

func kept(o report.Outcome, c reason.Code) run.Decision {
	return run.Decision{Result: report.Result{Outcome: o, Code: c, Reason: c.Words()}}
}

// A labelState says whose labels a file carries.
type labelState int

const (
	isNew   labelState = iota // at least one of the run's, and no stranger's
	isOld                     // those from before the run
	isOther                   // a stranger's
)

func compare(f tree.File, changes []Change) (labelState, error) {
	state := isOld
	for _, c := range changes {
		value, err := tree.Value(f, c.Attr)
		switch {
		case err != nil:
			return isOther, err
		case tree.Same(value, c.Old):
		case tree.Same(value, c.New):
			state = isNew
		default:
			return isOther, nil
		}
	}
	return state, nil
}
