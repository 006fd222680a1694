package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
)

// leavingStale is hashes, for files whose EVM labels are none.
func leavingStale() *label.Labeller {
	l := hashes()
	l.Stale = label.LeaveStale
	return l
}

// Whichever call fails, each file has one outcome, the one that it concerns
// fails with that cause, and no file is changed half-way without a word.
func TestFaultAtEveryCall(t *testing.T) {
	treetest.Leaks(t)
	names := []string{"a", "b", "c", "d"}
	old := runtest.Right(t, "old")
	setUp := func(t *testing.T) string {
		root := runtest.Make(t, "file a content=a\nfile b content=b\nfile c content=c\nfile d content=d")
		runtest.SetLabel(t, root+"/b", imaevm.AttrIMA, old)
		runtest.SetLabel(t, root+"/c", imaevm.AttrIMA, runtest.Right(t, "c"))
		for _, n := range names {
			runtest.SetLabel(t, root+"/"+n, imaevm.AttrEVM, []byte("evm"))
		}
		return root
	}
	jobs := map[string]runtest.Run{
		"label":  {Job: leavingStale()},
		"clear":  {Job: label.Clearer{Attrs: []string{imaevm.AttrIMA, imaevm.AttrEVM}}, Writers: run.Ignore},
		"verify": {Job: new(verify.Verifier), ReadOnly: true},
	}
	for what, r := range jobs {
		t.Run(what, func(t *testing.T) {
			for n, failed := 1, true; failed; n++ {
				failed = false
				root := setUp(t)
				var calls atomic.Int64
				r.Spy = &runtest.Spy{Before: func(op, name string) error {
					if calls.Add(1) == int64(n) {
						failed = true
						return fmt.Errorf("%s of %s: %w", op, name, unix.EIO)
					}
					return nil
				}}
				results := r.On(t, root)
				if len(results) != len(names) {
					t.Errorf("call %d: %d results", n, len(results))
				}
				bad := 0
				for rel, res := range results {
					if res.Outcome == report.Failed {
						if bad++; !errors.Is(res.Err, unix.EIO) {
							t.Errorf("call %d: %s: %v", n, rel, res.Err)
						}
					}
					checkState(t, fmt.Sprintf("call %d: %s", n, rel), root+"/"+rel, rel, what, old, res)
				}
				if bad > 1 || bad == 0 && failed {
					t.Errorf("call %d: %d files failed", n, bad)
				}
			}
		})
	}
}

// checkState compares what is on a file with what its result says.
func checkState(t *testing.T, where, path, content, what string, old []byte, res report.Result) {
	t.Helper()
	ima, evm := runtest.Label(t, path, imaevm.AttrIMA), runtest.Label(t, path, imaevm.AttrEVM)
	untouched := string(evm) == "evm" && (ima == nil || bytes.Equal(ima, old) || bytes.Equal(ima, runtest.Right(t, "c")))
	half := strings.Contains(fmt.Sprint(res.Err), "half ")
	var ok bool
	switch res.Outcome {
	case report.Labelled, report.Unchanged:
		ok = bytes.Equal(ima, runtest.Right(t, content)) && string(evm) == "evm"
		if stale := res.Outcome == report.Labelled; stale != res.Warnings.Has(reason.StaleEVM) {
			t.Errorf("%s: warnings %s", where, res.Warnings)
		}
	case report.Cleared:
		ok = ima == nil && evm == nil
	case report.Failed:
		ok = untouched && !half || half && ima == nil && string(evm) == "evm"
	default:
		ok = what == "verify" && untouched
	}
	if !ok {
		t.Errorf("%s is %s, %v, with labels %x and %q", where, res.Outcome, res.Err, ima, evm)
	}
}

func TestClear(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file both\nfile ima\nfile evm\nfile none")
	for name, attrs := range map[string]string{"both": "security.ima security.evm", "ima": "security.ima", "evm": "security.evm"} {
		for _, a := range strings.Fields(attrs) {
			runtest.SetLabel(t, root+"/"+name, a, []byte("label"))
		}
	}
	both := []string{imaevm.AttrIMA, imaevm.AttrEVM}
	clear := func(attrs []string) runtest.Run {
		return runtest.Run{Job: label.Clearer{Attrs: attrs}, Jobs: 2, Writers: run.Ignore}
	}
	dry := clear(both)
	dry.Outer = func(tree.Sink) tree.Sink { return tree.DryRun{} }
	runtest.WantOutcomes(t, dry.On(t, root), map[string]string{"both": "cleared", "ima": "cleared", "evm": "cleared", "none": "unchanged"})
	runtest.WantLabel(t, root+"/both", []byte("label"))

	results := clear(both[:1]).On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"both": "cleared", "ima": "cleared", "evm": "unchanged", "none": "unchanged"})
	if res := results["none"]; res.Code != reason.NoLabel || res.Reason != "no label" {
		t.Errorf("%s, %q", res.Code, res.Reason)
	}
	s := new(runtest.Spy)
	for range 2 {
		r := clear(both)
		r.Spy = s
		results = r.On(t, root)
	}
	runtest.WantOutcomes(t, results, map[string]string{"both": "unchanged", "ima": "unchanged", "evm": "unchanged", "none": "unchanged"})
	if s.Removes.Load() != 2 {
		t.Errorf("%d removes", s.Removes.Load())
	}
	for _, name := range []string{"both", "ima", "evm", "none"} {
		if runtest.Label(t, root+"/"+name, imaevm.AttrIMA) != nil || runtest.Label(t, root+"/"+name, imaevm.AttrEVM) != nil {
			t.Errorf("%s has a label", name)
		}
	}
}

// A dry run says what a run would, and writes nothing.
func TestDryRun(t *testing.T) {
	root := runtest.Make(t, "file a content=1\nfile b content=2")
	runtest.SetLabel(t, root+"/b", imaevm.AttrIMA, runtest.Right(t, "2"))
	s := new(runtest.Spy)
	dry := func(tree.Sink) tree.Sink { return tree.DryRun{} }
	results := runtest.Run{Job: hashes(), Spy: s, Outer: dry}.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"a": "labelled", "b": "unchanged"})
	if !bytes.Equal(results["a"].IMA, runtest.Right(t, "1")) {
		t.Errorf("label %x", results["a"].IMA)
	}
	runtest.WantLabel(t, root+"/a", nil)
	if s.Sets.Load() != 0 {
		t.Errorf("%d sets", s.Sets.Load())
	}
	// Nor does it where the file is being changed.
	w := openWriter(t, root+"/a")
	n := 0
	s.Before = func(string, string) error {
		n++
		_, err := w.WriteAt([]byte(fmt.Sprint(n%10)), 0)
		return err
	}
	r := runtest.Run{Job: hashes(), Spy: s, Outer: dry, Writers: run.Allow}
	if res := r.On(t, root)["a"]; res.Err != run.ErrChanging {
		t.Errorf("%+v", res)
	}
	runtest.WantLabel(t, root+"/a", nil)
}

// A file system without attributes is a failure of each file, not a tree whose
// files have none.
func TestNoAttributes(t *testing.T) {
	root := treetest.Make(t, "file f")
	nonsense := tree.Namespace{From: "security.", To: "nonsense."}
	jobs := map[string]run.Job{
		"label":  hashes(),
		"verify": new(verify.Verifier),
		"clear":  label.Clearer{Attrs: []string{imaevm.AttrIMA}},
	}
	for name, job := range jobs {
		res := runtest.Run{Job: job, Real: true, Source: nonsense.Source, Outer: nonsense.Sink}.On(t, root)["f"]
		if res.Outcome != report.Failed || !errors.Is(res.Err, unix.EOPNOTSUPP) || !strings.Contains(fmt.Sprint(res.Err), "operation not supported") {
			t.Errorf("%s: %s, %v", name, res.Outcome, res.Err)
		}
	}
}

// A file whose EVM label a new IMA label would make wrong is refused, left so
// with a warning, or left to the kernel, as is asked for.
func TestStaleEVM(t *testing.T) {
	hmac := append([]byte{byte(imaevm.TypeHMAC)}, make([]byte, 20)...)
	for name, tt := range map[string]struct {
		stale   label.Stale
		ima     string // that the file has a label of
		evm     []byte
		want    report.Outcome
		warning bool
	}{
		"refused":              {label.RefuseStale, "old", hmac, report.Failed, false},
		"a signature, refused": {label.RefuseStale, "old", []byte{byte(imaevm.TypePortable), 2}, report.Failed, false},
		"no EVM label":         {label.RefuseStale, "old", nil, report.Labelled, false},
		"an empty one":         {label.RefuseStale, "old", []byte{}, report.Labelled, false},
		"right already":        {label.RefuseStale, "x", hmac, report.Unchanged, false},
		"left":                 {label.LeaveStale, "old", hmac, report.Labelled, true},
		"renewed":              {label.RenewedByKernel, "old", hmac, report.Labelled, false},
		"not renewed":          {label.RenewedByKernel, "old", []byte{byte(imaevm.TypePortable), 2}, report.Failed, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			old := runtest.Right(t, tt.ima)
			runtest.SetLabel(t, path, imaevm.AttrIMA, old)
			if tt.evm != nil {
				runtest.SetLabel(t, path, imaevm.AttrEVM, tt.evm)
			}
			l := hashes()
			l.Stale = tt.stale
			res := runtest.Run{Job: l}.One(t, path)
			refused := tt.want == report.Failed
			if res.Outcome != tt.want || errors.Is(res.Err, label.ErrStaleEVM) != refused || res.Warnings.Has(reason.StaleEVM) != tt.warning {
				t.Errorf("%s, %v, warnings %s", res.Outcome, res.Err, res.Warnings)
			}
			if refused {
				runtest.WantLabel(t, path, old)
			} else {
				runtest.WantLabel(t, path, runtest.Right(t, "x"))
			}
			if evm := runtest.Label(t, path, imaevm.AttrEVM); !tree.Same(evm, tt.evm) {
				t.Errorf("security.evm is %x, was %x", evm, tt.evm)
			}
		})
	}
}
