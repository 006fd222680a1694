package undo_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/internal/undo"
)

var errTest = errors.New("made up")

// attempts is how often a file that changes is begun anew.
const attempts = 3

// labels is the run that gives every file a hash.
func labels() runtest.Run {
	return runtest.Run{Job: &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}, Jobs: 2}
}

// Promise 8: undo puts old labels back and removes new ones, and touches no
// file whose label is no longer the one that the run wrote.
func TestPromise8Undo(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, `
		file new content=1
		file empty content=2
		file old content=3
		file right content=4
		file foreign content=5
		file cleared content=6
		file replaced content=7
		file gone content=8
		file linked content=9
	`)
	stale := runtest.Right(t, "stale")
	runtest.SetLabel(t, root+"/empty", imaevm.AttrIMA, []byte{})
	runtest.SetLabel(t, root+"/old", imaevm.AttrIMA, stale)
	runtest.SetLabel(t, root+"/right", imaevm.AttrIMA, runtest.Right(t, "4"))
	log := runtest.Logged(t, labels(), root)

	foreign := []byte("foreign")
	runtest.SetLabel(t, root+"/foreign", imaevm.AttrIMA, foreign)
	runtest.RemoveLabel(t, root+"/cleared", imaevm.AttrIMA)
	treetest.Add(t, root, "file other content=7")
	if err := errors.Join(os.Rename(root+"/other", root+"/replaced"), os.Remove(root+"/gone"),
		os.Remove(root+"/linked"), os.Symlink("old", root+"/linked")); err != nil {
		t.Fatal(err)
	}
	runtest.SetLabel(t, root+"/replaced", imaevm.AttrIMA, runtest.Right(t, "7"))

	results := runtest.Undo(t, log, root)
	runtest.WantOutcomes(t, results, map[string]string{
		"new": "restored", "empty": "restored", "old": "restored", "foreign": "kept", "cleared": "unchanged",
		"replaced": "kept", "gone": "vanished", "linked": "skipped",
	})
	for name, want := range map[string]reason.Code{
		"new": "", "foreign": reason.OtherLabel, "cleared": reason.NotChanged, "replaced": reason.OtherFile, "linked": reason.Symlink,
	} {
		if got := results[name].Code; got != want {
			t.Errorf("%s has code %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string][]byte{
		"new": nil, "empty": {}, "old": stale, "right": runtest.Right(t, "4"), "foreign": foreign, "cleared": nil,
		"replaced": runtest.Right(t, "7"),
	} {
		runtest.WantLabel(t, root+"/"+name, want)
	}
	// A second time there is nothing to do.
	again := runtest.Undo(t, log, root)
	if again["new"].Outcome != report.Unchanged || again["old"].Outcome != report.Unchanged {
		t.Errorf("again: %+v", runtest.Outcomes(again))
	}
	runtest.WantLabel(t, root+"/old", stale)
}

// changing labels a file that is changed in all attempts but the last, with a log;
// the write of the number fail fails, as if the run were killed there.
func changing(t *testing.T, old []byte, fail int) (root, log string) {
	t.Helper()
	root = runtest.Make(t, "file f content=0")
	runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, old)
	w, err := os.OpenFile(root+"/f", os.O_RDWR, 0) // so that there is no lease in the way
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	time.Sleep(40 * time.Millisecond)
	sets := 0
	r := labels()
	r.Writers = run.Allow
	r.Spy = &runtest.Spy{Before: func(op, name string) error {
		if op != "set" {
			return nil
		}
		if sets++; sets < attempts {
			if _, err := w.WriteAt([]byte(fmt.Sprint(sets)), 0); err != nil {
				t.Error(err)
			}
		}
		if sets == fail {
			return errTest // the line is written
		}
		return nil
	}}
	return root, runtest.Logged(t, r, root)
}

// Promise 8, for files that were done several times: undo goes back to what was
// there before the run, and gives each file one outcome.
func TestPromise8UndoOfChangingFiles(t *testing.T) {
	treetest.Leaks(t)
	old := runtest.Right(t, "old")
	wantUndone := func(t *testing.T, root, log, outcome string, label []byte) {
		t.Helper()
		runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"f": outcome})
		runtest.WantLabel(t, root+"/f", label)
	}
	t.Run("completed", func(t *testing.T) {
		root, log := changing(t, old, 0)
		runtest.WantLabel(t, root+"/f", runtest.Right(t, "2"))
		wantUndone(t, root, log, "restored", old)
	})
	t.Run("put back by the run", func(t *testing.T) {
		root, log := changing(t, old, 2)
		wantUndone(t, root, log, "unchanged", old)
	})
	t.Run("killed before the second write", func(t *testing.T) {
		root, log := changing(t, old, 2)
		runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, runtest.Right(t, "0")) // of the first attempt
		wantUndone(t, root, log, "restored", old)
	})
	t.Run("somebody else's label", func(t *testing.T) {
		root, log := changing(t, old, 0)
		runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, []byte("foreign"))
		wantUndone(t, root, log, "kept", []byte("foreign"))
	})
	for what, change := range map[string]func(name string) error{
		"vanished": os.Remove,
		"kept": func(name string) error {
			return errors.Join(os.Rename(name, name+".old"), os.WriteFile(name, nil, 0o644))
		},
		"skipped": func(name string) error { return errors.Join(os.Remove(name), os.Symlink("x", name)) },
	} {
		t.Run(what+" once", func(t *testing.T) {
			root, log := changing(t, old, 0)
			if err := change(root + "/f"); err != nil {
				t.Fatal(err)
			}
			runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"f": what})
		})
	}
}

// Promise 8: a file that is cleared gets all its labels back.
func TestPromise8UndoOfClear(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file both\nfile ima\nfile none")
	runtest.SetLabel(t, root+"/both", imaevm.AttrIMA, []byte("ima"))
	runtest.SetLabel(t, root+"/both", imaevm.AttrEVM, []byte("evm"))
	runtest.SetLabel(t, root+"/ima", imaevm.AttrIMA, []byte{})
	c := label.Clearer{Attrs: []string{imaevm.AttrIMA, imaevm.AttrEVM}}
	log := runtest.Logged(t, runtest.Run{Job: c, Jobs: 2, Writers: run.Ignore}, root)
	for _, name := range []string{"both", "ima", "none"} {
		runtest.WantLabel(t, root+"/"+name, nil)
	}
	runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"both": "restored", "ima": "restored"})
	runtest.WantLabel(t, root+"/both", []byte("ima"))
	runtest.WantLabel(t, root+"/ima", []byte{})
	if evm := runtest.Label(t, root+"/both", imaevm.AttrEVM); string(evm) != "evm" {
		t.Errorf("security.evm is %q", evm)
	}
}

// Promise 8: changes are taken back in the reverse order, and a file of which only
// some are is said to be half done: another undo does the rest.
func TestPromise8UndoOrder(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f")
	runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, []byte("ima"))
	runtest.SetLabel(t, root+"/f", imaevm.AttrEVM, []byte("evm"))
	log := runtest.Logged(t, runtest.Run{Job: label.Clearer{Attrs: label.All()}, Writers: run.Ignore}, root)
	var order []string
	s := &runtest.Spy{Before: func(op, name string) error {
		if op == "set" {
			order = append(order, name)
			if name == imaevm.AttrEVM {
				return errTest
			}
		}
		return nil
	}}
	res := runtest.Run{Spy: s}.Undo(t, log, root)["f"]
	if got := strings.Join(order, " "); got != "security.ima security.evm" { // which was removed first
		t.Error(got)
	}
	if want := "half labelled: security.ima is written: made up"; res.Outcome != report.Failed || res.Err.Error() != want {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	runtest.WantLabel(t, root+"/f", []byte("ima"))
	runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"f": "restored"})
	if evm := runtest.Label(t, root+"/f", imaevm.AttrEVM); string(evm) != "evm" {
		t.Errorf("security.evm is %q", evm)
	}
}

// Promise 8: a run that was killed in the middle of a line is undone up to it.
func TestPromise8TornLog(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=1\nfile b content=2\nfile c content=3")
	log := runtest.Logged(t, labels(), root)
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()-5); err != nil {
		t.Fatal(err)
	}
	results := runtest.Undo(t, log, root)
	if len(results) != 2 {
		t.Errorf("%d results", len(results))
	}
	for rel, res := range results {
		if res.Outcome != report.Restored {
			t.Errorf("%s: %s", rel, res.Outcome)
		}
		runtest.WantLabel(t, root+"/"+rel, nil)
	}
}

// Promise 8: a damaged line is a failure, and the others are undone.
func TestPromise8DamagedLine(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=1\nfile b content=2\nfile c content=3")
	log := runtest.Logged(t, labels(), root)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[2] = append([]byte("x"), lines[2]...)
	if err := os.WriteFile(log, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	restored, failed := 0, 0
	for _, res := range runtest.Undo(t, log, root) {
		var line *undo.LineError
		switch {
		case res.Outcome == report.Restored:
			restored++
			runtest.WantLabel(t, res.Path, nil)
		case res.Outcome == report.Failed && res.Path == log && errors.As(res.Err, &line) && line.Line == 3:
			failed++
		default:
			t.Errorf("%+v", res)
		}
	}
	if restored != 2 || failed != 1 {
		t.Errorf("%d restored, %d failed", restored, failed)
	}
}

// Promise 8: a file whose first line is damaged is undone by those behind it, and
// one that has only lines behind others is found all the same.
func TestPromise8DamagedFirstLine(t *testing.T) {
	old := runtest.Right(t, "old")
	root, log := changing(t, old, 0)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n")) // a header, and one for each attempt
	if len(lines) != 1+attempts+1 {
		t.Fatalf("%d lines", len(lines))
	}
	lines[1] = append([]byte("x"), lines[1]...)
	if err := os.WriteFile(log, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"f": "restored", log: "failed"})
	runtest.WantLabel(t, root+"/f", old)
}

// A log that cannot be written stops the writing, not the run: no file is
// changed without its line.
func TestNoChangeWithoutItsLine(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=1\nfile b content=2")
	log, err := undo.Create(filepath.Join(t.TempDir(), "log"), undo.Header{Namespace: "user"})
	if err != nil {
		t.Fatal(err)
	}
	log.Close() // writing fails from now on
	r := labels()
	r.Outer = func(inner tree.Sink) tree.Sink { return undo.Logged{Sink: inner, Log: log} }
	for rel, res := range r.On(t, root) {
		if res.Outcome != report.Failed {
			t.Errorf("%s: %s", rel, res.Outcome)
		}
		runtest.WantLabel(t, root+"/"+rel, nil)
	}
}

// The log has the path as the kernel takes it, also behind a link.
func TestLogOfDotDot(t *testing.T) {
	root := runtest.Make(t, "file real/f content=1\ndir real/sub\nlink link real/sub")
	t.Chdir(root)
	log := runtest.Logged(t, labels(), "link/..")
	runtest.WantOutcomes(t, runtest.Undo(t, log, root), map[string]string{"link/../f": "restored"})
}
