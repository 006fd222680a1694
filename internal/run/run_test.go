package run_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
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
	"imaseal/internal/treetest"
)

var errTest = errors.New("made up")

// hashes returns the job that gives every file a hash.
func hashes() *label.Labeller {
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}
}

// walkFunc is a source.
type walkFunc func(ctx context.Context, visit func(tree.Found) error) error

func (f walkFunc) Walk(ctx context.Context, visit func(tree.Found) error) error { return f(ctx, visit) }

// ends counts how a sink ends.
type ends struct{ commits, aborts int }

func (*ends) Apply(tree.File, []tree.Change) error { return nil }
func (e *ends) Commit(context.Context) error       { e.commits++; return nil }
func (e *ends) Abort() error                       { e.aborts++; return nil }

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
				sink := new(ends)
				_, err := (&run.Run{Source: tt.source, Report: rec, Sink: sink}).Do(t.Context())
				if fmt.Sprint(err) != tt.want {
					t.Errorf("%v, want %s", err, tt.want)
				}
				if rec.Finished != 1 {
					t.Errorf("finished %d times", rec.Finished)
				}
				if want := (ends{commits: 1}); err == nil && *sink != want {
					t.Errorf("%+v", sink)
				}
				if want := (ends{aborts: 1}); err != nil && *sink != want {
					t.Errorf("%+v", sink)
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
		sink := new(ends)
		if _, err := (&run.Run{Source: none, Report: b, Sink: sink}).Do(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("%v", err)
		}
		if sink.aborts+sink.commits != 1 || (b.start != nil) != (sink.aborts == 1) {
			t.Errorf("%+v", sink)
		}
	}
	if calls != 1 {
		t.Errorf("%d walks, want 1: none after Start failed", calls)
	}
	// A result that cannot be reported is the last one, and ends the walk.
	const enough = 100 * run.Batch
	visits := 0
	some := walkFunc(func(ctx context.Context, visit func(tree.Found) error) error {
		for ; visits < enough && ctx.Err() == nil; visits++ {
			if err := visit(tree.Found{Path: "x", Skip: reason.Special}); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
	rec := &runtest.Recorder{Before: func(report.Result) error { return errTest }}
	sum, err := (&run.Run{Source: some, Report: rec}).Do(t.Context())
	var unwritten *run.ReportError
	if !errors.As(err, &unwritten) || !errors.Is(err, errTest) || len(rec.Results) != 1 || visits == enough || sum.Interrupted {
		t.Errorf("%v, %d results, %d visits, %+v", err, len(rec.Results), visits, sum)
	}
}

// Results are handed over in batches, without waiting, and no result waits longer
// than a tick.
func TestResultsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported atomic.Int64
		rec := &runtest.Recorder{Before: func(report.Result) error { reported.Add(1); return nil }}
		var seen []int64 // how many are reported
		source := walkFunc(func(_ context.Context, visit func(tree.Found) error) error {
			visits := func(n int) {
				for range n {
					visit(tree.Found{Path: "x", Skip: reason.Special})
				}
				synctest.Wait()
				seen = append(seen, reported.Load())
			}
			visits(1)
			time.Sleep(run.TickEvery)
			visits(0)             // the first has been reported by now
			visits(run.Batch - 1) // and these wait
			visits(1)             // but not where they are a batch
			visits(2)
			time.Sleep(run.TickEvery)
			visits(0)
			visits(5) // are reported in the end
			return nil
		})
		if _, err := (&run.Run{Source: source, Report: rec}).Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []int64{0, 1, 1, run.Batch + 1, run.Batch + 1, run.Batch + 3, run.Batch + 3}; !slices.Equal(seen, want) {
			t.Errorf("%v are reported, want %v", seen, want)
		}
		if n, want := reported.Load(), int64(run.Batch+8); n != want || rec.Finished != 1 {
			t.Errorf("%d are reported, want %d", n, want)
		}
	})
}

// One worker's results are reported in the order of its files, whether a tick or
// a batch brings them.
func TestResultsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files = 20 * run.Batch
		rec := new(runtest.Recorder)
		source := walkFunc(func(_ context.Context, visit func(tree.Found) error) error {
			for i := range files {
				visit(tree.Found{Path: fmt.Sprintf("%06d", i), Skip: reason.Special})
				time.Sleep(time.Duration(i%7) * time.Millisecond)
			}
			return nil
		})
		if _, err := (&run.Run{Source: source, Report: rec}).Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		sorted := slices.IsSortedFunc(rec.Results, func(a, b report.Result) int {
			if a.Path < b.Path {
				return -1
			}
			return 1
		})
		if len(rec.Results) != files || !sorted {
			t.Errorf("%d results, sorted %v", len(rec.Results), sorted)
		}
	})
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
	spy := &runtest.Spy{Before: func(op, _ string) error {
		if op == "set" {
			if n := p.read.Load(); n != size {
				t.Errorf("%d bytes are read before the label is written, want %d", n, size)
			}
			for deadline := time.Now().Add(30 * time.Second); p.ticks.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(run.TickEvery)
			}
		}
		return nil
	}}
	runtest.Run{Job: hashes(), Spy: spy, Progress: p}.On(t, root)
	if p.ticks.Load() == 0 {
		t.Error("nothing is shown while a file takes long")
	}
}

// Promise 1: each selected file has one outcome, the others one reason.
func TestPromise1OneOutcomeEach(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, `
		file a content=1
		file d/b content=2
		hard d/c a
		link l a
		fifo p
		sock s
		file gone
		file z content=3
	`)
	for _, jobs := range []int{1, 4} {
		rec := new(runtest.Recorder)
		sum, err := runtest.Run{Job: hashes(), Jobs: jobs, Report: rec, Source: func(s tree.Source) tree.Source {
			return walkFunc(func(ctx context.Context, visit func(tree.Found) error) error {
				return errors.Join(s.Walk(ctx, visit), visit(tree.Found{Path: root + "/vanished", Err: unix.ENOENT}),
					visit(tree.Found{Path: root + "/denied", Err: fmt.Errorf("opening: %w", unix.EACCES)}))
			})
		}}.Do(t.Context(), t, root)
		if err != nil {
			t.Fatal(err)
		}
		results := runtest.ByPath(t, rec.Results, root)
		got := runtest.Outcomes(results)
		first, second := "a", "d/c"
		if got[first] == "skipped: hard link" {
			first, second = second, first
		}
		done := "labelled"
		if jobs > 1 {
			done = "unchanged" // by the first run
		}
		want := map[string]string{
			first: done, second: "skipped: hard link", "d/b": done, "gone": done, "z": done,
			"l": "skipped: symbolic link", "p": "skipped: special file", "s": "skipped: special file",
			"vanished": "vanished", "denied": "failed",
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d jobs: %v, want %v", jobs, got, want)
		}
		if err := results["denied"].Err; fmt.Sprint(err) != "opening: permission denied" || !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		if sum.Selected() != 6 || sum.HardLinks != 1 || len(sum.Skipped) != 2 || sum.Skipped[reason.Symlink] != 1 || sum.Skipped[reason.Special] != 2 {
			t.Errorf("%+v", sum)
		}
	}
}
