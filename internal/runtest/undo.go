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
	r, err := undo.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	opened, err := mounted.Open(nil, mounted.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	rec := new(Recorder)
	do := Run{Job: undo.Job{}, Report: rec}
	if _, err := do.From(t.Context(), &undo.Source{Log: r, Name: log, Open: opened.OpenFile}, 1); err != nil {
		t.Fatal(err)
	}
	return ByPath(t, rec.Results, root)
}
