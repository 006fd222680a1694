package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/verify"
)

// A fake is a file in memory that others write to, as the test says.
type fake struct {
	content string
	attrs   map[string][]byte
	// begin and unchanged are what the calls give, one after the other; behind
	// the last one nobody writes.
	begin     []hold
	unchanged []error

	begins  []bool // the arguments of Begin
	applied [][]tree.Change
	apply   []error // what Apply gives, without doing anything
}

type hold struct {
	tree.Hold
	err error
}

func (f *fake) Name() string { return "fake" }
func (f *fake) Rel() string  { return "fake" }
func (f *fake) Full() string { return "/fake" }
func (f *fake) Close() error { return nil }
func (f *fake) Meta() tree.Meta {
	return tree.Meta{Mode: 0o100644, Size: int64(len(f.content))}
}

func (f *fake) ReadAt(b []byte, off int64) (int, error) {
	return io.NewSectionReader(bytes.NewReader([]byte(f.content)), 0, int64(len(f.content))).ReadAt(b, off)
}

func (f *fake) Attr(name string) ([]byte, error) {
	if v, ok := f.attrs[name]; ok {
		return v, nil
	}
	return nil, tree.ErrNoAttr
}

func (f *fake) Attrs() ([]string, error) { return slices.Collect(maps.Keys(f.attrs)), nil }

func (f *fake) Begin(writers bool) (tree.Hold, error) {
	f.begins = append(f.begins, writers)
	if len(f.begin) == 0 {
		return tree.Alone, nil
	}
	next := f.begin[0]
	f.begin = f.begin[1:]
	return next.Hold, next.err
}

func (f *fake) Unchanged(bool) error {
	if len(f.unchanged) == 0 {
		return nil
	}
	err := f.unchanged[0]
	f.unchanged = f.unchanged[1:]
	return err
}

func (f *fake) Walk(_ context.Context, visit func(tree.Found) error) error {
	return visit(tree.Found{Path: "fake", File: f})
}

func (f *fake) Apply(_ tree.File, changes []tree.Change) error {
	f.applied = append(f.applied, slices.Clone(changes))
	if len(f.apply) > 0 {
		err := f.apply[0]
		f.apply = f.apply[1:]
		if err != nil {
			return err
		}
	}
	for _, c := range changes {
		if c.New == nil {
			delete(f.attrs, c.Attr)
		} else {
			f.attrs[c.Attr] = c.New
		}
	}
	return nil
}

func (f *fake) Commit(context.Context) error { return nil }
func (f *fake) Abort() error                 { return nil }

// on runs a job on the file, in a bubble of its own time.
func (f *fake) on(t *testing.T, r run.Run) (res report.Result, took time.Duration) {
	t.Helper()
	if f.attrs == nil {
		f.attrs = make(map[string][]byte)
	}
	synctest.Test(t, func(t *testing.T) {
		rec := new(runtest.Recorder)
		r.Source, r.Report = f, rec
		begin := time.Now()
		sum, err := r.Do(t.Context())
		took = sum.Elapsed
		if err != nil || len(rec.Results) != 1 || took != time.Since(begin) {
			t.Fatalf("%v, %d results", err, len(rec.Results))
		}
		res = rec.Results[0]
	})
	return res, took
}

var (
	changed = &tree.ChangedError{Cause: errTest}
	writer  = hold{Hold: tree.Writer}
)

// A file that somebody writes to is waited for some time, and then not changed,
// unless that is allowed.
func TestWriters(t *testing.T) {
	right := runtest.Right(t, "x")
	tests := []struct {
		name    string
		file    fake
		writers run.Writers
		err     error
		outcome report.Outcome
		warns   bool
		begins  []bool
		took    time.Duration
	}{
		{"nobody writes", fake{}, run.Refuse, nil, report.Labelled, false, []bool{false}, 0},
		{"nobody can tell", fake{begin: []hold{{Hold: tree.Untold}}}, run.Refuse, nil, report.Labelled, false, []bool{false}, 0},
		{"is done in time", fake{begin: []hold{writer, writer}}, run.Refuse, nil, report.Labelled, false, []bool{false, false, false}, 2 * run.WriterWait},
		{"goes on", fake{begin: []hold{writer, writer, writer}}, run.Refuse, run.ErrWriter, report.Failed, false, []bool{false, false, false}, 2 * run.WriterWait},
		{"goes on, and the label is right", fake{begin: []hold{writer, writer, writer}, attrs: map[string][]byte{imaevm.AttrIMA: right}},
			run.Refuse, nil, report.Unchanged, false, []bool{false, false, false}, 2 * run.WriterWait},
		{"may go on", fake{begin: []hold{writer, writer}}, run.Allow, nil, report.Labelled, true, []bool{true}, 0},
		{"may go on, and the label is right", fake{begin: []hold{writer}, attrs: map[string][]byte{imaevm.AttrIMA: right}},
			run.Allow, nil, report.Unchanged, false, []bool{true}, 0},
		{"is no matter", fake{begin: []hold{writer}}, run.Ignore, nil, report.Labelled, false, nil, 0},
	}
	for _, tt := range tests {
		for _, dry := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dry run %v", tt.name, dry), func(t *testing.T) {
				f := tt.file
				f.content, f.attrs = "x", maps.Clone(tt.file.attrs)
				var sink tree.Sink = &f
				if dry {
					sink = tree.DryRun{}
				}
				res, took := f.on(t, run.Run{Job: hashes(), Sink: sink, Writers: tt.writers})
				if res.Outcome != tt.outcome || res.Err != tt.err || took != tt.took || !slices.Equal(f.begins, tt.begins) {
					t.Errorf("%s, %v, %v, %v", res.Outcome, res.Err, f.begins, took)
				}
				if !dry && !tree.Same(res.IMA, f.attrs[imaevm.AttrIMA]) {
					t.Errorf("label %x, in the result %x", f.attrs[imaevm.AttrIMA], res.IMA)
				}
				warned := len(res.Warnings) == 1 && res.Warnings[0].Code == reason.OpenForWriting
				if warned != tt.warns || len(res.Warnings) > 1 {
					t.Errorf("warned of %v", res.Warnings)
				}
				if writes := tt.outcome == report.Labelled && !dry; writes != (len(f.applied) == 1) || !writes && len(f.applied) > 0 {
					t.Errorf("applied %v", f.applied)
				}
			})
		}
	}
}

// A run that changes nothing waits for nobody.
func TestChecksDoNotWait(t *testing.T) {
	f := &fake{content: "x", begin: []hold{writer, writer, writer}, attrs: map[string][]byte{imaevm.AttrIMA: runtest.Right(t, "x")}}
	res, took := f.on(t, run.Run{Job: new(verify.Verifier)})
	if res.Outcome != report.Valid || took != 0 || !slices.Equal(f.begins, []bool{false}) {
		t.Errorf("%s, %v, %v after %v", res.Outcome, res.Err, f.begins, took)
	}
}

// A file that changes is begun anew, a few times.
func TestBeginsAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		file    fake
		want    error
		applied int
		begins  int
	}{
		"once, before it is read":     {fake{begin: []hold{{err: changed}}}, nil, 1, 2},
		"twice, while it is read":     {fake{unchanged: []error{changed, changed}}, nil, 1, 3},
		"once, when it is labelled":   {fake{unchanged: []error{nil, changed}}, nil, 1, 2}, // it is right the second time
		"never holds still, at first": {fake{begin: []hold{{err: changed}, {err: changed}, {err: changed}}}, run.ErrChanging, 0, 3},
		"never holds still":           {fake{unchanged: []error{changed, changed, changed}}, run.ErrChanging, 0, 3},
		"cannot be looked at":         {fake{begin: []hold{{err: errTest}}}, errTest, 0, 1},
		"cannot be looked at again":   {fake{unchanged: []error{errTest}}, errTest, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := tt.file
			f.content = "x"
			res, _ := f.on(t, run.Run{Job: hashes(), Sink: &f})
			if res.Err != tt.want || len(f.applied) != tt.applied || len(f.begins) != tt.begins {
				t.Errorf("%s, %v: applied %v, begun %d times", res.Outcome, res.Err, f.applied, len(f.begins))
			}
			if !tree.Same(res.IMA, f.attrs[imaevm.AttrIMA]) {
				t.Errorf("label %x, in the result %x", f.attrs[imaevm.AttrIMA], res.IMA)
			}
			if tt.want == nil && (res.Outcome != report.Labelled || res.Bytes < 1) {
				t.Errorf("%+v", res)
			}
		})
	}
}

// What an attempt wrote and does not hold is taken back, and each change says what
// was there before the run.
func TestTakesBack(t *testing.T) {
	old, x := []byte("old"), runtest.Right(t, "x")
	setOld := func() map[string][]byte { return map[string][]byte{imaevm.AttrIMA: runtest.Right(t, "old")} }
	was := runtest.Right(t, "old")
	f := &fake{content: "x", attrs: setOld(), unchanged: []error{nil, changed, nil, changed, nil, changed}}
	job := hashes()
	job.Force = true // or the second attempt has nothing to change
	res, _ := f.on(t, run.Run{Job: job, Sink: f})
	if res.Err != run.ErrChanging || !tree.Same(res.IMA, was) || !tree.Same(f.attrs[imaevm.AttrIMA], was) {
		t.Errorf("%v, label %x, in the result %x", res.Err, f.attrs[imaevm.AttrIMA], res.IMA)
	}
	want := []tree.Change{
		{Attr: imaevm.AttrIMA, Old: was, New: x},
		{Attr: imaevm.AttrIMA, Old: was, New: x, Again: true},
		{Attr: imaevm.AttrIMA, Old: was, New: x, Again: true},
		{Attr: imaevm.AttrIMA, Old: was, New: was, Again: true},
	}
	if len(f.applied) != len(want) {
		t.Fatalf("applied %v", f.applied)
	}
	for i, c := range want {
		got := f.applied[i]
		if len(got) != 1 || got[0].Attr != c.Attr || !tree.Same(got[0].Old, c.Old) || !tree.Same(got[0].New, c.New) || got[0].Again != c.Again {
			t.Errorf("%d: applied %+v, want %+v", i, got, c)
		}
	}

	// A failure of writing takes back what an attempt before it wrote.
	f = &fake{content: "x", attrs: setOld(), unchanged: []error{nil, changed}, apply: []error{nil, errTest}}
	if res, _ := f.on(t, run.Run{Job: job, Sink: f}); !errors.Is(res.Err, errTest) || !tree.Same(res.IMA, was) {
		t.Errorf("%v, %x", res.Err, res.IMA)
	}
	// But not where a part of it was written again: that is said.
	partial := &tree.PartialError{Done: []tree.Change{{Attr: imaevm.AttrIMA, Old: was, New: old}}, Err: errTest}
	f = &fake{content: "x", attrs: setOld(), unchanged: []error{nil, changed}, apply: []error{nil, partial}}
	if res, _ := f.on(t, run.Run{Job: job, Sink: f}); res.Err != partial || !tree.Same(res.IMA, x) || len(f.applied) != 2 {
		t.Errorf("%v, %x", res.Err, res.IMA)
	}
	// What cannot be put back is said with the first cause.
	f = &fake{content: "x", attrs: setOld(), unchanged: []error{nil, changed, nil, changed, nil, changed}, apply: []error{nil, nil, nil, errTest}}
	res, _ = f.on(t, run.Run{Job: job, Sink: f})
	if want := run.ErrChanging.Error() + "; putting the old label back: made up"; fmt.Sprint(res.Err) != want || !errors.Is(res.Err, errTest) || !tree.Same(res.IMA, x) {
		t.Errorf("%v, %x", res.Err, res.IMA)
	}
}
