// Package line is how a carrier works off what it reads in an order, once: one
// goroutine reads, several work, and one writes, in the order that was read.
//
//	read ──▶ jobs ──▶ work (several at a time) ──┐
//	   └───▶ order ──────────────────────────────┴──▶ write
//
// Nothing piles up: the reader waits for the workers, and for the writer when so
// many items wait for it as there is room for.
package line

import (
	"cmp"
	"context"
	"sync"
)

// An End is how a walk ends: with its first error, or with that of its context. It
// is safe for concurrent use.
type End struct {
	Ctx    context.Context // of the walk
	outer  context.Context // which Ctx ends with, a moment later
	cancel context.CancelCauseFunc

	mu  sync.Mutex
	err error
}

// NewEnd begins a walk. The caller calls Release when it is over.
func NewEnd(ctx context.Context) *End {
	e := &End{outer: ctx}
	e.Ctx, e.cancel = context.WithCancelCause(ctx)
	return e
}

// Fail ends the walk with an error, if it is the first one; where the context has
// ended, that is why, whatever the error makes of it. No error does nothing.
func (e *End) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && err != nil {
		e.err = cmp.Or(e.Cause(), err)
		e.cancel(e.err)
	}
}

// Cause is why the walk is over, or nil as long as it is not.
func (e *End) Cause() error { return cmp.Or(context.Cause(e.outer), context.Cause(e.Ctx)) }

// Err is the first error of the walk: also that of a context that has ended, if
// somebody had to stop for it.
func (e *End) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Release frees what the walk's context holds.
func (e *End) Release() { e.cancel(nil) }

// To says where something that is sent goes.
type To struct {
	// Work has a worker work on it; Write has the writer write it, when the
	// worker has done with it.
	Work, Write bool
}

// A Line is one line. Work and Write are called for everything that was sent to
// them, also when the walk is over, so that they can give back what it
// holds; they look at [End.Cause] first.
type Line[T any] struct {
	End *End
	// Workers is how many goroutines work, and Window how many items may wait
	// for the writer.
	Workers, Window int
	Work, Write     func(T) error // errors end the walk

	jobs, order chan *task[T]
}

type task[T any] struct {
	value T
	done  chan struct{} // closed when a worker has done with it; nil where none has to
}

// Run calls read, which sends what it reads, and returns when everything that was
// sent has been worked off. An error of read ends the walk, too: see [End.Err].
func (l *Line[T]) Run(read func() error) {
	l.jobs, l.order = make(chan *task[T], 2*l.Workers), make(chan *task[T], l.Window)
	var workers, writer sync.WaitGroup
	for range l.Workers {
		workers.Go(func() {
			for t := range l.jobs {
				l.End.Fail(l.Work(t.value))
				close(t.done)
			}
		})
	}
	writer.Go(func() {
		for t := range l.order {
			if t.done != nil {
				<-t.done
			}
			l.End.Fail(l.Write(t.value))
		}
	})
	l.End.Fail(read())
	close(l.jobs)
	close(l.order)
	workers.Wait()
	writer.Wait()
}

// Send hands a value on. The error is that of a walk that is over, and the value
// goes nowhere then. Send is called by read alone.
func (l *Line[T]) Send(v T, to To) error {
	t := &task[T]{value: v}
	if to.Work {
		t.done = make(chan struct{})
	}
	if to.Write {
		select {
		case l.order <- t:
		case <-l.End.Ctx.Done():
			return l.End.Cause()
		}
	}
	if to.Work {
		l.jobs <- t // workers take all that comes, also at the end
	}
	return nil
}
