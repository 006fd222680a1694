package line

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOrder has workers that take their time, and a writer that gets everything in
// the order in which it was sent.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := NewEnd(t.Context())
		defer end.Release()
		var worked atomic.Int64
		var written []int
		isWorked := make([]atomic.Bool, 1000)
		l := Line[int]{
			End: end, Workers: 4, Window: 8,
			Work: func(n int) error {
				time.Sleep(rand.N(time.Second))
				isWorked[n].Store(true)
				worked.Add(1)
				return nil
			},
			Write: func(n int) error {
				if n%3 != 0 && !isWorked[n].Load() {
					t.Errorf("%d was written before a worker had done with it", n)
				}
				written = append(written, n)
				return nil
			},
		}
		var want []int
		l.Run(func() error {
			for n := range 1000 {
				to := To{Work: n%3 != 0, Write: n%5 != 0}
				if to.Write {
					want = append(want, n)
				}
				if err := l.Send(n, to); err != nil {
					return err
				}
			}
			return nil
		})
		if err := end.Err(); err != nil || worked.Load() != 666 || !slices.Equal(written, want) {
			t.Errorf("%v; %d worked on, %d written", err, worked.Load(), len(written))
		}
	})
}

// TestEnds ends a walk in each way: its first error is the walk's, all that was
// sent is given back, and no goroutine is left.
func TestEnds(t *testing.T) {
	errOne := errors.New("one")
	for name, fails := range map[string]struct{ read, work, write, cancel int }{
		"read":    {read: 50},
		"work":    {work: 50},
		"write":   {write: 50},
		"cancel":  {cancel: 50},
		"at once": {read: 1, work: 1, write: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				end := NewEnd(ctx)
				defer end.Release()
				var sent, back atomic.Int64
				at := func(n, fail int) error {
					if fail != 0 && n >= fail {
						return errOne
					}
					return end.Cause()
				}
				l := Line[int]{
					End: end, Workers: 3, Window: 5,
					Work:  func(n int) error { return at(n, fails.work) },
					Write: func(n int) error { back.Add(1); return at(n, fails.write) },
				}
				l.Run(func() error {
					for n := 1; ; n++ {
						if n == fails.cancel {
							cancel(errOne)
						}
						if err := at(n, fails.read); err != nil {
							return err
						}
						if err := l.Send(n, To{Work: true, Write: true}); err != nil {
							return err
						}
						sent.Add(1)
						runtime.Gosched()
					}
				})
				if err := end.Err(); err != errOne {
					t.Errorf("the walk ended with %v", err)
				}
				if sent.Load() != back.Load() {
					t.Errorf("%d sent, %d given back", sent.Load(), back.Load())
				}
			})
		})
	}
}

// TestFailAtTheEnd has somebody fail because the context has ended: what the walk
// ends with is why that did.
func TestFailAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	end := NewEnd(ctx)
	defer end.Release()
	stop := errors.New("stop")
	cancel(stop)
	end.Fail(fmt.Errorf("signing: %w", stop))
	if err := end.Err(); err != stop {
		t.Errorf("the walk ended with %v", err)
	}
}

// TestSendAtTheEnd sends one thing more while the walk ends.
func TestSendAtTheEnd(t *testing.T) {
	end := NewEnd(t.Context())
	defer end.Release()
	l := Line[int]{End: end, Workers: 1, Work: func(int) error { return end.Cause() }, Write: func(int) error { return nil }}
	broken := errors.New("broken")
	l.Run(func() error {
		end.Fail(broken)
		return l.Send(1, To{Work: true}) // workers take all that comes
	})
	if err := end.Err(); err != broken {
		t.Error(err)
	}
}
