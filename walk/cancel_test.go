package walk

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"imaseal/internal/treetest"
)

var errStop = errors.New("stop")

// At whichever entry it happens, the end of ctx ends the walk: Walk returns
// the cause, no call of visit runs any more, and nothing is left open.
func TestCancelAtAnyEntry(t *testing.T) {
	treetest.Leaks(t)
	root := forest(t, 3)
	total := len(regularFiles(t, root))
	for _, workers := range []int{1, 4} {
		for n := range total + 1 {
			ctx, cancel := context.WithCancelCause(t.Context())
			if n == 0 {
				cancel(errStop)
			}
			var calls atomic.Int64
			v := &visits{t: t}
			err := walk(ctx, open(t, root, root+"/a/b"), Config{Workers: workers}, func(e Entry) error {
				if calls.Add(1) == int64(n) {
					cancel(errStop)
				}
				return v.visit(e)
			}, limits{batch: 2, openDirs: 2, waiting: 2, chunk: 3})
			after := calls.Load()
			if !errors.Is(err, errStop) {
				t.Errorf("%d workers, cancelled at entry %d: %v", workers, n, err)
			}
			if calls.Load() != after || n == 0 && after > 0 {
				t.Errorf("%d calls, then %d", after, calls.Load())
			}
		}
	}
}

// An error of the visitor ends the walk and is what Walk returns.
func TestVisitorError(t *testing.T) {
	treetest.Leaks(t)
	root := forest(t, 3)
	total := len(regularFiles(t, root))
	for _, workers := range []int{1, 4} {
		for n := 1; n <= total; n += 3 {
			var calls atomic.Int64
			err := Walk(t.Context(), open(t, root), Config{Workers: workers}, func(e Entry) error {
				e.File.Close()
				if calls.Add(1) >= int64(n) {
					return errStop
				}
				return nil
			})
			if !errors.Is(err, errStop) {
				t.Errorf("%d workers, error at entry %d: %v", workers, n, err)
			}
			if extra := calls.Load() - int64(n); extra >= int64(workers) {
				t.Errorf("%d workers: %d entries after the error", workers, extra)
			}
		}
	}
}

func TestVisitorErrorOnNamedFile(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a\nfile b")
	calls := 0
	err := Walk(t.Context(), open(t, root+"/a", root+"/b"), Config{}, func(e Entry) error {
		calls++
		return errors.Join(errStop, e.File.Close())
	})
	if !errors.Is(err, errStop) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
