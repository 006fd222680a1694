package relabel

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

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// changeOn returns a spy that changes the file before the n-th call of op, and
// each one after it if always is set.
func changeOn(op string, n int, always bool, change func(call int)) *spy {
	calls := 0
	return &spy{Store: renamed, before: func(got, name string) error {
		if got == op && name == imaevm.AttrIMA {
			if calls++; calls == n || always && calls > n {
				change(calls)
			}
		}
		return nil
	}}
}

func overwrite(t *testing.T, name string, content string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
}

// Promise 3: a file that is changed while it is in hand is done again, and gets
// the label of what it holds at last.
func TestPromise3ChangedIsDoneAgain(t *testing.T) {
	treetest.Leaks(t)
	const name = "f"
	changes := map[string]func(t *testing.T, path string){
		"overwritten": func(t *testing.T, path string) { overwrite(t, path, "new") },
		"grown": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.WriteString(" and more")
		},
		"cut":       func(t *testing.T, path string) { os.Truncate(path, 1) },
		"emptied":   func(t *testing.T, path string) { os.Truncate(path, 0) },
		"unchanged": func(t *testing.T, path string) { os.Chmod(path, 0o600) },
	}
	for what, change := range changes {
		for _, op := range []string{"get", "set"} { // before it is read, and between reading and labelling
			t.Run(what+" before "+op, func(t *testing.T) {
				root := tree(t, "file f content=old")
				path := root + "/" + name
				time.Sleep(2 * timestampStep)
				s := changeOn(op, 1, false, func(int) { change(t, path) })
				res := run(t, labeller(s).Label, 1, root)[name]
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if res.Outcome != report.Labelled {
					t.Errorf("%s, %v", res.Outcome, res.Err)
				}
				wantLabel(t, path, right(t, content))
				if !bytes.Equal(res.IMA, right(t, content)) {
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
	root := tree(t, "file f content=old")
	path := root + "/f"
	time.Sleep(2 * timestampStep)
	e := walk.OpenFile(path)
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	defer e.File.Close()
	overwrite(t, path, "new")
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{e.Stat.Atim, e.Stat.Mtim}, 0); err != nil {
		t.Fatal(err)
	}
	shared := &running{written: make(map[uint64]int)}
	w := shared.take()
	var changed *changedError
	if d, _, err := w.read(t.Context(), &e, hash.SHA256); !errors.As(err, &changed) {
		t.Errorf("%s, %v", d, err)
	}
}

// Promise 3, for EVM: a change of the owner or the mode between looking and
// writing begins anew, too.
func TestPromise3OwnerChanged(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=x mode=0644")
	e := walk.OpenFile(root + "/f")
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	defer e.File.Close()
	if err := os.Chmod(root+"/f", 0o755); err != nil {
		t.Fatal(err)
	}
	shared := &running{written: make(map[uint64]int)}
	defer shared.close()
	w, wr, done := shared.take(), Writer{Store: renamed}, new(undo.File)
	var changed *changedError
	if err := wr.write(w, &e, done, undo.Change{Attr: imaevm.AttrIMA, New: []byte("x")}); !errors.As(err, &changed) {
		t.Error(err)
	}
	if len(done.Changes) != 1 {
		t.Errorf("%+v", done)
	}
}

// Promise 3: a file that never holds still fails as changing, and keeps the
// label that it had.
func TestPromise3AlwaysChanging(t *testing.T) {
	treetest.Leaks(t)
	for _, op := range []string{"get", "set"} {
		for _, old := range [][]byte{nil, {}, right(t, []byte("before"))} {
			t.Run(fmt.Sprintf("%s/%d", op, len(old)), func(t *testing.T) {
				root := tree(t, "file f content=0")
				path := root + "/f"
				if old != nil {
					setLabel(t, path, imaevm.AttrIMA, old)
				}
				time.Sleep(2 * timestampStep)
				s := changeOn(op, 1, true, func(n int) {
					if n <= attempts { // what puts the old label back is a call, too
						overwrite(t, path, fmt.Sprint(n))
					}
				})
				res := run(t, labeller(s).Label, 1, root)["f"]
				if res.Outcome != report.Failed || !errors.Is(res.Err, ErrChanging) {
					t.Errorf("%s, %v", res.Outcome, res.Err)
				}
				wantLabel(t, path, old)
			})
		}
	}
}

// Promise 3: a label that somebody else wrote meanwhile is not replaced by the
// old one.
func TestPromise3TakesBackOnlyItsOwn(t *testing.T) {
	root := tree(t, "file f content=0")
	path, foreign := root+"/f", right(t, []byte("somebody else's"))
	time.Sleep(2 * timestampStep)
	sets := 0
	s := &spy{Store: renamed}
	s.before = func(op, name string) error {
		if op != "set" {
			return nil
		}
		if sets++; sets <= attempts {
			overwrite(t, path, fmt.Sprint(sets))
		}
		return nil
	}
	l := labeller(s)
	gets := 0
	inner := s.before
	s.before = func(op, name string) error {
		if op == "get" && sets == attempts { // about to be taken back
			if gets++; gets == 1 {
				setLabel(t, path, imaevm.AttrIMA, foreign)
			}
		}
		return inner(op, name)
	}
	if res := run(t, l.Label, 1, root)["f"]; !errors.Is(res.Err, ErrChanging) {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	wantLabel(t, path, foreign)
}

// Promise 3: if the old label cannot be put back, that is said.
func TestPromise3TakeBackFails(t *testing.T) {
	root := tree(t, "file f content=0")
	path := root + "/f"
	time.Sleep(2 * timestampStep)
	s := changeOn("set", 1, true, func(n int) { overwrite(t, path, fmt.Sprint(n)) })
	inner := s.before
	s.before = func(op, name string) error {
		if op == "remove" {
			return unix.EIO
		}
		return inner(op, name)
	}
	res := run(t, labeller(s).Label, 1, root)["f"]
	if res.Outcome != report.Failed || !errors.Is(res.Err, unix.EIO) || !strings.Contains(res.Err.Error(), "putting the old label back") {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
}

// Promise 3: the kernel's clock for files advances by ticks. A file changed
// within the last ones is waited for, until another change must show.
func TestPromise3TimestampGranule(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=0")
	e := walk.OpenFile(root + "/f")
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	defer e.File.Close()
	overwrite(t, root+"/f", "1")
	if err := restat(&e); err != nil {
		t.Fatal(err)
	}
	changed := time.Unix(e.Stat.Ctim.Unix())
	if err := settle(&e); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(changed); age < timestampStep {
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
				unix.UtimesNanoAt(unix.AT_FDCWD, root+"/f", nil, 0)
			}
		}
	})
	var change *changedError
	for begin := time.Now(); !errors.As(settleNew(&e), &change); {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("a file that is changed all the time has settled")
		}
	}
}

func settleNew(e *walk.Entry) error {
	if err := restat(e); err != nil {
		return err
	}
	return settle(e)
}

// Promise 3, with a writer that nobody tells to wait: every label that is ever
// reported is that of a content that was there.
func TestPromise3RestlessWriter(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=00000000")
	path := root + "/f"
	var mu sync.Mutex
	there := map[string]bool{string(right(t, []byte("00000000"))): true}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for n := 1; ; n++ {
			content := fmt.Sprintf("%08d", n)
			mu.Lock()
			there[string(right(t, []byte(content)))] = true
			mu.Unlock()
			f.WriteAt([]byte(content), 0)
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
		res := run(t, labeller(renamed).Label, 1, root)["f"]
		count[res.Outcome]++
		mu.Lock()
		if res.Outcome == report.Labelled && !there[string(res.IMA)] {
			t.Errorf("label %x of a content that never was", res.IMA)
		}
		mu.Unlock()
		if res.Outcome == report.Failed && !errors.Is(res.Err, ErrChanging) {
			t.Error(res.Err)
		}
	}
	close(stop)
	wg.Wait()
	t.Log(count)
}

// Promise 3: a file that somebody has open for writing is labelled, and said.
func TestPromise3OpenWriterIsTold(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file written content=x\nfile mapped content=x\nfile read content=x\nfile closed content=x")
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
	overwrite(t, root+"/closed", "y")
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
	for rel, res := range run(t, labeller(renamed).Label, 2, root) {
		told := strings.HasPrefix(res.Warning(), "open for writing")
		if want := rel == "written" || rel == "mapped"; res.Outcome != report.Labelled || told != want {
			t.Errorf("%s: %s, warning %q", rel, res.Outcome, res.Warning())
		}
	}
}

// Asking for writers hinders nobody: while the run goes on, every file can be
// opened for writing at once.
func TestLeaseIsGivenUp(t *testing.T) {
	root := tree(t, "file a content=x\nfile b content=y")
	rec := &recorder{before: func(res report.Result) error {
		fd, err := unix.Open(res.Path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", res.Path, err)
		}
		return unix.Close(fd)
	}}
	block, unblock := context.WithCancel(t.Context())
	walked := source(t, 1, root)
	r := Run{Job: labeller(renamed).Label, Report: rec, Source: func(ctx context.Context, visit walk.Visitor) error {
		err := walked(ctx, visit)
		<-block.Done() // the run has not ended when the last result comes
		return err
	}}
	inner := rec.before
	rec.before = func(res report.Result) error {
		err := inner(res)
		if err != nil || len(rec.results) == 2 {
			unblock()
		}
		return err
	}
	if _, err := r.Do(t.Context()); err != nil {
		t.Error(err)
	}
}
