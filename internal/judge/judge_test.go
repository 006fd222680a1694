package judge_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/appraise"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/judge"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// open returns the target of tests, and what its EVM covers.
func open(t *testing.T, evm target.State) (*target.Target, target.EVM) {
	t.Helper()
	to, err := target.Open(target.Options{Version: "6.12", EVM: &evm, NoUUID: true}, host.Host{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	covers, err := to.EVM()
	if err != nil {
		t.Fatal(err)
	}
	return to, covers
}

// judging returns a job that judges reading under a policy.
func judging(t *testing.T, text string, keys sign.Verifiers) *judge.Judge {
	t.Helper()
	to, covers := open(t, target.State{})
	p, err := policy.Parse(text, to.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	return &judge.Judge{
		Policy: p, Kernel: appraise.Kernel{Kernel: to.Kernel, Keys: keys}, Covers: covers, Operations: []match.Operation{match.Read},
	}
}

func one(t *testing.T, job run.Job, path string) report.Result {
	t.Helper()
	return runtest.Run{Job: job, ReadOnly: true}.One(t, path)
}

// causeOf returns the kernel's word for a denial, if it has one.
func causeOf(res report.Result) string { return strings.Join(res.Causes, " or ") }

// why returns the codes and the words of all reasons.
func why(res report.Result) string {
	text := string(res.Code) + " " + res.Reason
	for _, r := range res.Reasons {
		text += " " + string(r.Code) + " " + r.Words
	}
	return text
}

const appraiseAll = "appraise func=FILE_CHECK"

// A file's label and content decide, with the kernel's word.
func TestJudge(t *testing.T) {
	key := runtest.Key(t, "p256")
	signed := func(t *testing.T, path string) {
		l := &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: &label.Key{Signer: key, Own: key, Version: 2}}
		if res := (runtest.Run{Job: l}).One(t, path); res.Outcome != report.Labelled {
			t.Fatal(res.Err)
		}
	}
	tests := []struct {
		name, policy string
		set          func(t *testing.T, path string)
		keys         sign.Verifiers
		outcome      report.Outcome
		cause        appraise.Cause
		reason       string
	}{
		{"right hash", appraiseAll, func(t *testing.T, path string) { runtest.SetLabel(t, path, imaevm.AttrIMA, runtest.Right(t, "x")) }, nil, report.Allowed, "", ""},
		{"no label", appraiseAll, func(*testing.T, string) {}, nil, report.Denied, appraise.MissingHash, ""},
		{"wrong hash", appraiseAll, func(t *testing.T, path string) { runtest.SetLabel(t, path, imaevm.AttrIMA, runtest.Right(t, "y")) }, nil, report.Denied, appraise.InvalidHash, ""},
		{"signed", appraiseAll, signed, sign.Only(key), report.Allowed, "", ""},
		{"signed, keys not known", appraiseAll, signed, nil, report.Undecided, appraise.InvalidSignature, "no-keys"},
		{"signed by another", appraiseAll, signed, sign.Only(runtest.Key(t, "p384")), report.Denied, appraise.InvalidSignature, "signed by key 6bca908e, which is not among the kernel's"},
		{"signed, and changed", appraiseAll, func(t *testing.T, path string) {
			signed(t, path)
			runtest.Write(t, path, "y")
		}, sign.Only(key), report.Denied, appraise.InvalidSignature, "the signature is not that of the content"},
		{"not appraised", "appraise func=MODULE_CHECK", func(*testing.T, string) {}, nil, report.Skipped, "", reason.NotAppraised.Words()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			tt.set(t, path)
			res := one(t, judging(t, tt.policy, tt.keys), path)
			if res.Outcome != tt.outcome || causeOf(res) != string(tt.cause) || !strings.Contains(why(res), tt.reason) {
				t.Errorf("%s, %q, %q, %v", res.Outcome, causeOf(res), why(res), res.Err)
			}
			if !tree.Same(res.IMA, runtest.Label(t, path, imaevm.AttrIMA)) && tt.outcome != report.Skipped {
				t.Errorf("label %x", res.IMA)
			}
			if n := len(res.Judgements); n != 1 && tt.outcome != report.Skipped {
				t.Errorf("%+v", res.Judgements)
			}
		})
	}
}

// An HMAC counts for the inode that has it, and for no copy.
func TestJudgeBound(t *testing.T) {
	path := runtest.Make(t, "file f content=x") + "/f"
	to, covers := open(t, target.State{HMAC: true})
	hmac, err := imaevm.NewHMACKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	covers.CountsUUID = policy.False
	for i := range covers.Attrs { // or what is not known leaves the verdict open
		covers.Attrs[i].Counts = policy.True
	}
	l := &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash), EVM: &label.EVM{
		Covers: covers, Kinds: map[plan.Class]imaevm.Type{plan.Hash: imaevm.TypeHMAC}, HMAC: hmac,
	}}
	if res := (runtest.Run{Job: l}).One(t, path); res.Err != nil {
		t.Skip(res.Err) // no generations here
	}
	j := judging(t, appraiseAll, nil)
	j.Covers = covers
	j.Kernel.EVM = appraise.EVM{HMAC: true, Key: hmac, Target: to.Layout()}
	if res := one(t, j, path); res.Outcome != report.Allowed {
		t.Errorf("%s, %q, %q, %v", res.Outcome, causeOf(res), why(res), res.Err)
	}
	j.Moves = true
	if res := one(t, j, path); res.Outcome != report.Undecided || !res.Reasons.Has(appraise.NotBound) {
		t.Errorf("a copy: %s, %q, %q", res.Outcome, causeOf(res), why(res))
	}
	j.Moves = false
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := one(t, j, path); res.Outcome != report.Denied || causeOf(res) != string(appraise.InvalidHMAC) {
		t.Errorf("another mode: %s, %q, %q", res.Outcome, causeOf(res), why(res))
	}
}

// An unreadable file cannot be read.
type unreadable struct{ tree.File }

func (f unreadable) Unwrap() tree.File               { return f.File }
func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, unix.EIO }

// What cannot be read, or is written to all the time, is no verdict.
func TestJudgeFails(t *testing.T) {
	path := runtest.Make(t, "file f content=x") + "/f"
	runtest.SetLabel(t, path, imaevm.AttrIMA, runtest.Right(t, "x"))
	r := runtest.Run{Job: judging(t, appraiseAll, nil), ReadOnly: true, Source: func(s tree.Source) tree.Source {
		return tree.WithFiles(s, func(f tree.File) tree.File { return unreadable{f} })
	}}
	if res := r.One(t, path); res.Outcome != report.Failed || fmt.Sprint(res.Err) != "reading: input/output error" || res.Judgements != nil {
		t.Errorf("%+v", res)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	time.Sleep(50 * time.Millisecond)
	n := 0
	r.Source, r.Report = nil, nil
	r.Spy = &runtest.Spy{Before: func(string, string) error {
		n++
		_, err := f.WriteAt(fmt.Appendf(nil, "%d", n%10), 0)
		return err
	}}
	if res := r.One(t, path); !errors.Is(res.Err, run.ErrChanging) || res.Judgements != nil || causeOf(res) != "" {
		t.Errorf("%+v", res)
	}
	// Nor is a label that cannot be read none.
	r.Report, r.Spy = nil, &runtest.Spy{Before: func(string, string) error { return unix.EIO }}
	if res := r.One(t, path); res.Outcome != report.Failed || !errors.Is(res.Err, unix.EIO) {
		t.Errorf("%+v", res)
	}
}

// A file system that has none of these attributes has no label, to the kernel.
func TestJudgeWithoutAttributes(t *testing.T) {
	path := runtest.Make(t, "file f content=x") + "/f"
	nonsense := tree.Namespace{From: "security.", To: "nonsense."}
	r := runtest.Run{Job: judging(t, appraiseAll, nil), ReadOnly: true, Real: true, Source: nonsense.Source}
	if res := r.One(t, path); res.Outcome != report.Denied || causeOf(res) != string(appraise.MissingHash) {
		t.Errorf("%+v", res)
	}
}
