package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

const (
	// most is how often a file that changes is begun anew.
	most = 3
	// writerWait is how long a file that is being written to is given before
	// it is tried again.
	writerWait = 20 * time.Millisecond
)

// Errors about files that others write to.
var (
	// ErrChanging says that a file was changed each time it was read.
	ErrChanging = errors.New("changing: its content was written to while it was read")
	// ErrWriter says that somebody has a file open for writing.
	ErrWriter = errors.New("changing: somebody has it open for writing")
)

// attempts is the work on one file.
type attempts struct {
	run  *Run
	file tree.File
	live tree.Live     // nil where nobody else can write to the file, or that is no matter
	hold tree.Hold     // of the attempt
	done []tree.Change // what earlier attempts changed
	read int64         // bytes of content, in all attempts
}

// do makes attempts, and sees to what a failed one leaves.
func (a *attempts) do(ctx context.Context, r *hash.Reader) report.Result {
	if a.run.Writers != Ignore {
		a.live, _ = tree.As[tree.Live](a.file)
	}
	d, err := a.decided(ctx, r)
	res := d.Result
	res.Bytes = a.read
	if err != nil {
		if _, half := errors.AsType[*tree.PartialError](err); !half {
			if backErr := a.takeBack(); backErr != nil {
				err = fmt.Errorf("%v; %w", err, backErr) // to be reported even where the first is not
			}
		}
		res = report.Result{
			Outcome: report.Failed, Class: res.Class, IMA: res.IMA, EVM: res.EVM, Digest: res.Digest,
			KeyID: res.KeyID, HasKeyID: res.HasKeyID, Err: err, Bytes: res.Bytes,
		}
		if len(d.Changes) > 0 { // what could be written, and could not be put back, is there, and no more
			res.IMA, _ = tree.Value(a.file, imaevm.AttrIMA)
			res.EVM, _ = tree.Value(a.file, imaevm.AttrEVM)
		}
	}
	return res
}

// decided makes attempts until one holds.
func (a *attempts) decided(ctx context.Context, r *hash.Reader) (Decision, error) {
	if a.live == nil {
		return a.once(ctx, r)
	}
	var d Decision // of the last attempt
	for range most {
		err := a.begin()
		if err == nil {
			d, err = a.once(ctx, r)
		}
		if !tree.IsChanged(err) {
			return d, err
		}
	}
	return d, ErrChanging
}

// begin begins an attempt. A writer is given some time to be done.
func (a *attempts) begin() error {
	for try := range most {
		var err error
		if a.hold, err = a.live.Begin(a.run.Sink != nil && a.run.Writers == Allow); err != nil || a.hold != tree.Writer || a.run.Sink == nil || a.run.Writers != Refuse {
			return err
		}
		if try < most-1 {
			time.Sleep(writerWait)
		}
	}
	return nil
}

// once is one attempt.
func (a *attempts) once(ctx context.Context, r *hash.Reader) (Decision, error) {
	d, err := a.run.Job.Decide(ctx, r, a.file)
	a.read += d.Result.Bytes
	if err == nil && d.Content && a.live != nil {
		err = a.live.Unchanged(d.Meta)
	}
	if err != nil {
		return d, err
	}
	if len(d.Changes) == 0 {
		if len(a.done) > 0 && d.Result.Outcome == report.Unchanged {
			d.Result.Outcome = report.Labelled // by an attempt before
		}
		return d, nil
	}
	if a.hold == tree.Writer && d.Content {
		if a.run.Writers == Refuse {
			return d, ErrWriter
		}
		d.Result.Warn(reason.OpenForWriting, "open for writing: the label is stale as soon as it is written to")
	}
	return d, a.apply(d)
}

// apply makes the changes of an attempt, and looks whether it still holds.
func (a *attempts) apply(d Decision) error {
	changes := merge(a.done, d.Changes)
	err := a.run.Sink.Apply(a.file, changes)
	if partial, ok := errors.AsType[*tree.PartialError](err); ok {
		a.done = partial.Done
	} else if err == nil {
		a.done = changes
	}
	if err == nil && d.Content && a.live != nil {
		err = a.live.Unchanged(d.Meta)
	}
	return err
}

// merge returns what an attempt changes after what earlier ones did: what counts
// as old is what was there before the run.
func merge(earlier, changes []tree.Change) []tree.Change {
	if len(earlier) == 0 {
		return changes
	}
	all := slices.Clone(earlier)
	for i := range all {
		all[i].Again = true
	}
	for _, c := range changes {
		i := slices.IndexFunc(all, func(b tree.Change) bool { return b.Attr == c.Attr })
		if i < 0 {
			c.Again = true
			all = append(all, c)
		} else {
			all[i].New = c.New
		}
	}
	return all
}

// takeBack puts back what was there before the run, in reverse order, so that a
// file that never held still keeps its old labels: all but those that somebody
// else has replaced since.
func (a *attempts) takeBack() error {
	var back []tree.Change
	for _, c := range slices.Backward(a.done) {
		if c.Attr == tree.SidecarAttr {
			continue // that of a file whose label was put back is stale, and verify says so
		}
		value, err := tree.Value(a.file, c.Attr)
		if err != nil {
			return fmt.Errorf("putting the old label back: %w", err)
		}
		if tree.Same(value, c.New) {
			back = append(back, tree.Change{Attr: c.Attr, Old: c.Old, New: c.Old, Again: true})
		}
	}
	if len(back) == 0 {
		return nil
	}
	if err := a.run.Sink.Apply(a.file, back); err != nil {
		return fmt.Errorf("putting the old label back: %w", err)
	}
	a.done = nil
	return nil
}
