package runtest

import (
	"path/filepath"
	"testing"

	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/undo"
)

// Logged does the run on a tree with an undo log, and returns the name of that.
func Logged(t testing.TB, r Run, root string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "log")
	log, err := undo.Create(name, undo.Header{Namespace: "user", Command: "hash"})
	if err != nil {
		t.Fatal(err)
	}
	r.Outer = func(inner tree.Sink) tree.Sink { return undo.Logged{Sink: inner, Log: log} }
	r.On(t, root)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// Undo undoes what a log tells, and returns the results by their path relative to
// root.
func Undo(t testing.TB, log, root string) map[string]report.Result {
	t.Helper()
	return Run{}.Undo(t, log, root)
}

// Undo is Undo with what there is between the job and the files.
func (r Run) Undo(t testing.TB, log, root string) map[string]report.Result {
	t.Helper()
	read, err := undo.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	opened, err := mounted.Open(nil, mounted.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	r.Job, r.Report = undo.Job{}, new(Recorder)
	if _, err := r.From(t.Context(), &undo.Source{Log: read, Name: log, Open: opened.OpenFile}, 1); err != nil {
		t.Fatal(err)
	}
	return ByPath(t, r.Report.Results, root)
}
