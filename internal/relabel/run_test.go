package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

var errTest = errors.New("made up")

// renamed keeps labels where no privilege is needed.
var renamed = attr.Renamed{Store: attr.FS{}, From: "security.", To: "user."}

// A spy is a Store that counts, and lets a test act before each call. An error
// of before is that of the call.
type spy struct {
	attr.Store
	gets, sets, removes atomic.Int64
	before              func(op, name string) error
}

func (s *spy) call(op, name string, count *atomic.Int64) error {
	count.Add(1)
	if s.before == nil {
		return nil
	}
	return s.before(op, name)
}

func (s *spy) Get(f attr.File, name string) ([]byte, error) {
	if err := s.call("get", name, &s.gets); err != nil {
		return nil, err
	}
	return s.Store.Get(f, name)
}

func (s *spy) Set(f attr.File, name string, value []byte) error {
	if err := s.call("set", name, &s.sets); err != nil {
		return err
	}
	return s.Store.Set(f, name, value)
}

func (s *spy) Remove(f attr.File, name string) error {
	if err := s.call("remove", name, &s.removes); err != nil {
		return err
	}
	return s.Store.Remove(f, name)
}

// A recorder is a report.Handler that keeps results.
type recorder struct {
	results  []report.Result
	finished int
	before   func(r report.Result) error
}

func (r *recorder) Start(report.Header) error { return nil }

func (r *recorder) Result(res report.Result) error {
	r.results = append(r.results, res)
	if r.before != nil {
		return r.before(res)
	}
	return nil
}

func (r *recorder) Finish(report.Summary) error {
	r.finished++
	return nil
}

// tree makes a tree in which user attributes work.
func tree(t testing.TB, spec string) string {
	t.Helper()
	root := treetest.Make(t, spec)
	treetest.UserAttrs(t, root)
	return root
}

func labeller(s attr.Store) *Labeller {
	return &Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash), Writer: Writer{Store: s}}
}

// source walks trees.
func source(t testing.TB, jobs int, paths ...string) func(context.Context, walk.Visitor) error {
	t.Helper()
	var roots []*walk.Root
	for _, p := range paths {
		r, err := walk.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		roots = append(roots, r)
	}
	return func(ctx context.Context, visit walk.Visitor) error {
		return walk.Walk(ctx, roots, walk.Config{Workers: jobs}, visit)
	}
}

// run does a job on a tree to its end, and returns the results by their path
// relative to it. Each path has one.
func run(t testing.TB, job Job, jobs int, root string) map[string]report.Result {
	t.Helper()
	rec := new(recorder)
	r := Run{Source: source(t, jobs, root), Job: job, Report: rec, Header: report.Header{Jobs: jobs}}
	sum, err := r.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rec.finished != 1 || sum.Interrupted {
		t.Errorf("finished %d times, interrupted %v", rec.finished, sum.Interrupted)
	}
	return byPath(t, rec.results, root)
}

func byPath(t testing.TB, results []report.Result, root string) map[string]report.Result {
	t.Helper()
	m := make(map[string]report.Result)
	for _, res := range results {
		rel := strings.TrimPrefix(res.Path, root+"/")
		if _, ok := m[rel]; ok {
			t.Errorf("%s has two results", rel)
		}
		if (res.Err != nil) != (res.Outcome == report.Failed) || res.Outcome == "" {
			t.Errorf("%s is %q with error %v", rel, res.Outcome, res.Err)
		}
		m[rel] = res
	}
	return m
}

// outcomes maps paths to outcomes, with the reason of skipped ones.
func outcomes(results map[string]report.Result) map[string]string {
	m := make(map[string]string)
	for rel, res := range results {
		m[rel] = string(res.Outcome)
		if res.Outcome == report.Skipped {
			m[rel] += ": " + res.Reason
		}
	}
	return m
}

func label(t testing.TB, name, attribute string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	value, err := renamed.Get(f, attribute)
	if err != nil && err != attr.ErrNotSet {
		t.Fatal(err)
	}
	return value
}

func setLabel(t testing.TB, name, attribute string, value []byte) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := renamed.Set(f, attribute, value); err != nil {
		t.Fatal(err)
	}
}

func removeLabel(t testing.TB, name, attribute string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := renamed.Remove(f, attribute); err != nil && err != attr.ErrNotSet {
		t.Fatal(err)
	}
}

// right returns the label that a content should have.
func right(t testing.TB, content []byte) []byte {
	t.Helper()
	d, err := hash.Sum(hash.SHA256, content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := imaevm.NewHash(d).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantLabel(t testing.TB, name string, want []byte) {
	t.Helper()
	if got := label(t, name, imaevm.AttrIMA); !same(got, want) {
		t.Errorf("%s has label %x, want %x", filepath.Base(name), got, want)
	}
}

// The engine holds no more at the hundred thousandth file than at the first.
func TestMemoryDoesNotGrow(t *testing.T) {
	heap := func(files int) uint64 {
		var most uint64
		rec := new(recorder)
		n := 0
		rec.before = func(report.Result) error {
			rec.results = rec.results[:0]
			if n++; n%(files/4) == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return nil
		}
		r := Run{Report: rec, Job: labeller(renamed).Label, Source: func(_ context.Context, visit walk.Visitor) error {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for i := range files / 2 {
						visit(walk.Entry{Path: fmt.Sprint("/file", i), Skip: reason.HardLink})
					}
				})
			}
			wg.Wait()
			return nil
		}}
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
	skipped := walk.Entry{Path: "/a", Skip: reason.Symlink}
	endless := func(ctx context.Context, visit walk.Visitor) error {
		for ctx.Err() == nil {
			if err := visit(skipped); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	}
	tests := []struct {
		name   string
		source func(context.Context, walk.Visitor) error
		report func(n int) error
		want   string
	}{
		{"a source that fails", func(_ context.Context, visit walk.Visitor) error {
			visit(skipped)
			return errTest
		}, nil, "made up"},
		{"a report that fails", endless, func(n int) error {
			if n > 500 {
				return &os.PathError{Op: "write", Path: "pipe", Err: unix.EPIPE}
			}
			return nil
		}, "writing report: broken pipe"},
		{"nothing", func(context.Context, walk.Visitor) error { return nil }, nil, "<nil>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				rec := &recorder{before: func(report.Result) error {
					if n++; tt.report != nil {
						return tt.report(n)
					}
					return nil
				}}
				_, err := (&Run{Source: tt.source, Report: rec}).Do(t.Context())
				if fmt.Sprint(err) != tt.want {
					t.Errorf("%v, want %s", err, tt.want)
				}
				if rec.finished != 1 {
					t.Errorf("finished %d times", rec.finished)
				}
			})
		})
	}
}

// A report that cannot start or finish breaks the run.
type brokenReport struct {
	recorder
	start, finish error
}

func (b *brokenReport) Start(report.Header) error   { return b.start }
func (b *brokenReport) Finish(report.Summary) error { return b.finish }

func TestReportFails(t *testing.T) {
	calls := 0
	none := func(context.Context, walk.Visitor) error { calls++; return nil }
	for _, b := range []*brokenReport{{start: errTest}, {finish: errTest}} {
		if _, err := (&Run{Source: none, Report: b}).Do(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("%v", err)
		}
	}
	if calls != 1 {
		t.Errorf("%d walks, want 1: none after Start failed", calls)
	}
	// A result that cannot be reported is the last one, and ends the walk.
	visits := 0
	some := func(ctx context.Context, visit walk.Visitor) error {
		for ; visits < 10*resultsAhead && ctx.Err() == nil; visits++ {
			if err := visit(walk.Entry{Path: "x", Skip: reason.Special}); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	}
	rec := &recorder{before: func(report.Result) error { return errTest }}
	sum, err := (&Run{Source: some, Report: rec}).Do(t.Context())
	var unwritten *ReportError
	if !errors.As(err, &unwritten) || !errors.Is(err, errTest) || len(rec.results) != 1 || visits == 10*resultsAhead || sum.Interrupted {
		t.Errorf("%v, %d results, %d visits, %+v", err, len(rec.results), visits, sum)
	}
}

// A sparse file of many GiB is read as a whole, in one buffer.
func TestSparse(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 2 GiB")
	}
	root := tree(t, "file sparse size=2147483648")
	res := run(t, labeller(renamed).Label, 1, root)["sparse"]
	// head -c 2147483648 /dev/zero | sha256sum
	want, err := hash.ParseDigest("sha256:a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51")
	if err != nil || res.Outcome != report.Labelled || res.Digest != want || res.Bytes != 2<<30 {
		t.Errorf("%s %s, %d bytes, %v", res.Outcome, res.Digest, res.Bytes, err)
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
	const size = 3*readBuffer + 1
	root := tree(t, fmt.Sprintf("file a size=%d", size))
	p := new(progress)
	s := &spy{Store: renamed, before: func(op, _ string) error {
		if op == "set" {
			if n := p.read.Load(); n != size {
				t.Errorf("%d bytes are read before the label is written, want %d", n, size)
			}
			for deadline := time.Now().Add(30 * time.Second); p.ticks.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(tickEvery)
			}
		}
		return nil
	}}
	r := &Run{Source: source(t, 1, root), Job: labeller(s).Label, Report: new(recorder), Progress: p}
	if _, err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.ticks.Load() == 0 {
		t.Error("nothing is shown while a file takes long")
	}
}

// Sizes about the buffer's.
func TestSizes(t *testing.T) {
	root := tree(t, "")
	content := bytes.Repeat([]byte("imaseal "), readBuffer/8+1)
	sizes := []int{0, 1, 2, readBuffer - 1, readBuffer, readBuffer + 1}
	for _, n := range sizes {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", root, n), content[:n], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	results := run(t, labeller(renamed).Label, 2, root)
	for _, n := range sizes {
		if res := results[fmt.Sprint(n)]; res.Outcome != report.Labelled || res.Bytes != int64(n) || res.Size != int64(n) {
			t.Errorf("%d bytes: %+v", n, res)
		}
		wantLabel(t, fmt.Sprintf("%s/%d", root, n), right(t, content[:n]))
	}
	if len(results) != len(slices.Compact(sizes)) {
		t.Errorf("%d results", len(results))
	}
}
