// Package runtest runs jobs on mounted trees for tests: it has a report that keeps
// results, a [Spy] that counts, watches and breaks what a job does to files, and
// the labels that files should have. Only tests import it.
package runtest

import (
	"context"
	"strings"
	"testing"

	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// User keeps labels where no privilege is needed.
var User = tree.Namespace{From: "security.", To: "user."}

// Make makes a tree, as treetest.Make, in which user attributes work.
func Make(t testing.TB, spec string) string {
	t.Helper()
	root := treetest.Make(t, spec)
	treetest.UserAttrs(t, root)
	return root
}

// A Run is a job on mounted files. The zero value of each field but Job is what
// most tests want.
type Run struct {
	Job  run.Job
	Jobs int // files at once; 0 is 1
	// Writers is what becomes of files that are open for writing.
	Writers run.Writers
	// ReadOnly is a run without a sink, as those that check are.
	ReadOnly bool
	// Real labels security.*, else user.* stands for it.
	Real bool
	// Sink makes the changes; nil is one of the package mounted.
	Sink *mounted.Sink
	// Spy is between the job and the files; nil for none.
	Spy *Spy
	// Source and Outer are put around the source and the sink that the job
	// sees, nil for nothing.
	Source func(tree.Source) tree.Source
	Outer  func(tree.Sink) tree.Sink
	// Tree sees the tree before it is walked; nil for nobody.
	Tree func(*mounted.Tree)
	// Progress is that of the run.
	Progress run.Progress
	// Report keeps the results; nil is a new one.
	Report *Recorder
}

// Do runs the job on the paths and returns what the run does.
func (r Run) Do(ctx context.Context, t testing.TB, paths ...string) (report.Summary, error) {
	t.Helper()
	jobs := max(1, r.Jobs)
	opened, err := mounted.Open(paths, mounted.Config{Config: walk.Config{Workers: jobs}, Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if r.Tree != nil {
		r.Tree(opened)
	}
	return r.From(ctx, opened, jobs)
}

// From is Do with the files of a source, in security.* or user.*.
func (r Run) From(ctx context.Context, source tree.Source, jobs int) (report.Summary, error) {
	var sink tree.Sink = r.Sink
	if r.Sink == nil {
		sink = new(mounted.Sink)
	}
	if !r.Real {
		source, sink = User.Source(source), User.Sink(sink)
	}
	if r.Spy != nil {
		source, sink = r.Spy.Source(source), r.Spy.Sink(sink)
	}
	if r.Source != nil {
		source = r.Source(source)
	}
	if r.Outer != nil {
		sink = r.Outer(sink)
	}
	if r.ReadOnly {
		sink = nil
	}
	if r.Report == nil {
		r.Report = new(Recorder)
	}
	do := run.Run{
		Source: source, Job: r.Job, Sink: sink, Writers: r.Writers, Report: r.Report,
		Header: report.Header{Jobs: jobs}, Progress: r.Progress,
	}
	return do.Do(ctx)
}

// On runs the job on a tree to its end, and returns the results by their path
// relative to it.
func (r Run) On(t testing.TB, root string) map[string]report.Result {
	t.Helper()
	if r.Report == nil {
		r.Report = new(Recorder)
	}
	sum, err := r.Do(t.Context(), t, root)
	if err != nil {
		t.Fatal(err)
	}
	if r.Report.Finished != 1 || sum.Interrupted {
		t.Errorf("finished %d times, interrupted %v", r.Report.Finished, sum.Interrupted)
	}
	return ByPath(t, r.Report.Results, root)
}

// One runs the job on one file.
func (r Run) One(t testing.TB, name string) report.Result {
	t.Helper()
	for _, res := range r.On(t, name) {
		return res
	}
	t.Fatalf("%s has no result", name)
	return report.Result{}
}

// A Recorder is a report.Handler that keeps what it is told.
type Recorder struct {
	Results  []report.Result
	Finished int // calls of Finish
	// Before is called when a result has been kept; its error is that of
	// Result.
	Before func(report.Result) error
}

// Start implements report.Handler.
func (r *Recorder) Start(report.Header) error { return nil }

// Result implements report.Handler.
func (r *Recorder) Result(res report.Result) error {
	r.Results = append(r.Results, res)
	if r.Before != nil {
		return r.Before(res)
	}
	return nil
}

// Finish implements report.Handler.
func (r *Recorder) Finish(report.Summary) error {
	r.Finished++
	return nil
}

// ByPath returns results by their path relative to root. Each has an outcome, an
// error if and only if that is Failed, and a path of its own.
func ByPath(t testing.TB, results []report.Result, root string) map[string]report.Result {
	t.Helper()
	m := make(map[string]report.Result)
	for _, res := range results {
		rel := strings.TrimPrefix(res.Path, strings.TrimSuffix(root, "/")+"/")
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

// Outcomes maps paths to outcomes, with the reason of skipped ones.
func Outcomes(results map[string]report.Result) map[string]string {
	m := make(map[string]string)
	for rel, res := range results {
		m[rel] = string(res.Outcome)
		if res.Outcome == report.Skipped {
			m[rel] += ": " + res.Reason
		}
	}
	return m
}

// Count counts the results with an outcome.
func Count(results map[string]report.Result, o report.Outcome) (n int) {
	for _, r := range results {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// WantOutcomes compares outcomes.
func WantOutcomes(t testing.TB, got map[string]report.Result, want map[string]string) {
	t.Helper()
	for rel, res := range got {
		if string(res.Outcome) != want[rel] {
			t.Errorf("%s is %s (%s, %v), want %s", rel, res.Outcome, res.Reason, res.Err, want[rel])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
}
