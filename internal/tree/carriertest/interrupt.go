package carriertest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/verify"
)

var errInterrupted = errors.New("interrupted")

// interrupted: a run that is interrupted finishes the files in hand, and of the
// others there is neither a result nor a label. What is in place is as the
// results say; else nothing is there.
func interrupted(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var applied atomic.Int64
	source, sink := of.Open(t, 1)
	rec := new(runtest.Recorder)
	r := run.Run{Source: &relative{source}, Job: hashes(), Report: rec, Sink: applying{sink, func() {
		if applied.Add(1) == 3 {
			cancel(errInterrupted)
		}
	}}}
	sum, err := r.Do(ctx)
	if err != errInterrupted || !sum.Interrupted || sum.Count[report.Labelled] != 3 || sum.Selected() != 3 {
		t.Errorf("%v, %+v", err, sum)
	}
	changed := make(map[string][]byte)
	for _, res := range rec.Results {
		if c.InPlace && res.Outcome == report.Labelled {
			changed[Attr(res.Path, imaevm.AttrIMA)] = res.IMA
		}
	}
	wantDump(t, before, of.Dump(t), changed)
	// The same command completes the job.
	if _, _, err := do(t.Context(), t, of, hashes(), nil, 2); err != nil {
		t.Error(err)
	}
	wantDump(t, before, of.Dump(t), rightLabels(t))
}

// An applying sink calls a function before each Apply.
type applying struct {
	tree.Sink
	before func()
}

func (s applying) Apply(f tree.File, changes []tree.Change) error {
	s.before()
	return s.Sink.Apply(f, changes)
}

// interruptedInFile: a job that does not finish its file leaves no result of it,
// and the file as it was.
func interruptedInFile(t *testing.T, c Carrier) {
	all := []File{{Name: "big", Content: content(8 * buffer), Mode: 0o644, Attrs: map[string]string{
		imaevm.AttrIMA: string(runtest.Right(t, "another")),
	}}}
	of := c.New(t, all)
	before := of.Dump(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	p := &interrupter{at: 3 * buffer, cancel: func() { cancel(errInterrupted) }}
	source, sink := of.Open(t, 1)
	rec := new(runtest.Recorder)
	r := run.Run{Source: source, Job: new(verify.Verifier), Report: rec, Sink: sink, Progress: p}
	sum, err := r.Do(ctx)
	if err != errInterrupted || !sum.Interrupted || sum.Selected() != 0 || p.read.Load() >= int64(len(all[0].Content)) {
		t.Errorf("%v, %+v after %d bytes", err, sum, p.read.Load())
	}
	wantDump(t, before, of.Dump(t), nil)
}

// An interrupter calls a function when so many bytes have been read.
type interrupter struct {
	at     int64
	read   atomic.Int64
	cancel func()
}

func (p *interrupter) Read(n int64) {
	if p.read.Add(n) >= p.at {
		p.cancel()
	}
}

func (*interrupter) Tick() {}
