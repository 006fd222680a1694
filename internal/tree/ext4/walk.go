package ext4

import (
	"context"
	"errors"
	"sync"

	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// window is how many files may wait to be written: so many that neither a large
// one nor the copy of the image leaves the workers without work for long.
const window = 1024

// An item is a file on its way from the scan by a worker to the writer.
type item struct {
	finding
	done chan struct{} // closed when a worker has done with it
}

// A walker is one walk: a scan, workers, and a writer if there is a sink.
type walker struct {
	im     *Image
	ctx    context.Context // of the walk
	cancel context.CancelCauseFunc
	visit  func(tree.Found) error
	jobs   chan *item // for workers
	order  chan *item // for the writer

	mu  sync.Mutex
	err error // the first
}

// fail ends the walk with its first error.
func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.cancel(err)
	}
}

// Walk implements tree.Source. The error is an *ImageError where the image as a
// whole cannot be read; with a sink also what writing has met with.
func (im *Image) Walk(ctx context.Context, visit func(tree.Found) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &walker{im: im, ctx: ctx, cancel: cancel, visit: visit, jobs: make(chan *item, 2*im.cfg.Jobs), order: make(chan *item, window)}
	if err := im.guard(); err != nil {
		return im.error(err)
	}
	defer stream.Unguard(im.f)
	w.run()
	if w.err == nil {
		w.err = im.error(im.unchanged())
	}
	if w.err == nil && im.sink != nil {
		w.err = im.writeError(ctx, im.sink.finish(ctx))
	}
	return w.err
}

// run scans, visits and writes to the end.
func (w *walker) run() {
	var workers, writer sync.WaitGroup
	for range w.im.cfg.Jobs {
		workers.Go(func() {
			for it := range w.jobs {
				w.work(it)
			}
		})
	}
	if w.im.sink != nil {
		writer.Go(func() {
			for it := range w.order {
				w.write(it)
			}
		})
	}
	if err := w.im.scan(w.ctx, w.im.leave(), w.send); err != nil {
		if w.ctx.Err() == nil {
			err = w.im.error(err)
		}
		w.fail(err)
	}
	close(w.jobs)
	close(w.order)
	workers.Wait()
	writer.Wait()
}

// leave returns Config.Leave for files of an image.
func (im *Image) leave() func(*File) reason.Code {
	if im.cfg.Leave == nil {
		return nil
	}
	return func(f *File) reason.Code { return im.cfg.Leave(f) }
}

// send hands a finding to a worker, and a file to the writer, too.
func (w *walker) send(f finding) error {
	it := &item{finding: f, done: make(chan struct{})}
	if w.im.sink != nil && f.file != nil {
		select {
		case w.order <- it:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	w.jobs <- it // workers take all that comes, also at the end
	return nil
}

// work has a finding visited.
func (w *walker) work(it *item) {
	defer close(it.done)
	if w.ctx.Err() != nil {
		w.fail(context.Cause(w.ctx))
		return
	}
	found := tree.Found{Path: w.im.pathOf(it.rel), Skip: it.skip, Err: it.err}
	if it.file != nil {
		found.File = it.file
	}
	if !it.dir {
		found.Rel = it.rel
	}
	if err := w.visit(found); err != nil {
		w.fail(err)
	}
}

// write writes the labels of a file, when a worker has done with it. After an error
// it does nothing.
func (w *walker) write(it *item) {
	<-it.done
	if w.ctx.Err() != nil {
		w.fail(context.Cause(w.ctx))
		return
	}
	if err := w.im.sink.write(w.ctx, it.file); err != nil {
		w.fail(w.im.writeError(w.ctx, err))
	}
}

// writeError names the image in an error of writing, where the error does not name
// the output itself.
func (im *Image) writeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*stream.OutputError](err); ok {
		return err
	}
	return im.error(err)
}

// Count implements tree.Counter.
func (im *Image) Count(ctx context.Context, each func(size int64)) error {
	im.scan(ctx, nil, func(f finding) error { // errors are the walk's to report
		if f.file != nil {
			each(f.file.in.Size)
		}
		return nil
	})
	return nil
}
