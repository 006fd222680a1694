package cli

import (
	"context"

	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// A counted source tells a bar how much there will be, while it is walked.
type counted struct {
	tree.Source
	counter tree.Counter
	bar     *report.Bar
}

// Walk implements tree.Source. The count runs ahead, and ends with the walk.
func (c counted) Walk(ctx context.Context, visit func(tree.Found) error) error {
	counting, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c.counter.Count(counting, c.bar.Expect) == nil && counting.Err() == nil {
			c.bar.Counted()
		}
	}()
	defer func() { cancel(); <-done }()
	return c.Source.Walk(ctx, visit)
}

// Notes implements tree.Noter, where the source does.
func (c counted) Notes() reason.List {
	if n, ok := c.Source.(tree.Noter); ok {
		return n.Notes()
	}
	return nil
}
