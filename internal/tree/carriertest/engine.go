package carriertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/verify"
)

// hashes returns the job that gives every file a hash.
func hashes() *label.Labeller {
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}
}

// do runs a job on a tree; a nil sink is that of the tree. It returns the
// results by the files' relative paths.
func do(ctx context.Context, t *testing.T, of Tree, job run.Job, sink tree.Sink, workers int) (map[string]report.Result, report.Summary, error) {
	t.Helper()
	source, own := of.Open(t, workers)
	foreign := sink != nil
	if !foreign {
		sink = own
	}
	rec := new(runtest.Recorder)
	r := run.Run{Source: &relative{source}, Job: job, Sink: sink, Report: rec}
	sum, err := r.Do(ctx)
	if foreign {
		if err := own.Abort(); err != nil {
			t.Error(err)
		}
	}
	results := runtest.ByPath(t, rec.Results, "")
	maps.DeleteFunc(results, func(_ string, res report.Result) bool { return res.Outcome == report.Skipped })
	return results, sum, err
}

// A relative source names files by their paths relative to the tree.
type relative struct{ tree.Source }

func (s *relative) Walk(ctx context.Context, visit func(tree.Found) error) error {
	return s.Source.Walk(ctx, func(found tree.Found) error {
		if found.File != nil {
			found.Path = found.File.Rel()
		}
		return visit(found)
	})
}

// wantAll says that every file of the suite has the outcome, and no other has
// one.
func wantAll(t *testing.T, got map[string]report.Result, want report.Outcome) {
	t.Helper()
	all := make(map[string]string)
	for _, f := range files() {
		all[f.Name] = string(want)
	}
	runtest.WantOutcomes(t, got, all)
}

// rightLabels returns what a dump has more when all files have hashes.
func rightLabels(t *testing.T) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, f := range files() {
		all[Attr(f.Name, imaevm.AttrIMA)] = runtest.Right(t, f.Content)
	}
	return all
}

// dryRun: a dry run says what a run would, and changes nothing.
func dryRun(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	got, _, err := do(t.Context(), t, of, hashes(), tree.DryRun{}, 2)
	if err != nil {
		t.Error(err)
	}
	wantAll(t, got, report.Labelled)
	for _, f := range files() {
		if !tree.Same(got[f.Name].IMA, runtest.Right(t, f.Content)) {
			t.Errorf("%s would get %x", f.Name, got[f.Name].IMA)
		}
	}
	wantDump(t, before, of.Dump(t), nil)
}

// renamed: attributes can be kept under other names by a decorator.
func renamed(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	names := tree.Namespace{From: "security.ima", To: "security.imaseal-b"}
	source, sink := of.Open(t, 2)
	r := run.Run{Source: names.Source(source), Job: hashes(), Sink: names.Sink(sink), Report: new(runtest.Recorder)}
	if sum, err := r.Do(t.Context()); err != nil || sum.Count[report.Labelled] != len(files()) {
		t.Errorf("%+v, %v", sum, err)
	}
	changed := make(map[string][]byte)
	for _, f := range files() {
		changed[Attr(f.Name, attrB)] = runtest.Right(t, f.Content)
	}
	wantDump(t, before, of.Dump(t), changed)
}

// labels: a run labels all files and touches nothing else, a second one changes
// nothing at all, and the labels are valid, until the content is another's.
func labels(t *testing.T, c Carrier) {
	for _, workers := range []int{1, 4} {
		of := c.New(t, files())
		before := of.Dump(t)
		got, sum, err := do(t.Context(), t, of, hashes(), nil, workers)
		if err != nil {
			t.Error(err)
		}
		wantAll(t, got, report.Labelled)
		var size int64
		for _, f := range files() {
			size += int64(len(f.Content))
			if res := got[f.Name]; res.Size != int64(len(f.Content)) || res.Bytes != res.Size || !tree.Same(res.IMA, runtest.Right(t, f.Content)) {
				t.Errorf("%s: %+v", f.Name, res)
			}
		}
		if sum.Bytes != size {
			t.Errorf("read %d bytes, want %d", sum.Bytes, size)
		}
		labelled := of.Dump(t)
		wantDump(t, before, labelled, rightLabels(t))

		got, _, err = do(t.Context(), t, of, hashes(), noApply{t}, workers)
		if err != nil {
			t.Error(err)
		}
		wantAll(t, got, report.Unchanged)
		got, _, err = do(t.Context(), t, of, hashes(), nil, workers)
		if err != nil {
			t.Error(err)
		}
		wantAll(t, got, report.Unchanged)
		wantDump(t, labelled, of.Dump(t), nil)

		if err := apply(t, of, "bin/one", []tree.Change{{Attr: imaevm.AttrIMA, New: runtest.Right(t, "2")}}, nil); err != nil {
			t.Error(err)
		}
		wantVerdicts(t, of, "bin/one")
	}
}

// wantVerdicts says that all labels are valid, but for that of the file bad.
func wantVerdicts(t *testing.T, of Tree, bad string) {
	t.Helper()
	before := of.Dump(t)
	got, _, err := do(t.Context(), t, of, new(verify.Verifier), noApply{t}, 2)
	if err != nil {
		t.Error(err)
	}
	for name, res := range got {
		want := report.Valid
		if name == bad {
			want = report.Invalid
		}
		if res.Outcome != want {
			t.Errorf("%s is %s: %s, %v", name, res.Outcome, res.Reason, res.Err)
		}
	}
	if len(got) != len(files()) {
		t.Errorf("%d verdicts", len(got))
	}
	wantDump(t, before, of.Dump(t), nil)
}

// A noApply is the sink of a run that has nothing to change.
type noApply struct{ t *testing.T }

func (s noApply) Apply(f tree.File, changes []tree.Change) error {
	s.t.Errorf("%s: %+v", f.Rel(), changes)
	return nil
}

func (noApply) Commit(context.Context) error { return nil }
func (noApply) Abort() error                 { return nil }

// clears: labels that are removed leave what was there before them.
func clears(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	if _, _, err := do(t.Context(), t, of, hashes(), nil, 2); err != nil {
		t.Error(err)
	}
	for _, want := range []report.Outcome{report.Cleared, report.Unchanged} {
		got, _, err := do(t.Context(), t, of, label.Clearer{Attrs: label.All()}, nil, 2)
		if err != nil {
			t.Error(err)
		}
		wantAll(t, got, want)
		wantDump(t, before, of.Dump(t), nil)
	}
}

// refusing decides on one change that the carrier makes, and one that it
// refuses.
type refusing struct{ refused tree.Change }

func (j refusing) Decide(context.Context, *hash.Reader, tree.File) (run.Decision, error) {
	var d run.Decision
	d.Result.Outcome = report.Labelled
	d.Changes = []tree.Change{{Attr: attrA, New: []byte("done")}, j.refused}
	return d, nil
}

// runFails: a file whose second change is refused fails, as half labelled, with
// the carrier's own words; the run goes on.
func runFails(t *testing.T, c Carrier) {
	of := c.New(t, files())
	got, sum, err := do(t.Context(), t, of, refusing{c.Refused}, nil, 2)
	if err != nil || sum.Count[report.Failed] != len(files()) {
		t.Errorf("%+v, %v", sum, err)
	}
	wantAll(t, got, report.Failed)
	for name, res := range got {
		partial, ok := errors.AsType[*tree.PartialError](res.Err)
		if !ok || res.Err.Error() != fmt.Sprintf("half labelled: %s is written: %v", attrA, partial.Err) {
			t.Errorf("%s: %v", name, res.Err)
		}
	}
}
