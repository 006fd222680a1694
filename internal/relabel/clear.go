package relabel

import (
	"context"

	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// A Clearer removes labels. Its methods are safe for concurrent use.
type Clearer struct {
	// Attrs are the labels to remove, in this order.
	Attrs  []string
	Writer Writer
}

// Clear is a Job: it removes the file's labels.
func (c *Clearer) Clear(_ context.Context, w *Worker, e *walk.Entry) report.Result {
	res := report.Result{Path: e.Path, Outcome: report.Unchanged, Reason: "no label"}
	var changes []undo.Change
	for _, name := range c.Attrs {
		old, err := get(c.Writer.Store, e, name)
		if err != nil {
			res.Outcome, res.Err = report.Failed, err
			return res
		}
		if old != nil {
			changes = append(changes, undo.Change{Attr: name, Old: old})
		}
	}
	if len(changes) == 0 {
		return res
	}
	err := c.Writer.write(w, e, new(undo.File), changes...)
	if err != nil && !isChanged(err) { // content is no matter here
		res.Outcome, res.Err = report.Failed, err
		return res
	}
	res.Outcome, res.Reason = report.Cleared, ""
	return res
}
