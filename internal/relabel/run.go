// Package relabel is the engine: it takes what a walk finds, gives each file
// to one worker from open to close, and hands the results to a report. What a
// worker does with a file is a Job: a method of Labeller, Verifier, Judge, Clearer
// or Undoer.
//
// The package is larger than others, since all jobs read files and labels in the
// same careful way, and those that write share the Writer: see unchanging.
package relabel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/walk"
)

const (
	// readBuffer is a worker's buffer: small enough for a core's own cache,
	// large enough that the calls cost nothing.
	readBuffer = 128 << 10
	// resultsAhead lets workers go on while the report is being written.
	resultsAhead = 256
	// tickEvery is how often a Progress may show something new.
	tickEvery = 100 * time.Millisecond
)

// A Job turns an open file into a result. It does not close the file. Where
// ctx ends in the middle of a file that the job does not finish, the result's
// Err is the cause of ctx. A result without an outcome is not reported.
type Job func(ctx context.Context, w *Worker, e *walk.Entry) report.Result

// A Source finds files and hands them to visit, as walk.Walk and walk.Files do:
// from several goroutines at once, and it returns when no call of visit is running
// any more. The error is that of visit or the cause of ctx.
type Source func(ctx context.Context, visit walk.Visitor) error

// A Run is one command's work on its files.
type Run struct {
	// Source's goroutines are the workers: each does the job on a file before
	// it opens others.
	Source Source
	Job    Job
	Report report.Handler
	Header report.Header
	// Progress is told how far the run is; nil for nobody.
	Progress Progress

	syncfs func(fd int) error // unix.Syncfs, but in tests
}

// A Progress shows how far a run is, also in the middle of a file.
type Progress interface {
	// Read is told of bytes of content that were read, by the goroutine that
	// read them.
	Read(n int64)
	// Tick is called every tickEvery, by the goroutine that reports results.
	Tick()
}

// A ReportError says that the report could not be written.
type ReportError struct{ Err error }

func (e *ReportError) Error() string { return "writing report: " + e.Err.Error() }
func (e *ReportError) Unwrap() error { return e.Err }

// A Worker owns one file at a time, and what it takes to read it.
type Worker struct {
	run     *running
	buf     []byte
	hashers map[hash.Algorithm]*hash.Hasher
	watched watched // the file that is read, if somebody is told
	lastDev uint64  // that wrote last, if anyDev
	anyDev  bool
	kept    *walk.File // the last file whose descriptor is kept for syncing
}

// running is the state that the workers of a run share.
type running struct {
	mu       sync.Mutex
	written  map[uint64]int // a descriptor on each file system written to
	free     []*Worker
	syncfs   func(fd int) error
	progress Progress
}

// take returns a worker that nobody uses.
func (s *running) take() *Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		w := s.free[n-1]
		s.free = s.free[:n-1]
		return w
	}
	return &Worker{run: s, buf: make([]byte, readBuffer), hashers: make(map[hash.Algorithm]*hash.Hasher)}
}

func (s *running) give(w *Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, w)
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
		return sum, &ReportError{Err: pathless(err)}
	}
	shared := &running{written: make(map[uint64]int), syncfs: r.syncfs, progress: r.Progress}
	if shared.syncfs == nil {
		shared.syncfs = unix.Syncfs
	}
	defer shared.close()
	err := r.work(ctx, shared, &sum)
	// A signal that came when all was done has ended nothing.
	sum.Interrupted = err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
	if syncErr := shared.sync(); syncErr != nil && (err == nil || sum.Interrupted) {
		err = syncErr // labels that may be lost are worse news than an interruption
	}
	sum.Elapsed = time.Since(begin)
	if finishErr := r.Report.Finish(sum); err == nil && finishErr != nil {
		err = &ReportError{Err: pathless(finishErr)}
	}
	return sum, err
}

func (r *Run) work(ctx context.Context, shared *running, sum *report.Summary) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan report.Result, resultsAhead)
	var walkErr error
	go func() {
		defer close(results) // safe: Source returns only when no call of visit runs any more
		walkErr = r.Source(ctx, func(e walk.Entry) error {
			w := shared.take()
			res, ok := r.one(ctx, w, e)
			shared.give(w)
			switch {
			case ok:
				results <- res
			case ctx.Err() != nil: // Source may have no other file, and end as if all were done
				return context.Cause(ctx)
			}
			return nil
		})
	}()
	if err := r.report(results, sum, cancel); err != nil {
		return err
	}
	return walkErr
}

// report reports results until there are no more. The run is cancelled if one
// cannot be reported.
func (r *Run) report(results <-chan report.Result, sum *report.Summary, cancel context.CancelCauseFunc) error {
	var ticks <-chan time.Time
	if r.Progress != nil {
		ticker := time.NewTicker(tickEvery)
		defer ticker.Stop()
		ticks = ticker.C
	}
	var broken error
	for {
		select {
		case <-ticks:
			r.Progress.Tick()
		case res, ok := <-results:
			switch {
			case !ok:
				return broken
			case broken != nil:
				continue // the run is ending; let the workers finish
			}
			sum.Add(res)
			if err := r.Report.Result(res); err != nil {
				broken = &ReportError{Err: pathless(err)}
				cancel(broken)
			}
		}
	}
}

// one does the job on an entry and closes its file. It returns false for a
// file that has no turn any more.
func (r *Run) one(ctx context.Context, w *Worker, e walk.Entry) (report.Result, bool) {
	res := report.Result{Path: e.Path}
	switch {
	case e.Skip != "":
		res.Outcome, res.Code, res.Reason = report.Skipped, e.Skip, e.Skip.Words()
		return res, true
	case errors.Is(e.Err, fs.ErrNotExist):
		res.Outcome = report.Vanished
		return res, true
	case e.Err != nil:
		res.Outcome, res.Err = report.Failed, e.Err
		if _, ok := errors.AsType[*undo.LineError](e.Err); !ok {
			res.Err = fmt.Errorf("opening: %w", e.Err)
		}
		return res, true
	}
	defer e.File.Close()
	if ctx.Err() != nil {
		return res, false
	}
	res = r.Job(ctx, w, &e)
	res.Size = e.Stat.Size
	abandoned := ctx.Err() != nil && errors.Is(res.Err, context.Cause(ctx))
	return res, res.Outcome != "" && !abandoned
}

// hasher returns the worker's hasher for an algorithm.
func (w *Worker) hasher(a hash.Algorithm) (*hash.Hasher, error) {
	h := w.hashers[a]
	if h == nil {
		var err error
		if h, err = hash.New(a); err != nil {
			return nil, err
		}
		w.hashers[a] = h
	}
	return h, nil
}

// wrote remembers that the file's file system has to be synced.
func (w *Worker) wrote(e *walk.Entry) error {
	if w.anyDev && w.lastDev == e.Stat.Dev {
		return nil
	}
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	if _, ok := w.run.written[e.Stat.Dev]; !ok {
		fd, err := unix.FcntlInt(e.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("keeping a descriptor to sync: %w", err)
		}
		w.run.written[e.Stat.Dev], w.kept = fd, e.File
	}
	w.lastDev, w.anyDev = e.Stat.Dev, true
	return nil
}

// sync brings every file system that was written to the disk.
func (s *running) sync() error {
	for _, fd := range s.written {
		if err := s.syncfs(fd); err != nil {
			return fmt.Errorf("syncing the labels to disk: %w", err)
		}
	}
	return nil
}

func (s *running) close() {
	for _, fd := range s.written {
		unix.Close(fd)
	}
}

// fd is the descriptor of an open file, for calls that package os lacks.
func fd(f *walk.File) int { return int(f.Fd()) }
