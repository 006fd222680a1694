package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

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

// Promise 4, for writing.
func TestPromise4Order(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=x")
	e := walk.OpenFile(root + "/f")
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	defer e.File.Close()
	shared := &running{written: make(map[uint64]int)}
	defer shared.close()
	s := &spy{Store: renamed, before: func(op, name string) error {
		if name == imaevm.AttrEVM {
			return unix.ENOSPC
		}
		return nil
	}}
	wr, done := Writer{Store: s}, new(undo.File)
	err := wr.write(shared.take(), &e, done,
		undo.Change{Attr: imaevm.AttrIMA, New: []byte("ima")}, undo.Change{Attr: imaevm.AttrEVM, New: []byte("evm")})
	if !strings.HasPrefix(fmt.Sprint(err), "half labelled: security.ima is written: ") || !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if len(done.Changes) != 1 || done.Changes[0].Attr != imaevm.AttrIMA {
		t.Errorf("done %+v", done)
	}
	wantLabel(t, root+"/f", []byte("ima"))
}

// Promise 6: what was written is synced before the run says that it is done,
// each file system once.
func TestPromise6Durable(t *testing.T) {
	root := tree(t, "file a content=1\nfile b content=2")
	do := func(l *Labeller, fail error) (int, error) {
		var calls int
		s := l.Writer.Store.(*spy)
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
	dry := labeller(&spy{Store: attr.DryRun{Store: renamed}})
	dry.Writer.DryRun = true
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
