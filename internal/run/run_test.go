package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
)

var errTest = errors.New("made up")

// hashes returns the job that gives every file a hash.
func hashes() *label.Labeller {
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}
}

// A walkFunc is a source.
type walkFunc func(ctx context.Context, visit func(tree.Found) error) error

func (f walkFunc) Walk(ctx context.Context, visit func(tree.Found) error) error { return f(ctx, visit) }

// The engine holds no more at the hundred thousandth file than at the first.
func TestMemoryDoesNotGrow(t *testing.T) {
	heap := func(files int) uint64 {
		var most uint64
		rec := new(runtest.Recorder)
		n := 0
		rec.Before = func(report.Result) error {
			rec.Results = rec.Results[:0]
			if n++; n%(files/4) == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return nil
		}
		r := run.Run{Report: rec, Job: hashes(), Source: walkFunc(func(_ context.Context, visit func(tree.Found) error) error {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for i := range files / 2 {
						visit(tree.Found{Path: fmt.Sprint("/file", i), Skip: reason.HardLink})
					}
				})
			}
			wg.Wait()
			return nil
		})}
		if _, err := r.Do(t.Context()); err != nil || n != files {
			t.Errorf("%d results, %v", n, err)
		}
		return most
	}
	few, many := heap(1000), heap(100_000)
	if many > few+1<<20 {
		t.Errorf("%d bytes at 1,000 files, %d at 100,000", few, many)
	}
}

// Whatever fails in the middle, Do returns when all goroutines have ended.
func TestDoEnds(t *testing.T) {
	skipped := tree.Found{Path: "/a", Skip: reason.Symlink}
	endless := func(ctx context.Context, visit func(tree.Found) error) error {
		for ctx.Err() == nil {
			if err := visit(skipped); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	}
	tests := []struct {
		name   string
		source walkFunc
		report func(n int) error
		want   string
	}{
		{"a source that fails", func(_ context.Context, visit func(tree.Found) error) error {
			visit(skipped)
			return errTest
		}, nil, "made up"},
		{"a report that fails", endless, func(n int) error {
			if n > 500 {
				return &os.PathError{Op: "write", Path: "pipe", Err: unix.EPIPE}
			}
			return nil
		}, "writing report: broken pipe"},
		{"nothing", func(context.Context, func(tree.Found) error) error { return nil }, nil, "<nil>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				rec := &runtest.Recorder{Before: func(report.Result) error {
					if n++; tt.report != nil {
						return tt.report(n)
					}
					return nil
				}}
				_, err := (&run.Run{Source: tt.source, Report: rec}).Do(t.Context())
				if fmt.Sprint(err) != tt.want {
					t.Errorf("%v, want %s", err, tt.want)
				}
				if rec.Finished != 1 {
					t.Errorf("finished %d times", rec.Finished)
				}
			})
		})
	}
}

// A report that cannot start or finish breaks the run.
type brokenReport struct {
	runtest.Recorder
	start, finish error
}

func (b *brokenReport) Start(report.Header) error   { return b.start }
func (b *brokenReport) Finish(report.Summary) error { return b.finish }

func TestReportFails(t *testing.T) {
	calls := 0
	none := walkFunc(func(context.Context, func(tree.Found) error) error { calls++; return nil })
	for _, b := range []*brokenReport{{start: errTest}, {finish: errTest}} {
		_, err := (&run.Run{Source: none, Report: b}).Do(t.Context())
		var unwritten *run.ReportError
		if !errors.Is(err, errTest) || !errors.As(err, &unwritten) || unwritten.Last != (b.finish != nil) {
			t.Errorf("%v", err)
		}
	}
	if calls != 1 {
		t.Errorf("%d walks, want 1: none after Start failed", calls)
	}
	// A result that cannot be reported is the last one, and ends the walk.
	const many = 1000 // far more than a worker collects
	visits := 0
	some := walkFunc(func(ctx context.Context, visit func(tree.Found) error) error {
		for ; visits < many && ctx.Err() == nil; visits++ {
			if err := visit(tree.Found{Path: "x", Skip: reason.Special}); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
	rec := &runtest.Recorder{Before: func(report.Result) error { return errTest }}
	sum, err := (&run.Run{Source: some, Report: rec}).Do(t.Context())
	var unwritten *run.ReportError
	if !errors.As(err, &unwritten) || !errors.Is(err, errTest) || unwritten.Last || len(rec.Results) != 1 || visits == many || sum.Interrupted {
		t.Errorf("%v, %d results, %d visits, %+v", err, len(rec.Results), visits, sum)
	}
}

// progress counts what it is told.
type progress struct {
	read  atomic.Int64
	ticks atomic.Int64
}

func (p *progress) Read(n int64) { p.read.Add(n) }
func (p *progress) Tick()        { p.ticks.Add(1) }

// A run tells of what it reads before the file has a result.
func TestProgress(t *testing.T) {
	const size = 3*(128<<10) + 1 // more than one buffer
	root := runtest.Make(t, fmt.Sprintf("file a size=%d", size))
	p := new(progress)
	s := &runtest.Spy{Before: func(op, _ string) error {
		if op == "set" {
			if n := p.read.Load(); n != size {
				t.Errorf("%d bytes are read before the label is written, want %d", n, size)
			}
			for deadline := time.Now().Add(30 * time.Second); p.ticks.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
		}
		return nil
	}}
	if _, err := (runtest.Run{Job: hashes(), Spy: s, Progress: p}).Do(t.Context(), t, root); err != nil {
		t.Fatal(err)
	}
	if p.ticks.Load() == 0 {
		t.Error("nothing is shown while a file takes long")
	}
	if s.Sets.Load() != 1 {
		t.Errorf("%d sets", s.Sets.Load())
	}
}
