package tarball

import (
	"context"
	"io"
	"sync"

	"imaseal/internal/compress"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
	"imaseal/internal/tree"
)

const (
	// window is how many entries may wait to be written: so many that a large
	// one does not leave the other workers without work.
	window = 512
	// heads is how many bytes of headers may wait.
	heads = 4 << 20
	// small is how much content of an entry that is not visited is held rather
	// than waited for.
	small = 1 << 20
)

// An item is an entry on its way from the reader by a worker to the writer.
type item struct {
	entry *tarfile.Entry
	finding
	file *File
	held *stream.Held  // what is stored of it, if it was read from a stream
	at   int64         // where that is in the file, if it was not
	done chan struct{} // closed when a worker has done with it; nil for none
	// copied is closed when the writer has taken the content out of the
	// stream; nil where it has not to.
	copied chan struct{}
}

// A walker is one walk: a reader, workers, and a writer if there is a sink.
type walker struct {
	a      *Archive
	ctx    context.Context // of the walk
	cancel context.CancelCauseFunc
	visit  func(tree.Found) error
	sel    selection

	in     *tarfile.Reader
	stream bool         // contents are read once
	pool   *stream.Pool // for them
	heads  *budget
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

// Walk implements tree.Source. The error is an *ArchiveError where the archive is
// damaged; with a sink also what writing has met with.
func (a *Archive) Walk(ctx context.Context, visit func(tree.Found) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &walker{
		a: a, ctx: ctx, cancel: cancel, visit: visit, sel: selection{cfg: &a.cfg},
		heads: newBudget(heads), jobs: make(chan *item, 2*a.cfg.Jobs), order: make(chan *item, window),
	}
	if a.sink != nil && a.isFile() {
		if err := a.guard(); err != nil {
			return a.error(ctx, err)
		}
		defer stream.Unguard(a.f) // standard input may stay open elsewhere
	}
	end, format, err := w.open()
	if err != nil {
		return a.error(ctx, err)
	}
	defer end()
	if a.sink != nil {
		if err := a.sink.begin(format); err != nil {
			return a.writeError(ctx, err)
		}
	}
	w.run()
	if w.err == nil && a.isFile() {
		w.err = a.error(ctx, a.unchanged())
	}
	if w.err == nil && a.sink != nil {
		w.err = a.writeError(ctx, a.sink.finish())
	}
	return w.err
}

// open finds out how the archive is read. What it returns is called when it has
// been.
func (w *walker) open() (end func(), h compress.Header, err error) {
	a := w.a
	if a.isFile() {
		in := newSeeker(w.ctx, a.all(), a.size)
		format, err := in.format()
		if err != nil {
			return nil, h, err
		}
		if format == compress.None {
			w.in = tarfile.NewReader(in)
			return func() {}, h, nil
		}
	}
	in, err := newStreamer(w.ctx, a.reader(w.ctx), a.cfg.Unpacked)
	if err != nil {
		return nil, h, err
	}
	if w.pool, err = stream.NewPool(memory, a.cfg.TempDir); err != nil {
		in.raw.Close()
		return nil, h, err
	}
	w.in, w.stream = tarfile.NewReader(in), true
	return func() {
		in.raw.Close()
		w.pool.Close()
	}, in.raw.Header, nil
}

// reader reads the archive from its beginning.
func (a *Archive) reader(ctx context.Context) io.Reader {
	switch {
	case a.f == nil:
		return a.in
	case a.isFile():
		return a.all()
	}
	return stream.NewReader(ctx, a.f)
}

// run reads, visits and writes to the end.
func (w *walker) run() {
	var workers, writer sync.WaitGroup
	for range w.a.cfg.Jobs {
		workers.Go(func() {
			for it := range w.jobs {
				w.work(it)
			}
		})
	}
	if w.a.sink != nil {
		writer.Go(func() {
			for it := range w.order {
				w.write(it)
			}
		})
	}
	if err := w.read(); err != nil {
		w.fail(w.a.error(w.ctx, err))
	}
	close(w.jobs)
	close(w.order)
	workers.Wait()
	writer.Wait()
}

// read hands every entry on.
func (w *walker) read() error {
	for n := 0; ; n++ {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		e, err := w.in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		it := &item{entry: e, finding: w.sel.found(n, e), at: w.in.Offset()}
		if !w.stream && e.Kind != tarfile.Zeros && e.Padded() > w.a.size-it.at {
			return &tarfile.FormatError{Entry: e.Name, Offset: e.Offset, Err: &tarfile.TruncatedError{What: "in the content"}}
		}
		if err := w.heads.take(w.ctx, len(e.Head())); err != nil {
			return err
		}
		if w.stream {
			err = w.hold(it)
		}
		if err == nil {
			err = w.send(it)
		}
		if err != nil {
			it.release(w)
			return err
		}
		if e.HasGlobal() {
			w.a.tally.global.Store(1)
		}
	}
}

// hold reads the content of an entry of a stream, where it is needed.
func (w *walker) hold(it *item) error {
	size := it.entry.Padded()
	isVisited := it.wants && it.skip == "" && it.err == nil
	switch {
	case it.entry.Kind == tarfile.Zeros || size == 0 && !isVisited:
	case isVisited, w.a.sink != nil && size <= small:
		var err error
		it.held, err = w.pool.Hold(w.ctx, w.in, size)
		return err
	case w.a.sink != nil:
		it.copied = make(chan struct{})
	}
	return nil
}

// send hands an item to a worker and to the writer, and waits until the latter has
// taken what it must.
func (w *walker) send(it *item) error {
	if it.wants {
		it.done = make(chan struct{})
	}
	if w.a.sink != nil {
		select {
		case w.order <- it:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	if it.wants {
		w.jobs <- it // workers take all that comes, also at the end
	} else if w.a.sink == nil {
		it.release(w)
	}
	if it.copied != nil {
		<-it.copied
	}
	return nil
}

// work has an entry visited.
func (w *walker) work(it *item) {
	defer close(it.done)
	if w.a.sink == nil {
		defer it.release(w)
	}
	if w.ctx.Err() != nil {
		w.fail(context.Cause(w.ctx))
		return
	}
	found := tree.Found{Path: w.a.path(it.rel), Rel: it.rel, Skip: it.skip, Target: it.target, Err: it.err}
	if it.err == nil && it.skip == "" {
		found = w.file(it)
	}
	if found.File != nil && it.entry.AfterEnd {
		w.a.tally.after.Add(1)
	}
	if err := w.visit(found); err != nil {
		w.fail(err)
	}
}

// file returns the file of an entry, or why it is none that can be labelled.
func (w *walker) file(it *item) tree.Found {
	f := &File{archive: w.a, entry: it.entry, rel: it.rel}
	found := tree.Found{Path: f.Name(), Rel: f.rel}
	var err error
	if f.content, err = it.entry.Content(w.stored(it)); err != nil {
		found.Err = &tarfile.FormatError{Entry: it.entry.Name, Offset: it.entry.Offset, Err: err}
		return found
	}
	if w.a.cfg.Leave != nil {
		if found.Skip = w.a.cfg.Leave(f); found.Skip != "" {
			return found
		}
	}
	found.File, it.file = f, f
	return found
}

// stored reads what is stored of an entry.
func (w *walker) stored(it *item) io.ReaderAt {
	if it.held != nil {
		return it.held
	}
	return w.a.section(it.at, it.entry.Stored)
}

// isInFile reports whether what stands behind an entry's headers can be read from
// the archive by its offset.
func (w *walker) isInFile(it *item) bool {
	return !w.stream && it.entry.Kind != tarfile.Zeros
}

// bytes reads what stands behind an entry's headers in the archive.
func (w *walker) bytes(it *item) io.Reader {
	size := it.entry.Padded()
	switch {
	case it.entry.Kind == tarfile.Zeros:
		return zeros{}
	case it.copied != nil:
		return w.in
	case it.held != nil:
		return io.NewSectionReader(it.held, 0, size)
	}
	return w.a.section(it.at, size)
}

// zeros reads zero bytes without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// release gives back what an item takes.
func (it *item) release(w *walker) {
	if it.held != nil {
		it.held.Release()
	}
	w.heads.give(len(it.entry.Head()))
}

// write writes an entry, when a worker has done with it. After an error it only
// makes room.
func (w *walker) write(it *item) {
	defer it.release(w)
	if it.copied != nil {
		defer close(it.copied)
	}
	if it.done != nil {
		<-it.done
	}
	if w.ctx.Err() != nil {
		w.fail(context.Cause(w.ctx))
		return
	}
	if err := w.a.sink.write(w, it); err != nil {
		w.fail(w.a.writeError(w.ctx, err))
	}
}
