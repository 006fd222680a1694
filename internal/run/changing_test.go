package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

const (
	// attempts is how often a file that changes is begun anew.
	attempts = 3
	// step is longer than any kernel takes between two timestamps of files.
	step = 20 * time.Millisecond
)

// changeOn returns a spy that changes the file before the n-th call of op, and
// each one after it if always is set.
func changeOn(op string, n int, always bool, change func(call int)) *runtest.Spy {
	calls := 0
	return &runtest.Spy{Before: func(got, name string) error {
		if got == op && name == imaevm.AttrIMA {
			if calls++; calls == n || always && calls > n {
				change(calls)
			}
		}
		return nil
	}}
}

// A writer has a file open for writing, so that nobody gets a lease. What it does
// to the file shows in its times.
type writer struct {
	t *testing.T
	*os.File
}

func openWriter(t *testing.T, name string) writer {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	time.Sleep(2 * step)
	return writer{t, f}
}

func (w writer) overwrite(content string) {
	w.t.Helper()
	if _, err := w.WriteAt([]byte(content), 0); err != nil {
		w.t.Error(err)
	}
}

// allowed is the run of a job on files that are written to.
func allowed(job run.Job, s *runtest.Spy) runtest.Run {
	return runtest.Run{Job: job, Spy: s, Writers: run.Allow}
}

// Promise 3: a file that is changed while it is in hand is done again, and gets
// the label of what it holds at last.
func TestPromise3ChangedIsDoneAgain(t *testing.T) {
	treetest.Leaks(t)
	changes := map[string]func(w writer) error{
		"overwritten": func(w writer) error { w.overwrite("new"); return nil },
		"grown":       func(w writer) error { _, err := w.WriteAt([]byte(" and more"), 3); return err },
		"cut":         func(w writer) error { return w.Truncate(1) },
		"emptied":     func(w writer) error { return w.Truncate(0) },
		"unchanged":   func(w writer) error { return w.Chmod(0o600) },
	}
	for what, change := range changes {
		for _, op := range []string{"get", "set"} { // before it is read, and between reading and labelling
			t.Run(what+" before "+op, func(t *testing.T) {
				root := runtest.Make(t, "file f content=old")
				path := root + "/f"
				w := openWriter(t, path)
				defer w.Close()
				s := changeOn(op, 1, false, func(int) {
					if err := change(w); err != nil {
						t.Error(err)
					}
				})
				res := allowed(hashes(), s).One(t, path)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if res.Outcome != report.Labelled || !res.Warnings.Has(reason.OpenForWriting) {
					t.Errorf("%s, %v, %s", res.Outcome, res.Err, res.Warnings)
				}
				right := runtest.Right(t, string(content))
				runtest.WantLabel(t, path, right)
				if !bytes.Equal(res.IMA, right) {
					t.Errorf("the result has label %x", res.IMA)
				}
			})
		}
	}
}

// Promise 3: the times that a program puts back after it wrote deceive nobody,
// since they are not all times.
func TestPromise3OldTimesPutBack(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=old")
	path := root + "/f"
	w := openWriter(t, path)
	defer w.Close()
	var was unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &was); err != nil {
		t.Fatal(err)
	}
	s := changeOn("get", 1, false, func(int) {
		w.overwrite("new")
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{was.Atim, was.Mtim}, 0); err != nil {
			t.Error(err)
		}
	})
	res := allowed(hashes(), s).One(t, path)
	if res.Outcome != report.Labelled || s.Gets.Load() < 2 || res.Bytes != 2*3 {
		t.Errorf("%s, %v, after %d bytes", res.Outcome, res.Err, res.Bytes)
	}
	runtest.WantLabel(t, path, runtest.Right(t, "new"))
}

// Promise 3: a file that never holds still fails as changing, and keeps the
// label that it had.
func TestPromise3AlwaysChanging(t *testing.T) {
	treetest.Leaks(t)
	for _, op := range []string{"get", "set"} {
		for _, old := range [][]byte{nil, {}, runtest.Right(t, "before")} {
			t.Run(fmt.Sprintf("%s/%d", op, len(old)), func(t *testing.T) {
				root := runtest.Make(t, "file f content=0")
				path := root + "/f"
				if old != nil {
					runtest.SetLabel(t, path, imaevm.AttrIMA, old)
				}
				w := openWriter(t, path)
				defer w.Close()
				s := changeOn(op, 1, true, func(n int) {
					if n <= attempts { // what puts the old label back is a call, too
						w.overwrite(fmt.Sprint(n))
					}
				})
				res := allowed(hashes(), s).One(t, path)
				if res.Outcome != report.Failed || !errors.Is(res.Err, run.ErrChanging) {
					t.Errorf("%s, %v", res.Outcome, res.Err)
				}
				runtest.WantLabel(t, path, old)
			})
		}
	}
}

// Promise 3: a label that somebody else wrote meanwhile is not replaced by the
// old one.
func TestPromise3TakesBackOnlyItsOwn(t *testing.T) {
	root := runtest.Make(t, "file f content=0")
	path, foreign := root+"/f", runtest.Right(t, "somebody else's")
	w := openWriter(t, path)
	sets, gets := 0, 0
	s := &runtest.Spy{Before: func(op, _ string) error {
		switch {
		case op == "get" && sets == attempts: // about to be taken back
			if gets++; gets == 1 {
				runtest.SetLabel(t, path, imaevm.AttrIMA, foreign)
			}
		case op == "set":
			if sets++; sets <= attempts {
				w.overwrite(fmt.Sprint(sets))
			}
		}
		return nil
	}}
	if res := allowed(hashes(), s).One(t, path); !errors.Is(res.Err, run.ErrChanging) || !bytes.Equal(res.IMA, foreign) {
		t.Errorf("%s, %v, label %x", res.Outcome, res.Err, res.IMA)
	}
	runtest.WantLabel(t, path, foreign)
}

// Promise 3: if the old label cannot be put back, that is said.
func TestPromise3TakeBackFails(t *testing.T) {
	root := runtest.Make(t, "file f content=0")
	path := root + "/f"
	w := openWriter(t, path)
	s := changeOn("set", 1, true, func(n int) { w.overwrite(fmt.Sprint(n)) })
	inner := s.Before
	s.Before = func(op, name string) error {
		if op == "remove" {
			return unix.EIO
		}
		return inner(op, name)
	}
	res := allowed(hashes(), s).One(t, path)
	if res.Outcome != report.Failed || !errors.Is(res.Err, unix.EIO) || !strings.Contains(res.Err.Error(), "putting the old label back") {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	if want := runtest.Right(t, fmt.Sprint(attempts-1)); !bytes.Equal(res.IMA, want) {
		t.Errorf("the result has label %x, want %x", res.IMA, want)
	}
}

// Promise 3, with a writer that nobody tells to wait: every label that is ever
// reported is that of a content that was there.
func TestPromise3RestlessWriter(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=00000000")
	path := root + "/f"
	var mu sync.Mutex
	there := map[string]bool{string(runtest.Right(t, "00000000")): true}
	w := openWriter(t, path)
	defer w.Close()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for n := 1; ; n++ {
			content := fmt.Sprintf("%08d", n)
			mu.Lock()
			there[string(runtest.Right(t, content))] = true
			mu.Unlock()
			w.overwrite(content)
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(n%9) * 6 * time.Millisecond):
			}
		}
	})
	count := make(map[report.Outcome]int)
	for range 60 {
		time.Sleep(5 * time.Millisecond)
		res := allowed(hashes(), nil).One(t, path)
		count[res.Outcome]++
		mu.Lock()
		if res.Outcome == report.Labelled && !there[string(res.IMA)] {
			t.Errorf("label %x of a content that never was", res.IMA)
		}
		mu.Unlock()
		if res.Outcome == report.Failed && !errors.Is(res.Err, run.ErrChanging) {
			t.Error(res.Err)
		}
	}
	close(stop)
	wg.Wait()
	t.Log(count)
}

// writers opens files of a tree in every way, and returns what closes them: those
// named written and mapped for writing.
func writers(t *testing.T) (root string, end func()) {
	root = runtest.Make(t, "file written content=x\nfile mapped content=x\nfile read content=x\nfile closed content=x")
	written := openWriter(t, root+"/written")
	r, err := os.Open(root + "/read")
	if err != nil {
		t.Fatal(err)
	}
	runtest.Overwrite(t, root+"/closed", "y")
	m := openWriter(t, root+"/mapped")
	page, err := unix.Mmap(int(m.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	m.Close() // the mapping goes on
	if err != nil {
		t.Fatal(err)
	}
	return root, func() {
		if err := errors.Join(written.Close(), r.Close(), unix.Munmap(page)); err != nil {
			t.Error(err)
		}
	}
}

// Promise 3: a file that somebody has open for writing fails, and keeps its label;
// where that is allowed it is labelled, and said. Where nothing is to be written,
// writers are no matter.
func TestPromise3OpenWriterIsTold(t *testing.T) {
	treetest.Leaks(t)
	root, end := writers(t)
	defer end()
	open := []string{"written", "mapped"}
	for rel, res := range (runtest.Run{Job: hashes(), Jobs: 2}).On(t, root) {
		isOpen := slices.Contains(open, rel)
		if (res.Err == run.ErrWriter) != isOpen || (res.Outcome == report.Labelled) == isOpen || len(res.Warnings) > 0 {
			t.Errorf("%s: %s, %v, warnings %q", rel, res.Outcome, res.Err, res.Warnings)
		}
		if isOpen {
			runtest.WantLabel(t, root+"/"+rel, nil)
		}
	}
	forced := hashes()
	forced.Force = true
	for rel, res := range (runtest.Run{Job: forced, Jobs: 2, Writers: run.Allow}).On(t, root) {
		told := res.Warnings.Code() == reason.OpenForWriting && strings.HasPrefix(res.Warning(), "open for writing")
		if want := slices.Contains(open, rel); res.Outcome != report.Labelled || told != want {
			t.Errorf("%s: %s, warning %q", rel, res.Outcome, res.Warning())
		}
	}
	for rel, res := range (runtest.Run{Job: hashes(), Jobs: 2}).On(t, root) {
		if res.Outcome != report.Unchanged || len(res.Warnings) > 0 {
			t.Errorf("%s is right already: %s, %v, warning %q", rel, res.Outcome, res.Err, res.Warnings)
		}
	}
	clear := label.Clearer{Attrs: label.All()}
	for rel, res := range (runtest.Run{Job: clear, Jobs: 2, Writers: run.Ignore}).On(t, root) {
		if res.Outcome != report.Cleared || len(res.Warnings) > 0 {
			t.Errorf("%s is cleared: %s, %v, warning %q", rel, res.Outcome, res.Err, res.Warnings)
		}
	}
}

// An attempt that has nothing left to write does not hide what one before it wrote.
func TestLabelledByAnAttemptBefore(t *testing.T) {
	root := runtest.Make(t, "file f content=a")
	path := root + "/f"
	w := openWriter(t, path)
	// The second attempt finds the label that the first one wrote, and it fits.
	s := changeOn("set", 1, false, func(int) { w.overwrite("a") })
	var applied [][]tree.Change
	r := allowed(hashes(), s)
	r.Outer = func(inner tree.Sink) tree.Sink { return recorded{inner, &applied} }
	if res := r.One(t, path); res.Outcome != report.Labelled || len(applied) != 1 {
		t.Errorf("%s, %v, %+v", res.Outcome, res.Err, applied)
	}
}

// A recorded sink keeps the changes that it is given.
type recorded struct {
	tree.Sink
	changes *[][]tree.Change
}

func (s recorded) Apply(f tree.File, changes []tree.Change) error {
	*s.changes = append(*s.changes, slices.Clone(changes))
	return s.Sink.Apply(f, changes)
}

// Changes of an attempt after the first tell of what was there before the run, and
// that they replace others.
func TestChangesOfLaterAttempts(t *testing.T) {
	root := runtest.Make(t, "file f content=0")
	path, old := root+"/f", runtest.Right(t, "old")
	runtest.SetLabel(t, path, imaevm.AttrIMA, old)
	w := openWriter(t, path)
	s := changeOn("set", 1, true, func(n int) {
		if n < attempts {
			w.overwrite(fmt.Sprint(n))
		}
	})
	var applied [][]tree.Change
	r := allowed(hashes(), s)
	r.Outer = func(inner tree.Sink) tree.Sink { return recorded{inner, &applied} }
	if res := r.One(t, path); res.Outcome != report.Labelled || len(applied) != attempts {
		t.Fatalf("%s, %v, %+v", res.Outcome, res.Err, applied)
	}
	for n, changes := range applied {
		want := tree.Change{Attr: imaevm.AttrIMA, Old: old, New: runtest.Right(t, fmt.Sprint(n)), Again: n > 0}
		if len(changes) != 1 || changes[0].Attr != want.Attr || !bytes.Equal(changes[0].Old, want.Old) ||
			!bytes.Equal(changes[0].New, want.New) || changes[0].Again != want.Again {
			t.Errorf("attempt %d: %+v, want %+v", n, changes, want)
		}
	}
}

// Asking for writers hinders nobody: while the run goes on, every file that has a
// result can be opened for writing at once.
func TestLeaseIsGivenUp(t *testing.T) {
	root := runtest.Make(t, "file a content=x\nfile b content=y")
	rec := &runtest.Recorder{Before: func(res report.Result) error {
		fd, err := unix.Open(res.Path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", res.Path, err)
		}
		return unix.Close(fd)
	}}
	inner := rec.Before
	block := make(chan struct{})
	rec.Before = func(res report.Result) error {
		err := inner(res)
		if err != nil || len(rec.Results) == 2 {
			close(block)
		}
		return err
	}
	r := runtest.Run{Job: hashes(), Report: rec, Source: func(inner tree.Source) tree.Source {
		return lingering{inner, block} // the run has not ended when the last result comes
	}}
	if _, err := r.Do(t.Context(), t, root); err != nil {
		t.Error(err)
	}
}

// A lingering source ends its walk when a channel is closed.
type lingering struct {
	tree.Source
	end chan struct{}
}

func (s lingering) Walk(ctx context.Context, visit func(tree.Found) error) error {
	err := s.Source.Walk(ctx, visit)
	<-s.end
	return err
}
