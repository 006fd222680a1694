package label

import (
	"context"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/sigfile"
	"imaseal/internal/tree"
)

// A Setter is a run.Job that gives files an IMA label that was made elsewhere, and
// checks nothing about it.
type Setter struct {
	// Label is that of all files; nil is for what is in the file beside each.
	Label []byte
}

// Decide implements run.Job.
func (s Setter) Decide(_ context.Context, _ *hash.Reader, f tree.File) (run.Decision, error) {
	var d run.Decision
	label := s.Label
	if label == nil {
		var err error
		if label, err = sigfile.Read(f); err != nil {
			return d, fmt.Errorf("reading the detached signature: %w", err)
		}
	}
	if len(label) == 0 {
		return d, imaevm.ErrEmpty
	}
	old, err := tree.Value(f, imaevm.AttrIMA)
	if err != nil {
		return d, err
	}
	d.Result.Outcome, d.Result.IMA = report.Labelled, label
	d.Changes = []tree.Change{{Attr: imaevm.AttrIMA, Old: old, New: label}}
	return d, nil
}
