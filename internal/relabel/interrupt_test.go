package relabel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
)

// Promise 5: when the run is interrupted, files in hand are finished, the
// others have no result and no label, and the summary is written.
func TestPromise5Interrupted(t *testing.T) {
	treetest.Leaks(t)
	const files = 100
	for _, jobs := range []int{1, 4} {
		for _, at := range []string{"get", "set"} {
			root := tree(t, "")
			for i := range files {
				if err := os.WriteFile(fmt.Sprintf("%s/%02d", root, i), []byte{byte(i)}, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			calls := 0
			s := changeOn(at, 1, false, nil)
			s.before = func(op, name string) error {
				if op == at && name == imaevm.AttrIMA {
					if calls++; calls == 10 {
						cancel(errTest)
					}
				}
				return nil
			}
			if jobs > 1 {
				s.before = func(string, string) error { cancel(errTest); return nil }
			}
			rec := new(recorder)
			sum, err := (&Run{Source: source(t, jobs, root), Job: labeller(s).Label, Report: rec}).Do(ctx)
			if !errors.Is(err, errTest) || !sum.Interrupted || rec.finished != 1 {
				t.Errorf("%v, interrupted %v, finished %d times", err, sum.Interrupted, rec.finished)
			}
			results := byPath(t, rec.results, root)
			if n := len(results); jobs == 1 && n != 10 || n > 10+jobs {
				t.Errorf("%d jobs, at %s: %d results", jobs, at, n)
			}
			for i := range files {
				rel := fmt.Sprintf("%02d", i)
				var want []byte
				if res, ok := results[rel]; ok {
					want = right(t, []byte{byte(i)})
					if res.Outcome != report.Labelled {
						t.Errorf("%s: %s, %v", rel, res.Outcome, res.Err)
					}
				}
				wantLabel(t, root+"/"+rel, want)
			}
		}
	}
}

// Promise 5: a file that takes long is left as it was, also where it is the last,
// named itself.
func TestPromise5InterruptedInBigFile(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, fmt.Sprintf("file big size=%d", int64(finishSize)*64))
	for _, job := range []string{"label", "label named", "verify", "verify named"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := &spy{Store: renamed, before: func(string, string) error {
			time.AfterFunc(10*time.Millisecond, func() { cancel(errTest) })
			return nil
		}}
		do := labeller(s).Label
		job, named := strings.CutSuffix(job, " named")
		path := root
		if named {
			path += "/big"
		}
		if job == "verify" {
			setLabel(t, root+"/big", imaevm.AttrIMA, hashLabel(t, hash.SHA256, "x"))
			do = (&Verifier{Store: s}).Verify
		}
		rec := new(recorder)
		sum, err := (&Run{Source: source(t, 1, path), Job: do, Report: rec}).Do(ctx)
		if !errors.Is(err, errTest) || !sum.Interrupted || len(rec.results) != 0 {
			t.Errorf("%s, named %v: %v, %d results", job, named, err, len(rec.results))
		}
		if job == "label" {
			wantLabel(t, root+"/big", nil)
		}
	}
}

// Promise 5: a signal that comes when all files have had their turn ends
// nothing; one before does not hide that the labels may not be on the disk.
func TestPromise5InterruptedWhileSyncing(t *testing.T) {
	for _, late := range []bool{true, false} {
		root := tree(t, "file a content=1\nfile b content=2")
		ctx, cancel := context.WithCancelCause(t.Context())
		s := &spy{Store: renamed, before: func(op, _ string) error {
			if op == "set" && !late {
				cancel(errTest)
			}
			return nil
		}}
		r := &Run{Source: source(t, 1, root), Job: labeller(s).Label, Report: new(recorder), syncfs: func(int) error {
			if late {
				cancel(errTest)
				return nil
			}
			return unix.EIO
		}}
		sum, err := r.Do(ctx)
		switch {
		case late && (err != nil || sum.Interrupted || sum.Count[report.Labelled] != 2):
			t.Errorf("late: %v, %+v", err, sum)
		case !late && (!errors.Is(err, unix.EIO) || !sum.Interrupted || sum.Count[report.Labelled] != 1):
			t.Errorf("early: %v, %+v", err, sum)
		}
		cancel(nil)
	}
}

// killTree names the tree that a killed run of the test program labels.
const killTree = "IMASEAL_TEST_KILL_TREE"

// TestKilledRun is the run that TestPromise5Killed kills.
func TestKilledRun(t *testing.T) {
	root := os.Getenv(killTree)
	if root == "" {
		t.Skip("for TestPromise5Killed")
	}
	fmt.Println("started")
	run(t, labeller(renamed).Label, 2, root)
}

// Promise 5: kill -9 at any moment leaves every file with its old label or its
// new one, and the same command run again completes the job.
func TestPromise5Killed(t *testing.T) {
	root := tree(t, "")
	old := right(t, []byte("old"))
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i), 7}, i%50*500) }
	const files = 400
	for i := range files {
		name := fmt.Sprintf("%s/%03d", root, i)
		if err := os.WriteFile(name, content(i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	reset := func() {
		for i := range files {
			name := fmt.Sprintf("%s/%03d", root, i)
			if i%2 == 0 {
				setLabel(t, name, imaevm.AttrIMA, old)
			} else {
				removeLabel(t, name, imaevm.AttrIMA)
			}
		}
		time.Sleep(2 * timestampStep)
	}
	check := func(final bool) (done int) {
		for i := range files {
			var before []byte
			if i%2 == 0 {
				before = old
			}
			switch got := label(t, fmt.Sprintf("%s/%03d", root, i), imaevm.AttrIMA); {
			case same(got, right(t, content(i))):
				done++
			case !same(got, before) || final:
				t.Errorf("%03d has label %x", i, got)
			}
		}
		return done
	}
	for range 10 {
		reset()
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilledRun$")
		cmd.Env = append(os.Environ(), killTree+"="+root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Read(make([]byte, 8)) // until it has started
		time.Sleep(time.Duration(rand.IntN(12000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		t.Logf("%d of %d labelled", check(false), files)
	}
	for rel, res := range run(t, labeller(renamed).Label, 2, root) {
		if res.Outcome != report.Labelled && res.Outcome != report.Unchanged {
			t.Errorf("%s: %s, %v", filepath.Base(rel), res.Outcome, res.Err)
		}
	}
	check(true)
}
