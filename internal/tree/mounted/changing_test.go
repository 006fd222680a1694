package mounted_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
)

// unforced gives a hash to every file that has not the right one.
func unforced() *label.Labeller {
	l := hashes()
	l.Force = false
	return l
}

// leaseless is a run on a file system without leases, where only times tell.
func leaseless(spy *runtest.Spy) runtest.Run {
	return runtest.Run{Job: unforced(), Spy: spy, Tree: func(of *mounted.Tree) { of.SetLease(noLease) }}
}

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

// Promise 3: a file that is changed while it is in hand is done again, and gets
// the label of what it holds at last: where there are no leases, and where a
// writer is allowed.
func TestPromise3ChangedIsDoneAgain(t *testing.T) {
	treetest.Leaks(t)
	changes := map[string]func(path string, f *os.File) error{
		"overwritten": func(_ string, f *os.File) error { _, err := f.WriteAt([]byte("new"), 0); return err },
		"grown":       func(_ string, f *os.File) error { _, err := f.WriteAt([]byte(" and more"), 3); return err },
		"cut":         func(_ string, f *os.File) error { return f.Truncate(1) },
		"emptied":     func(_ string, f *os.File) error { return f.Truncate(0) },
		"unchanged":   func(path string, _ *os.File) error { return os.Chmod(path, 0o600) },
	}
	for what, change := range changes {
		for _, op := range []string{"get", "set"} { // before it is read, and between reading and labelling
			for _, allowed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s before %s, allowed %v", what, op, allowed), func(t *testing.T) {
					path := runtest.Make(t, "file f content=old") + "/f"
					f, err := os.OpenFile(path, os.O_WRONLY, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					time.Sleep(2 * mounted.TimestampStep)
					s := changeOn(op, 1, false, func(int) {
						if err := change(path, f); err != nil {
							t.Error(err)
						}
					})
					r := leaseless(s)
					if allowed {
						r.Tree, r.Writers = nil, run.Allow
					}
					res := r.One(t, path)
					content, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					if res.Outcome != report.Labelled {
						t.Errorf("%s, %v", res.Outcome, res.Err)
					}
					want := runtest.Right(t, string(content))
					runtest.WantLabel(t, path, want)
					if !bytes.Equal(res.IMA, want) {
						t.Errorf("the result has label %x", res.IMA)
					}
				})
			}
		}
	}
}

// Promise 3: the times that a program puts back after it wrote deceive nobody,
// since they are not all times.
func TestPromise3OldTimesPutBack(t *testing.T) {
	treetest.Leaks(t)
	path := runtest.Make(t, "file f content=old") + "/f"
	time.Sleep(2 * mounted.TimestampStep)
	of, f := openFile(t, path)
	of.SetLease(noLease)
	begin(t, f, tree.Untold)
	if err := f.Unchanged(false); err != nil {
		t.Error(err)
	}
	was := f.Entry().Stat
	runtest.Overwrite(t, path, "new")
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{was.Atim, was.Mtim}, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Unchanged(false); !tree.IsChanged(err) || !errors.Is(err, mounted.ErrTimes) {
		t.Error(err)
	}
	f.Close()
}

// Promise 3, for EVM: a change of the owner or the mode between looking and
// writing begins anew, too, under a lease or not.
func TestPromise3OwnerChanged(t *testing.T) {
	treetest.Leaks(t)
	for _, hold := range []tree.Hold{tree.Alone, tree.Untold} {
		path := runtest.Make(t, "file f content=x mode=0644") + "/f"
		time.Sleep(2 * mounted.TimestampStep)
		of, f := openFile(t, path)
		if hold == tree.Untold {
			of.SetLease(noLease)
		}
		begin(t, f, hold)
		sink := runtest.User.Sink(new(mounted.Sink))
		if err := sink.Apply(f, []tree.Change{{Attr: imaevm.AttrIMA, New: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Unchanged(true); err != nil { // what a sink does is no change
			t.Error(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := f.Unchanged(false); err != nil {
			t.Errorf("the content is as it was: %v", err)
		}
		if err := f.Unchanged(true); !tree.IsChanged(err) {
			t.Error(err)
		}
		begin(t, f, hold)
		if f.Meta().Mode != unix.S_IFREG|0o755 {
			t.Errorf("mode %o", f.Meta().Mode)
		}
		f.Close()
		if err := sink.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Promise 3: a file that never holds still fails as changing, and keeps the
// label that it had.
func TestPromise3AlwaysChanging(t *testing.T) {
	treetest.Leaks(t)
	for _, op := range []string{"get", "set"} {
		for _, old := range [][]byte{nil, {}, runtest.Right(t, "before")} {
			t.Run(fmt.Sprintf("%s/%d", op, len(old)), func(t *testing.T) {
				path := runtest.Make(t, "file f content=0") + "/f"
				if old != nil {
					runtest.SetLabel(t, path, imaevm.AttrIMA, old)
				}
				time.Sleep(2 * mounted.TimestampStep)
				s := changeOn(op, 1, true, func(n int) {
					if n <= 3 { // what puts the old label back is a call, too
						runtest.Overwrite(t, path, fmt.Sprint(n))
					}
				})
				res := leaseless(s).One(t, path)
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
	path := runtest.Make(t, "file f content=0") + "/f"
	foreign := runtest.Right(t, "somebody else's")
	time.Sleep(2 * mounted.TimestampStep)
	sets, gets := 0, 0
	s := &runtest.Spy{Before: func(op, name string) error {
		switch op {
		case "set":
			if sets++; sets <= 3 {
				runtest.Overwrite(t, path, fmt.Sprint(sets))
			}
		case "get":
			if sets == 3 { // about to be taken back
				if gets++; gets == 1 {
					runtest.SetLabel(t, path, imaevm.AttrIMA, foreign)
				}
			}
		}
		return nil
	}}
	if res := leaseless(s).One(t, path); !errors.Is(res.Err, run.ErrChanging) {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	runtest.WantLabel(t, path, foreign)
}

// Promise 3: if the old label cannot be put back, that is said.
func TestPromise3TakeBackFails(t *testing.T) {
	path := runtest.Make(t, "file f content=0") + "/f"
	time.Sleep(2 * mounted.TimestampStep)
	s := changeOn("set", 1, true, func(n int) { runtest.Overwrite(t, path, fmt.Sprint(n)) })
	inner := s.Before
	s.Before = func(op, name string) error {
		if op == "remove" {
			return unix.EIO
		}
		return inner(op, name)
	}
	res := leaseless(s).One(t, path)
	if res.Outcome != report.Failed || !errors.Is(res.Err, unix.EIO) || !strings.Contains(res.Err.Error(), "putting the old label back") {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
}

// Promise 3: the kernel's clock for files advances by ticks. A file changed
// within the last ones is waited for, until another change must show.
func TestPromise3TimestampGranule(t *testing.T) {
	treetest.Leaks(t)
	path := runtest.Make(t, "file f content=0") + "/f"
	of, f := openFile(t, path)
	defer f.Close()
	of.SetLease(noLease)
	runtest.Overwrite(t, path, "1")
	begin(t, f, tree.Untold)
	if age := time.Since(time.Unix(f.Entry().Stat.Ctim.Unix())); age < mounted.TimestampStep {
		t.Errorf("settled after %v", age)
	}
	// Changed again while it waits: it has not settled. The other goroutine
	// may take its time to begin.
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := make(chan struct{})
	defer close(stop)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				unix.UtimesNanoAt(unix.AT_FDCWD, path, nil, 0)
			}
		}
	})
	for since := time.Now(); ; {
		if _, err := f.Begin(false); tree.IsChanged(err) {
			break
		}
		if time.Since(since) > 10*time.Second {
			t.Fatal("a file that is changed all the time has settled")
		}
	}
}

// Promise 3, with a writer that nobody tells to wait: every label that is ever
// reported is that of a content that was there.
func TestPromise3RestlessWriter(t *testing.T) {
	for name, r := range map[string]struct {
		race
		keepsOpen bool
	}{
		"opens each time":  {race{writers: run.Refuse}, false},
		"keeps it open":    {race{writers: run.Refuse}, true},
		"is allowed":       {race{writers: run.Allow}, true},
		"has no leases":    {race{writers: run.Refuse, lease: noLease}, true},
		"is denied leases": {race{writers: run.Refuse, lease: deniedLease}, false},
	} {
		t.Run(name, func(t *testing.T) {
			treetest.Leaks(t)
			path := runtest.Make(t, "file f content=00000000") + "/f"
			open := func() *os.File {
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					t.Error(err)
				}
				return f
			}
			if r.keepsOpen {
				f := open()
				defer f.Close()
				open = func() *os.File { return f }
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { writeRestlessly(t, open, r.keepsOpen, stop) })
			count := make(map[string]int)
			isNumber := func(b []byte) bool { return len(bytes.Trim(b, "0123456789")) == 0 }
			for range 40 {
				time.Sleep(5 * time.Millisecond)
				res := r.label(t, &writer{path: path, size: 8, isWhole: isNumber})
				count[what(res)]++
				if r.keepsOpen && r.lease == nil && r.writers == run.Refuse && res.Err == nil {
					t.Errorf("labelled: %+v", res)
				}
			}
			close(stop)
			wg.Wait()
			t.Log(count)
		})
	}
}

// writeRestlessly writes numbers of eight digits.
func writeRestlessly(t *testing.T, open func() *os.File, keepsOpen bool, stop <-chan struct{}) {
	for n := 1; ; n++ {
		f := open()
		if _, err := f.WriteAt(fmt.Appendf(nil, "%08d", n), 0); err != nil {
			t.Error(err)
		}
		if !keepsOpen {
			f.Close()
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(n%9) * 6 * time.Millisecond):
		}
	}
}

// Promise 3: a file that somebody has open for writing fails, or, where that is
// allowed, is labelled, and said.
func TestPromise3OpenWriterIsTold(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file written content=x\nfile mapped content=x\nfile read content=x\nfile closed content=x")
	f, err := os.OpenFile(root+"/written", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := os.Open(root + "/read")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	runtest.Overwrite(t, root+"/closed", "y")
	m, err := os.OpenFile(root+"/mapped", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(m.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	m.Close() // the mapping goes on
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	hasWriter := func(rel string) bool { return rel == "written" || rel == "mapped" }
	for rel, res := range (runtest.Run{Job: unforced(), Jobs: 2}).On(t, root) {
		if hasWriter(rel) {
			if !errors.Is(res.Err, run.ErrWriter) || res.Err.Error() != "changing: somebody has it open for writing" {
				t.Errorf("%s: %s, %v", rel, res.Outcome, res.Err)
			}
			runtest.WantLabel(t, root+"/"+rel, nil)
		} else if res.Outcome != report.Labelled || len(res.Warnings) > 0 {
			t.Errorf("%s: %s, %v, warning %q", rel, res.Outcome, res.Err, res.Warning())
		}
	}
	for rel, res := range (runtest.Run{Job: hashes(), Jobs: 2, Writers: run.Allow}).On(t, root) {
		told := strings.HasPrefix(res.Warning(), "open for writing") && res.Warnings[0].Code == reason.OpenForWriting
		if res.Outcome != report.Labelled || told != hasWriter(rel) {
			t.Errorf("%s: %s, warning %q", rel, res.Outcome, res.Warning())
		}
	}
}

// Asking for writers hinders nobody: while the run goes on, every file can be
// opened for writing at once, also that whose descriptor is kept to sync the file
// system.
func TestLeaseIsGivenUp(t *testing.T) {
	root := runtest.Make(t, "file a content=x\nfile b content=y")
	block, unblock := context.WithCancel(t.Context())
	rec := new(runtest.Recorder)
	rec.Before = func(res report.Result) error {
		fd, err := unix.Open(res.Path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		if err != nil || len(rec.Results) == 2 {
			unblock()
		}
		return err
	}
	_, err := runtest.Run{Job: unforced(), Report: rec, Source: func(inner tree.Source) tree.Source {
		return walkFunc(func(ctx context.Context, visit func(tree.Found) error) error {
			err := inner.Walk(ctx, visit)
			<-block.Done() // the run has not ended when the last result comes
			return err
		})
	}}.Do(t.Context(), t, root)
	if err != nil || len(rec.Results) != 2 {
		t.Errorf("%d results, %v", len(rec.Results), err)
	}
}

// walkFunc is a source.
type walkFunc func(ctx context.Context, visit func(tree.Found) error) error

func (f walkFunc) Walk(ctx context.Context, visit func(tree.Found) error) error { return f(ctx, visit) }

// Contents are no matter where labels are removed: also of a file that somebody
// writes to all the time.
func TestClearOfChangingFile(t *testing.T) {
	path := runtest.Make(t, "file f content=00000000") + "/f"
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				f.WriteAt([]byte("x"), 0)
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for range 5 {
		runtest.SetLabel(t, path, imaevm.AttrIMA, []byte("x"))
		r := runtest.Run{Job: label.Clearer{Attrs: label.All()}, Writers: run.Ignore}
		if res := r.One(t, path); res.Outcome != report.Cleared {
			t.Errorf("%s, %v", res.Outcome, res.Err)
		}
		runtest.WantLabel(t, path, nil)
	}
}
