package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// Promise 1: each selected file has one outcome, the others one reason.
func TestPromise1OneOutcomeEach(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, `
		file a content=1
		file d/b content=2
		hard d/c a
		link l a
		fifo p
		sock s
		file gone
		file z content=3
	`)
	for _, jobs := range []int{1, 4} {
		l := labeller(renamed)
		rec := new(recorder)
		walked := source(t, jobs, root)
		r := Run{Job: l.Label, Report: rec, Source: func(ctx context.Context, visit walk.Visitor) error {
			return errors.Join(walked(ctx, visit), visit(walk.Entry{Path: root + "/vanished", Err: unix.ENOENT}),
				visit(walk.Entry{Path: root + "/denied", Err: unix.EACCES}))
		}}
		sum, err := r.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := outcomes(byPath(t, rec.results, root))
		first, second := "a", "d/c"
		if got[first] == "skipped: hard link" {
			first, second = second, first
		}
		done := "labelled"
		if jobs > 1 {
			done = "unchanged" // by the first run
		}
		want := map[string]string{
			first: done, second: "skipped: hard link", "d/b": done, "gone": done, "z": done,
			"l": "skipped: symbolic link", "p": "skipped: special file", "s": "skipped: special file",
			"vanished": "vanished", "denied": "failed",
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d jobs: %v, want %v", jobs, got, want)
		}
		if sum.Selected() != 6 || sum.HardLinks != 1 || len(sum.Skipped) != 2 {
			t.Errorf("%+v", sum)
		}
	}
}

// Promise 2: bytes that are right are not written again. A second run makes no
// call that writes.
func TestPromise2SecondRunWritesNothing(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file a content=1\nfile b/c content=2\nfile empty")
	s := &spy{Store: renamed}
	first := run(t, labeller(s).Label, 2, root)
	if s.sets.Load() != 3 || s.removes.Load() != 0 {
		t.Errorf("%d sets, %d removes in the first run", s.sets.Load(), s.removes.Load())
	}
	second := run(t, labeller(s).Label, 2, root)
	if s.sets.Load() != 3 || s.removes.Load() != 0 {
		t.Errorf("%d sets, %d removes after the second run", s.sets.Load(), s.removes.Load())
	}
	for rel, res := range second {
		if res.Outcome != report.Unchanged || !bytes.Equal(res.IMA, first[rel].IMA) || res.Digest != first[rel].Digest {
			t.Errorf("%s: %+v", rel, res)
		}
	}
	l := labeller(s)
	l.Force = true
	run(t, l.Label, 2, root)
	if s.sets.Load() != 6 {
		t.Errorf("%d sets after a forced run", s.sets.Load())
	}
}

// Promise 2: what is better than a hash is kept byte for byte.
func TestPromise2NothingGoodIsLost(t *testing.T) {
	treetest.Leaks(t)
	signature := func(kind imaevm.Type, version uint8) []byte {
		b, err := imaevm.Signature{Kind: kind, Version: version, Alg: hash.SHA256, KeyID: 1, Raw: []byte{1, 2, 3}}.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	content := []byte("x")
	good := right(t, content)
	v1 := append([]byte{3, 1}, make([]byte, 30)...)
	tests := []struct {
		name                string
		old                 []byte
		plain, force, repl  string // outcomes without flags, with Force, with ReplaceSignatures
		forceRepl           string
		reasonOrErrContains string
	}{
		{"none", nil, "labelled", "labelled", "labelled", "labelled", ""},
		{"empty", []byte{}, "labelled", "labelled", "labelled", "labelled", ""},
		{"right", good, "unchanged", "labelled", "unchanged", "labelled", ""},
		{"another hash", right(t, []byte("y")), "labelled", "labelled", "labelled", "labelled", ""},
		{"short hash", good[:9], "labelled", "labelled", "labelled", "labelled", ""},
		{"longer hash", append(bytes.Clone(good), 0), "labelled", "labelled", "labelled", "labelled", ""},
		{"signature", signature(imaevm.TypeSignature, 2), "kept", "kept", "labelled", "labelled", "signature"},
		{"signature v3", signature(imaevm.TypeSignature, 3), "kept", "kept", "labelled", "labelled", "signature"},
		{"verity signature", signature(imaevm.TypeVerity, 3), "kept", "kept", "labelled", "labelled", "signature"},
		{"signature v1", v1, "kept", "kept", "labelled", "labelled", "signature"},
		{"broken signature", signature(imaevm.TypeSignature, 2)[:10], "failed", "failed", "labelled", "labelled", "malformed signature"},
		{"hmac", append([]byte{2}, make([]byte, 20)...), "failed", "labelled", "failed", "labelled", "unknown type"},
		{"unknown", []byte{0xff, 1, 2}, "failed", "labelled", "failed", "labelled", "unknown type"},
	}
	for _, tt := range tests {
		for flags, want := range []string{tt.plain, tt.force, tt.repl, tt.forceRepl} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, flags), func(t *testing.T) {
				root := tree(t, "file f content=x")
				if tt.old != nil {
					setLabel(t, root+"/f", imaevm.AttrIMA, tt.old)
				}
				s := &spy{Store: renamed}
				l := labeller(s)
				l.Force, l.ReplaceSignatures = flags&1 != 0, flags&2 != 0
				res := run(t, l.Label, 1, root)["f"]
				if string(res.Outcome) != want {
					t.Fatalf("%s, %v; want %s", res.Outcome, res.Err, want)
				}
				if want == "labelled" || want == "unchanged" {
					wantLabel(t, root+"/f", good)
					return
				}
				wantLabel(t, root+"/f", tt.old)
				if said := res.Reason + fmt.Sprint(res.Err); !strings.Contains(said, tt.reasonOrErrContains) {
					t.Errorf("%q", said)
				}
				if s.sets.Load() != 0 {
					t.Errorf("%d sets", s.sets.Load())
				}
			})
		}
	}
}

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
	// Changed again while it waits: it has not settled.
	overwrite(t, root+"/f", "2")
	if err := restat(&e); err != nil {
		t.Fatal(err)
	}
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
	if err := settle(&e); !errors.As(err, &change) {
		t.Errorf("%v, want a change", err)
	}
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
		told := strings.HasPrefix(res.Warning, "open for writing")
		if want := rel == "written" || rel == "mapped"; res.Outcome != report.Labelled || told != want {
			t.Errorf("%s: %s, warning %q", rel, res.Outcome, res.Warning)
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
	block := make(chan struct{})
	walked := source(t, 1, root)
	r := Run{Job: labeller(renamed).Label, Report: rec, Source: func(ctx context.Context, visit walk.Visitor) error {
		err := walked(ctx, visit)
		<-block // the run has not ended when the last result comes
		return err
	}}
	inner := rec.before
	rec.before = func(res report.Result) error {
		if len(rec.results) == 2 {
			close(block)
		}
		return inner(res)
	}
	if _, err := r.Do(t.Context()); err != nil {
		t.Error(err)
	}
}

// Promise 4: labels of EVM come last, and a file with only the first is said to
// be half labelled.
func TestPromise4HalfLabelled(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=x")
	setLabel(t, root+"/f", imaevm.AttrIMA, []byte("ima"))
	setLabel(t, root+"/f", imaevm.AttrEVM, []byte("evm"))
	var order []string
	s := &spy{Store: renamed}
	s.before = func(op, name string) error {
		if op != "get" {
			order = append(order, op+" "+name)
		}
		if op == "remove" && name == imaevm.AttrEVM {
			return unix.EPERM
		}
		return nil
	}
	c := &Clearer{Attrs: []string{imaevm.AttrIMA, imaevm.AttrEVM}, Writer: Writer{Store: s}}
	res := run(t, c.Clear, 1, root)["f"]
	if res.Outcome != report.Failed || !strings.HasPrefix(fmt.Sprint(res.Err), "half cleared: security.ima is removed: ") || !errors.Is(res.Err, unix.EPERM) {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	if got := strings.Join(order, ", "); got != "remove security.ima, remove security.evm" {
		t.Error(got)
	}
}

// Promise 6: what was written is synced before the run says that it is done,
// each file system once.
func TestPromise6Durable(t *testing.T) {
	root := tree(t, "file a content=1\nfile b content=2")
	do := func(l *Labeller, fail error) (int, error) {
		var calls int
		s := l.Store.(*spy)
		sets := s.sets.Load()
		rec := new(recorder)
		r := Run{Source: source(t, 2, root), Job: l.Label, Report: rec, syncfs: func(fd int) error {
			calls++
			if s.sets.Load() != sets+2 || rec.finished != 0 {
				t.Errorf("synced after %d writes and %d summaries", s.sets.Load()-sets, rec.finished)
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Error(err)
			}
			return fail
		}}
		_, err := r.Do(t.Context())
		return calls, err
	}
	s := &spy{Store: renamed}
	dry := &Labeller{Store: &spy{Store: attr.DryRun{Store: renamed}}}
	*dry = Labeller{Store: dry.Store, Algo: hash.SHA256, Rules: labeller(nil).Rules, Writer: Writer{Store: dry.Store, DryRun: true}}
	if n, err := do(dry, nil); n != 0 || err != nil {
		t.Errorf("dry run: %d syncs, %v", n, err)
	}
	if n, err := do(labeller(s), nil); n != 1 || err != nil {
		t.Errorf("%d syncs, %v", n, err)
	}
	if n, err := do(labeller(s), nil); n != 0 || err != nil {
		t.Errorf("nothing written: %d syncs, %v", n, err)
	}
	forced := labeller(s)
	forced.Force = true
	if n, err := do(forced, unix.EIO); n != 1 || !errors.Is(err, unix.EIO) {
		t.Errorf("failing: %d syncs, %v", n, err)
	}
}
