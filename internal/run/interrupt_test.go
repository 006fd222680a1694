package run_test

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
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
)

// Promise 5: when the run is interrupted, files in hand are finished, the
// others have no result and no label, and the summary is written.
func TestPromise5Interrupted(t *testing.T) {
	treetest.Leaks(t)
	const files = 100
	for _, jobs := range []int{1, 4} {
		for _, at := range []string{"get", "set"} {
			root := runtest.Make(t, "")
			for i := range files {
				runtest.Write(t, fmt.Sprintf("%s/%02d", root, i), string([]byte{byte(i)}))
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			calls := 0
			s := &runtest.Spy{Before: func(op, name string) error {
				if op == at && name == imaevm.AttrIMA {
					if calls++; calls == 10 {
						cancel(errTest)
					}
				}
				return nil
			}}
			if jobs > 1 {
				s.Before = func(string, string) error { cancel(errTest); return nil }
			}
			rec := new(runtest.Recorder)
			sum, err := runtest.Run{Job: hashes(), Jobs: jobs, Spy: s, Report: rec}.Do(ctx, t, root)
			if !errors.Is(err, errTest) || !sum.Interrupted || rec.Finished != 1 {
				t.Errorf("%v, interrupted %v, finished %d times", err, sum.Interrupted, rec.Finished)
			}
			results := runtest.ByPath(t, rec.Results, root)
			if n := len(results); jobs == 1 && n != 10 || n > 10+jobs {
				t.Errorf("%d jobs, at %s: %d results", jobs, at, n)
			}
			for i := range files {
				rel := fmt.Sprintf("%02d", i)
				var want []byte
				if res, ok := results[rel]; ok {
					want = runtest.Right(t, string([]byte{byte(i)}))
					if res.Outcome != report.Labelled {
						t.Errorf("%s: %s, %v", rel, res.Outcome, res.Err)
					}
				}
				runtest.WantLabel(t, root+"/"+rel, want)
			}
		}
	}
}

// finishSize is the size from which a file in hand is not finished.
const finishSize = 1 << 30

// Promise 5: a file that takes long is left as it was, also where it is the last,
// named itself.
func TestPromise5InterruptedInBigFile(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, fmt.Sprintf("file big size=%d", int64(finishSize)*64))
	for _, job := range []string{"label", "label named", "verify", "verify named"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := &runtest.Spy{Before: func(string, string) error {
			time.AfterFunc(10*time.Millisecond, func() { cancel(errTest) })
			return nil
		}}
		r := runtest.Run{Job: hashes(), Spy: s, Report: new(runtest.Recorder)}
		job, named := strings.CutSuffix(job, " named")
		path := root
		if named {
			path += "/big"
		}
		if job == "verify" {
			runtest.SetLabel(t, root+"/big", imaevm.AttrIMA, runtest.Right(t, "x"))
			r.Job, r.ReadOnly = new(verify.Verifier), true
		}
		sum, err := r.Do(ctx, t, path)
		if !errors.Is(err, errTest) || !sum.Interrupted || len(r.Report.Results) != 0 {
			t.Errorf("%s, named %v: %v, %d results", job, named, err, len(r.Report.Results))
		}
		if job == "label" {
			runtest.WantLabel(t, root+"/big", nil)
		}
	}
}

// A syncing sink has something else done in the place of bringing to the disk what
// another one wrote.
type syncing struct {
	tree.Sink
	sync func() error
}

func (s syncing) Commit(ctx context.Context) error {
	return errors.Join(s.sync(), s.Sink.Commit(ctx))
}

func (s syncing) Abort() error { return errors.Join(s.sync(), s.Sink.Abort()) }

// Promise 5: a signal that comes when all files have had their turn ends
// nothing; one before does not hide that the labels may not be on the disk.
func TestPromise5InterruptedWhileSyncing(t *testing.T) {
	for _, late := range []bool{true, false} {
		root := runtest.Make(t, "file a content=1\nfile b content=2")
		ctx, cancel := context.WithCancelCause(t.Context())
		s := &runtest.Spy{Before: func(op, _ string) error {
			if op == "set" && !late {
				cancel(errTest)
			}
			return nil
		}}
		r := runtest.Run{Job: hashes(), Spy: s, Outer: func(inner tree.Sink) tree.Sink {
			return syncing{inner, func() error {
				if late {
					cancel(errTest)
					return nil
				}
				return unix.EIO
			}}
		}}
		sum, err := r.Do(ctx, t, root)
		switch {
		case late && (err != nil || sum.Interrupted || sum.Count[report.Labelled] != 2):
			t.Errorf("late: %v, %+v", err, sum)
		case !late && (!errors.Is(err, unix.EIO) || !sum.Interrupted || sum.Count[report.Labelled] != 1):
			t.Errorf("early: %v, %+v", err, sum)
		}
		cancel(nil)
	}
}

// timestampStep is longer than any kernel takes between two timestamps of files.
const timestampStep = 20 * time.Millisecond

// killTree names the tree that a killed run of the test program labels.
const killTree = "IMASEAL_TEST_KILL_TREE"

// TestKilledRun is the run that TestPromise5Killed kills.
func TestKilledRun(t *testing.T) {
	root := os.Getenv(killTree)
	if root == "" {
		t.Skip("for TestPromise5Killed")
	}
	fmt.Println("started")
	runtest.Run{Job: hashes(), Jobs: 2}.On(t, root)
}

// Promise 5: kill -9 at any moment leaves every file with its old label or its
// new one, and the same command run again completes the job.
func TestPromise5Killed(t *testing.T) {
	root := runtest.Make(t, "")
	old := runtest.Right(t, "old")
	content := func(i int) string { return string(bytes.Repeat([]byte{byte(i), 7}, i%50*500)) }
	const files = 400
	for i := range files {
		runtest.Write(t, fmt.Sprintf("%s/%03d", root, i), content(i))
	}
	reset := func() {
		for i := range files {
			name := fmt.Sprintf("%s/%03d", root, i)
			if i%2 == 0 {
				runtest.SetLabel(t, name, imaevm.AttrIMA, old)
			} else {
				runtest.RemoveLabel(t, name, imaevm.AttrIMA)
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
			switch got := runtest.Label(t, fmt.Sprintf("%s/%03d", root, i), imaevm.AttrIMA); {
			case tree.Same(got, runtest.Right(t, content(i))):
				done++
			case !tree.Same(got, before) || final:
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
	for rel, res := range (runtest.Run{Job: hashes(), Jobs: 2}).On(t, root) {
		if res.Outcome != report.Labelled && res.Outcome != report.Unchanged {
			t.Errorf("%s: %s, %v", filepath.Base(rel), res.Outcome, res.Err)
		}
	}
	check(true)
}

// Two runs over one tree at the same time end in the same labels.
func TestTwoRunsAtOnce(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "")
	for i := range 200 {
		name := fmt.Sprintf("%s/%03d", root, i)
		runtest.Write(t, name, string(bytes.Repeat([]byte{byte(i)}, i*100)))
		if i%2 == 0 {
			runtest.SetLabel(t, name, imaevm.AttrIMA, runtest.HashLabel(t, hash.SHA512, []byte("old")))
		}
	}
	var wg sync.WaitGroup
	var runs [3]map[string]report.Result
	for i := range runs {
		wg.Go(func() { runs[i] = runtest.Run{Job: hashes(), Jobs: 2}.On(t, root) })
	}
	wg.Wait()
	for rel, res := range (runtest.Run{Job: new(verify.Verifier), Jobs: 2, ReadOnly: true}).On(t, root) {
		if res.Outcome != report.Valid {
			t.Errorf("%s: %s, %s", rel, res.Outcome, res.Reason)
		}
	}
	for _, results := range runs {
		for rel, res := range results {
			if res.Outcome != report.Labelled && res.Outcome != report.Unchanged {
				t.Errorf("%s: %s, %v", rel, res.Outcome, res.Err)
			}
		}
	}
}
