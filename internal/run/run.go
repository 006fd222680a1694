// Package run does a job on every file that a source finds: it takes a file from
// open to close, has the job decide about it, applies what was decided, and hands
// the results to a report.
//
// A [Job] looks at a file and decides: it returns what it found, and the changes
// that make the file as it should be. It writes nothing. That is the sink's, and
// what comes with it is here, for all jobs: that a file which others write to is
// looked at again, that nothing stays half done which could be taken back, that
// a run can be ended.
package run

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"imaseal/hash"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

const (
	// batch is how many results a worker collects before it hands them over:
	// so many that waking the reporting goroutine costs nothing.
	batch = 64
	// tickEvery is how long a result may wait to be reported, and how often a
	// Progress may show something new.
	tickEvery = 100 * time.Millisecond
)

// A Job decides about files. It is called from several goroutines at once, with
// different files. Where ctx ends in the middle of a file that the job does not
// finish, the error is the cause of ctx.
type Job interface {
	Decide(ctx context.Context, r *hash.Reader, f tree.File) (Decision, error)
}

// A Decision is what a job makes of a file.
type Decision struct {
	// Result is what there is to report when Changes are made, without Path
	// and Size. One without an outcome is not reported.
	Result report.Result
	// Changes are to be made, in this order; none where the file is as it
	// should be.
	Changes []tree.Change
	// Content says that the decision holds only for the content as it was
	// read; Meta that it holds only for the owner and the mode, too.
	Content, Meta bool
}

// Writers says what becomes of files that somebody has open for writing.
type Writers uint8

// What becomes of them.
const (
	// Refuse fails them, if they would be changed.
	Refuse Writers = iota
	// Allow changes them all the same, and warns.
	Allow
	// Ignore is for jobs to which contents are no matter.
	Ignore
)

// A Run is one command's work on its files.
type Run struct {
	Source tree.Source
	Job    Job
	// Sink makes the changes; nil where the job makes none.
	Sink    tree.Sink
	Writers Writers
	Report  report.Handler
	Header  report.Header
	// Said returns what the user was told of the run by others than the report,
	// which then has it in its summary; nil for nothing.
	Said func() reason.List
	// Keep is given each file that came out as asked, labelled, requested, exported, unchanged or kept,
	// with its result, before it is closed; nil for nobody. It is called from
	// several goroutines at once. An error fails the file.
	Keep func(tree.File, report.Result) error
	// Signatures returns what came of a store of signatures, when all is signed;
	// nil where there is none.
	Signatures func() *report.Store
	// Progress is told how far the run is; nil for nobody.
	Progress Progress
}

// A Progress shows how far a run is, also in the middle of a file.
type Progress interface {
	// Read is told of bytes of content that were read, by the goroutine that
	// read them.
	Read(n int64)
	// Tick is called every tickEvery, by the goroutine that reports results.
	Tick()
}

// A ReportError says that the report could not be written, which ends a run.
type ReportError struct {
	Err error
	// Last says that every file had had its turn, and only the summary was
	// left to write.
	Last bool
}

func (e *ReportError) Error() string { return "writing report: " + e.Err.Error() }
func (e *ReportError) Unwrap() error { return e.Err }

func reportError(err error) *ReportError {
	if p, ok := errors.AsType[*fs.PathError](err); ok { // of /dev/stdout, which is not the user's matter
		err = p.Err
	}
	return &ReportError{Err: err}
}

// Do runs to the end, or until ctx ends, and returns when every goroutine has
// ended and every file is closed. Files that a worker has begun when ctx ends
// are finished, the others have no result. A failed file is no error: an error
// means that the run itself broke, and the summary is that of what was done.
// What was written is on the disk when Do returns without error.
func (r *Run) Do(ctx context.Context) (report.Summary, error) {
	begin := time.Now()
	sum := report.NewSummary(r.Header)
	if err := r.Report.Start(r.Header); err != nil {
		r.abort()
		return sum, reportError(err)
	}
	err := r.work(ctx, &sum)
	// A signal that came when all was done has ended nothing.
	sum.Interrupted = err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
	switch {
	case r.Sink == nil:
	case err == nil:
		err = r.Sink.Commit(context.WithoutCancel(ctx))
	default:
		// Labels that may be lost are worse news than an interruption.
		if abortErr := r.abort(); abortErr != nil && sum.Interrupted {
			err = abortErr
		}
	}
	if r.Signatures != nil {
		sum.Store = r.Signatures() // before what is said, which it may add to
	}
	if r.Said != nil {
		sum.Notes = r.Said()
		sum.Said = len(sum.Notes)
	}
	sum.Notes = append(sum.Notes, r.notes(sum, err)...)
	sum.Elapsed = time.Since(begin)
	if finishErr := r.Report.Finish(sum); err == nil && finishErr != nil {
		last := reportError(finishErr)
		last.Last = true
		err = last
	}
	return sum, err
}

// notes are what is to be known of the run now that it is over.
func (r *Run) notes(sum report.Summary, err error) reason.List {
	var all reason.List
	if noter, ok := r.Source.(tree.Noter); ok && r.Sink != nil && !r.Header.DryRun {
		all = append(all, noter.Notes()...)
	}
	if noter, ok := r.Job.(tree.Noter); ok {
		all = append(all, noter.Notes()...)
	}
	// A shard may well be empty.
	if err == nil && sum.Selected() == 0 && sum.Skipped[reason.OtherShard] == 0 {
		why := "there are no files"
		if skips := report.Skips(sum.Skipped); skips != "" {
			why = skips
		}
		all = append(all, reason.New(reason.NothingSelected, "no file was selected: %s", why))
	}
	return all
}

func (r *Run) abort() error {
	if r.Sink == nil {
		return nil
	}
	return r.Sink.Abort()
}

func (r *Run) work(ctx context.Context, sum *report.Summary) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &pool{results: make(chan []report.Result), progress: r.Progress}
	var walkErr error
	go func() {
		defer close(p.results) // safe: Walk returns only when no call of visit runs any more
		walkErr = r.Source.Walk(ctx, func(found tree.Found) error {
			w := p.take()
			defer p.give(w)
			res, ok := r.one(ctx, w, found)
			switch {
			case ok:
				w.report(res)
			case ctx.Err() != nil: // the source may have no other file, and end as if all were done
				return context.Cause(ctx)
			}
			return nil
		})
	}()
	if err := r.report(p, sum, cancel); err != nil {
		return err
	}
	return walkErr
}

// report reports results until there are no more. The run is cancelled if one
// cannot be reported.
func (r *Run) report(p *pool, sum *report.Summary, cancel context.CancelCauseFunc) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var broken error
	tell := func(results []report.Result) {
		for _, res := range results {
			if broken != nil {
				return // the run is ending; let the workers finish
			}
			sum.Add(res)
			if err := r.Report.Result(res); err != nil {
				broken = reportError(err)
				cancel(broken)
			}
		}
	}
	for {
		select {
		case <-ticker.C:
			tell(p.waiting())
			if r.Progress != nil {
				r.Progress.Tick()
			}
		case results, ok := <-p.results:
			if !ok {
				tell(p.waiting())
				return broken
			}
			tell(results)
		}
	}
}

// one does the job on what was found and closes its file. It returns false for a
// file that has no turn any more, or no result.
func (r *Run) one(ctx context.Context, w *worker, found tree.Found) (report.Result, bool) {
	res := report.Result{Path: found.Path}
	switch {
	case found.Skip != "":
		res.Outcome, res.Code, res.Reason = report.Skipped, found.Skip, found.Skip.Words()
		return res, true
	case errors.Is(found.Err, fs.ErrNotExist):
		res.Outcome = report.Vanished
		return res, true
	case found.Err != nil:
		res.Outcome, res.Err = report.Failed, found.Err
		return res, true
	}
	defer found.File.Close()
	if ctx.Err() != nil {
		return res, false
	}
	a := attempts{run: r, file: found.File}
	res = a.do(ctx, w.reader)
	if r.Keep != nil && isAsAsked(res.Outcome) {
		if err := r.Keep(found.File, res); err != nil {
			res.Outcome, res.Err = report.Failed, err
		}
	}
	res.Path, res.Size = found.Path, found.File.Meta().Size
	abandoned := ctx.Err() != nil && errors.Is(res.Err, context.Cause(ctx))
	return res, res.Outcome != "" && !abandoned
}

func isAsAsked(o report.Outcome) bool {
	return o == report.Labelled || o == report.Requested || o == report.Exported || o == report.Unchanged || o == report.Kept
}

// A pool holds the workers of a run, of which each works on one file at a time.
type pool struct {
	results  chan []report.Result
	progress Progress

	mu   sync.Mutex
	all  []*worker
	free []*worker
}

// take returns a worker that nobody uses.
func (p *pool) take() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		w := p.free[n-1]
		p.free = p.free[:n-1]
		return w
	}
	w := &worker{pool: p, reader: hash.NewReader()}
	if p.progress != nil {
		w.reader.Progress = p.progress.Read
	}
	p.all = append(p.all, w)
	return w
}

func (p *pool) give(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, w)
}

// waiting returns the results that no worker has handed over.
func (p *pool) waiting() []report.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []report.Result
	for _, w := range p.all {
		w.mu.Lock()
		all = append(all, w.pending...)
		w.pending = nil
		w.mu.Unlock()
	}
	return all
}

// A worker has what it takes to read files, and the results that wait to be
// reported.
type worker struct {
	pool   *pool
	reader *hash.Reader

	mu      sync.Mutex
	pending []report.Result
}

// report leaves a result for the reporting goroutine, and wakes it if enough of
// them wait.
func (w *worker) report(res report.Result) {
	w.mu.Lock()
	w.pending = append(w.pending, res)
	var full []report.Result
	if len(w.pending) >= batch {
		full, w.pending = w.pending, make([]report.Result, 0, batch)
	}
	w.mu.Unlock()
	if full != nil {
		w.pool.results <- full
	}
}

// skipped is the result of a file that a job does not answer for.
func skipped(c reason.Code) report.Result {
	return report.Result{Outcome: report.Skipped, Code: c, Reason: c.Words()}
}

// Skip is the decision to leave a file out.
func Skip(c reason.Code) Decision { return Decision{Result: skipped(c)} }
