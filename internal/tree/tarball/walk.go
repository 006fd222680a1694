package tarball

import (
	"context"
	"io"

	"imaseal/internal/compress"
	"imaseal/internal/line"
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
	held *stream.Held // what is stored of it, if it was read from a stream
	at   int64        // where that is in the file, if it was not
	// copied is closed when the writer has taken the content out of the
	// stream; nil where it has not to.
	copied chan struct{}
}

// A walker is one walk: a reader, workers, and a writer if there is a sink.
type walker struct {
	*line.End
	a     *Archive
	visit func(tree.Found) error
	sel   selection

	in     *tarfile.Reader
	stream bool         // contents are read once
	pool   *stream.Pool // for them
	heads  *budget
	line   line.Line[*item]
}

// Walk implements tree.Source. The error is an *ArchiveError where the archive is
// damaged; with a sink also what writing has met with.
func (a *Archive) Walk(ctx context.Context, visit func(tree.Found) error) error {
	end := line.NewEnd(ctx)
	defer end.Release()
	w := &walker{End: end, a: a, visit: visit, sel: selection{cfg: &a.cfg}, heads: newBudget(heads)}
	w.line = line.Line[*item]{End: end, Workers: a.cfg.Jobs, Window: window, Work: w.work, Write: w.write}
	if a.sink != nil && a.isFile() {
		if err := a.watch.Begin(); err != nil {
			return a.error(end.Ctx, err)
		}
		defer a.watch.End() // standard input may stay open elsewhere
	}
	close, format, err := w.open()
	if err != nil {
		return a.error(end.Ctx, err)
	}
	defer close()
	if a.sink != nil {
		if err := a.sink.begin(format); err != nil {
			return a.writeError(end.Ctx, err)
		}
	}
	w.line.Run(func() error { return a.error(end.Ctx, w.read()) })
	err = end.Err()
	if err == nil && a.isFile() {
		err = a.error(end.Ctx, a.watch.Unchanged())
	}
	if err == nil && a.sink != nil {
		err = a.writeError(end.Ctx, a.sink.finish())
	}
	return err
}

// open finds out how the archive is read. What it returns is called when it has
// been.
func (w *walker) open() (end func(), h compress.Header, err error) {
	a := w.a
	if a.isFile() {
		in := newSeeker(w.Ctx, a.all(), a.size)
		format, err := in.format()
		if err != nil {
			return nil, h, err
		}
		if format == compress.None {
			w.in = tarfile.NewReader(in)
			return func() {}, h, nil
		}
	}
	in, err := newStreamer(w.Ctx, a.reader(w.Ctx), a.cfg.Unpacked)
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

// read hands every entry on.
func (w *walker) read() error {
	for n := 0; ; n++ {
		if err := w.Cause(); err != nil {
			return err
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
		if err := w.heads.take(w.Ctx, len(e.Head())); err != nil {
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
		it.held, err = w.pool.Hold(w.Ctx, w.in, size)
		return err
	case w.a.sink != nil:
		it.copied = make(chan struct{})
	}
	return nil
}

// send hands an item to a worker and to the writer, and waits until the latter has
// taken what it must.
func (w *walker) send(it *item) error {
	isWritten := w.a.sink != nil
	if err := w.line.Send(it, line.To{Work: it.wants, Write: isWritten}); err != nil {
		return err
	}
	if !it.wants && !isWritten {
		it.release(w)
	}
	if it.copied != nil {
		<-it.copied
	}
	return nil
}

// work has an entry visited.
func (w *walker) work(it *item) error {
	if w.a.sink == nil {
		defer it.release(w)
	}
	if err := w.Cause(); err != nil {
		return err
	}
	found := tree.Found{Path: w.a.path(it.rel), Rel: it.rel, Skip: it.skip, Target: it.target, Err: it.err}
	if it.err == nil && it.skip == "" {
		found = w.file(it)
	}
	if found.File != nil && it.entry.AfterEnd {
		w.a.tally.after.Add(1)
	}
	return w.visit(found)
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

// write writes an entry. After an error it only makes room.
func (w *walker) write(it *item) error {
	defer it.release(w)
	if it.copied != nil {
		defer close(it.copied)
	}
	if err := w.Cause(); err != nil {
		return err
	}
	return w.a.writeError(w.Ctx, w.a.sink.write(w, it))
}
