package label

import (
	"context"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
)

// A Clearer is a run.Job that removes labels.
type Clearer struct {
	// Attrs are the labels to remove, in this order.
	Attrs []string
}

// Decide implements run.Job. Content is no matter.
func (c Clearer) Decide(_ context.Context, _ *hash.Reader, f tree.File) (run.Decision, error) {
	var d run.Decision
	for _, name := range c.Attrs {
		old, err := tree.Value(f, name)
		if err != nil {
			return d, err
		}
		if old != nil {
			d.Changes = append(d.Changes, tree.Change{Attr: name, Old: old})
		}
	}
	d.Result.Outcome = report.Cleared
	if len(d.Changes) == 0 {
		d.Result.Outcome, d.Result.Code, d.Result.Reason = report.Unchanged, reason.NoLabel, reason.NoLabel.Words()
	}
	return d, nil
}

// All are the labels in the order in which they are removed: EVM first, since it
// covers the other.
func All() []string { return []string{imaevm.AttrEVM, imaevm.AttrIMA} }
