package relabel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
	"imaseal/internal/undo"
)

// logged runs a job with an undo log and returns its name.
func logged(t *testing.T, root string, job func(log *undo.Log) Job) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "log")
	log, err := undo.Create(name, undo.Header{Namespace: "user", Command: "hash"})
	if err != nil {
		t.Fatal(err)
	}
	run(t, job(log), 2, root)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

func loggedLabels(l *Labeller) func(*undo.Log) Job {
	return func(log *undo.Log) Job {
		l.Writer.Log = log
		return l.Label
	}
}

// undoLog undoes a log and returns the results by path relative to root. No
// path has two.
func undoLog(t *testing.T, name, root string) map[string]report.Result {
	t.Helper()
	log, err := undo.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	u := &Undoer{Log: log, Name: name, Writer: Writer{Store: renamed}}
	rec := new(recorder)
	if _, err := (&Run{Source: u.Source, Job: u.Undo, Report: rec}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	return byPath(t, rec.results, root)
}

func wantResults(t *testing.T, got map[string]report.Result, want map[string]string) {
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

// Promise 8: undo puts old labels back and removes new ones, and touches no
// file whose label is no longer the one that the run wrote.
func TestPromise8Undo(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, `
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
	stale := right(t, []byte("stale"))
	setLabel(t, root+"/empty", imaevm.AttrIMA, []byte{})
	setLabel(t, root+"/old", imaevm.AttrIMA, stale)
	setLabel(t, root+"/right", imaevm.AttrIMA, right(t, []byte("4")))
	log := logged(t, root, loggedLabels(labeller(renamed)))

	foreign := []byte("foreign")
	setLabel(t, root+"/foreign", imaevm.AttrIMA, foreign)
	f, err := os.Open(root + "/cleared")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := renamed.Remove(f, imaevm.AttrIMA); err != nil {
		t.Fatal(err)
	}
	treetest.Add(t, root, "file other content=7")
	if err := errors.Join(os.Rename(root+"/other", root+"/replaced"), os.Remove(root+"/gone"),
		os.Remove(root+"/linked"), os.Symlink("old", root+"/linked")); err != nil {
		t.Fatal(err)
	}
	setLabel(t, root+"/replaced", imaevm.AttrIMA, right(t, []byte("7")))

	wantResults(t, undoLog(t, log, root), map[string]string{
		"new": "restored", "empty": "restored", "old": "restored", "foreign": "kept", "cleared": "unchanged",
		"replaced": "kept", "gone": "vanished", "linked": "skipped",
	})
	for name, want := range map[string][]byte{
		"new": nil, "empty": {}, "old": stale, "right": right(t, []byte("4")), "foreign": foreign, "cleared": nil,
		"replaced": right(t, []byte("7")),
	} {
		wantLabel(t, root+"/"+name, want)
	}
	// A second time there is nothing to do.
	again := undoLog(t, log, root)
	if again["new"].Outcome != report.Unchanged || again["old"].Outcome != report.Unchanged {
		t.Errorf("again: %+v", outcomes(again))
	}
	wantLabel(t, root+"/old", stale)
}

// Promise 8, for files that were done several times: undo goes back to what was
// there before the run, and gives each file one outcome.
func TestPromise8UndoOfChangingFiles(t *testing.T) {
	treetest.Leaks(t)
	old := right(t, []byte("old"))
	setUp := func(t *testing.T, fail int) (root, log string) {
		root = tree(t, "file f content=0")
		setLabel(t, root+"/f", imaevm.AttrIMA, old)
		time.Sleep(2 * timestampStep)
		sets := 0
		s := &spy{Store: renamed}
		s.before = func(op, name string) error {
			if op != "set" {
				return nil
			}
			if sets++; sets < attempts {
				overwrite(t, root+"/f", fmt.Sprint(sets))
			}
			if sets == fail {
				return errTest // as if the run were killed here: the line is written
			}
			return nil
		}
		log = logged(t, root, loggedLabels(labeller(s)))
		return root, log
	}
	t.Run("completed", func(t *testing.T) {
		root, log := setUp(t, 0)
		wantLabel(t, root+"/f", right(t, []byte("2")))
		wantResults(t, undoLog(t, log, root), map[string]string{"f": "restored"})
		wantLabel(t, root+"/f", old)
	})
	t.Run("put back by the run", func(t *testing.T) {
		root, log := setUp(t, 2)
		wantResults(t, undoLog(t, log, root), map[string]string{"f": "unchanged"})
		wantLabel(t, root+"/f", old)
	})
	t.Run("killed before the second write", func(t *testing.T) {
		root, log := setUp(t, 2)
		setLabel(t, root+"/f", imaevm.AttrIMA, right(t, []byte("0"))) // of the first attempt
		wantResults(t, undoLog(t, log, root), map[string]string{"f": "restored"})
		wantLabel(t, root+"/f", old)
	})
	t.Run("somebody else's label", func(t *testing.T) {
		root, log := setUp(t, 0)
		setLabel(t, root+"/f", imaevm.AttrIMA, []byte("foreign"))
		wantResults(t, undoLog(t, log, root), map[string]string{"f": "kept"})
		wantLabel(t, root+"/f", []byte("foreign"))
	})
	for what, change := range map[string]func(name string) error{
		"vanished": os.Remove,
		"kept": func(name string) error {
			return errors.Join(os.Rename(name, name+".old"), os.WriteFile(name, nil, 0o644))
		},
		"skipped": func(name string) error { return errors.Join(os.Remove(name), os.Symlink("x", name)) },
	} {
		t.Run(what+" once", func(t *testing.T) {
			root, log := setUp(t, 0)
			if err := change(root + "/f"); err != nil {
				t.Fatal(err)
			}
			wantResults(t, undoLog(t, log, root), map[string]string{"f": what})
		})
	}
}

// Promise 8: a file that is cleared gets all its labels back.
func TestPromise8UndoOfClear(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file both\nfile ima\nfile none")
	setLabel(t, root+"/both", imaevm.AttrIMA, []byte("ima"))
	setLabel(t, root+"/both", imaevm.AttrEVM, []byte("evm"))
	setLabel(t, root+"/ima", imaevm.AttrIMA, []byte{})
	c := &Clearer{Attrs: []string{imaevm.AttrIMA, imaevm.AttrEVM}, Writer: Writer{Store: renamed}}
	log := logged(t, root, func(log *undo.Log) Job {
		c.Writer.Log = log
		return c.Clear
	})
	for _, name := range []string{"both", "ima", "none"} {
		wantLabel(t, root+"/"+name, nil)
	}
	wantResults(t, undoLog(t, log, root), map[string]string{"both": "restored", "ima": "restored"})
	wantLabel(t, root+"/both", []byte("ima"))
	wantLabel(t, root+"/ima", []byte{})
	if evm := label(t, root+"/both", imaevm.AttrEVM); string(evm) != "evm" {
		t.Errorf("security.evm is %q", evm)
	}
}

// Promise 8: a run that was killed in the middle of a line is undone up to it.
func TestPromise8TornLog(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file a content=1\nfile b content=2\nfile c content=3")
	log := logged(t, root, loggedLabels(labeller(renamed)))
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()-5); err != nil {
		t.Fatal(err)
	}
	results := undoLog(t, log, root)
	if len(results) != 2 {
		t.Errorf("%d results", len(results))
	}
	for rel, res := range results {
		if res.Outcome != report.Restored {
			t.Errorf("%s: %s", rel, res.Outcome)
		}
		wantLabel(t, root+"/"+rel, nil)
	}
}

// Promise 8: a damaged line is a failure, and the others are undone.
func TestPromise8DamagedLine(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file a content=1\nfile b content=2\nfile c content=3")
	log := logged(t, root, loggedLabels(labeller(renamed)))
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
	for _, res := range undoLog(t, log, "/") {
		var line *undo.LineError
		switch {
		case res.Outcome == report.Restored:
			restored++
			wantLabel(t, res.Path, nil)
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

// A log that cannot be written stops the writing, not the run: no file is
// changed without its line.
func TestNoChangeWithoutItsLine(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file a content=1\nfile b content=2")
	log, err := undo.Create(filepath.Join(t.TempDir(), "log"), undo.Header{Namespace: "user"})
	if err != nil {
		t.Fatal(err)
	}
	log.Close() // writing fails from now on
	l := labeller(renamed)
	l.Writer.Log = log
	for rel, res := range run(t, l.Label, 2, root) {
		if res.Outcome != report.Failed {
			t.Errorf("%s: %s", rel, res.Outcome)
		}
		wantLabel(t, root+"/"+rel, nil)
	}
}

// The log has the path as the kernel takes it, also behind a link.
func TestLogOfDotDot(t *testing.T) {
	root := tree(t, "file real/f content=1\ndir real/sub\nlink link real/sub")
	t.Chdir(root)
	log := logged(t, "link/..", loggedLabels(labeller(renamed)))
	wantResults(t, undoLog(t, log, root), map[string]string{"link/../f": "restored"})
}
