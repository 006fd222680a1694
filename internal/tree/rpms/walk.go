package rpms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"imaseal/internal/compress"
	"imaseal/internal/line"
	"imaseal/internal/reason"
	"imaseal/internal/rpmfile"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// memory is how much content is held in memory for each package that is unpacked,
// in bytes.
const memory = 32 << 20

// A pkg is a package in hand.
type pkg struct {
	named
	f     *os.File
	watch stream.Watch
	head  *rpmfile.Package
	// labels are those of the files, each of which has one worker.
	labels    [][]byte
	isChanged atomic.Bool
	left      atomic.Int64 // files that are not visited yet, and 1 until all are known
}

// A task is what a worker does next.
type task struct {
	in    *pkg // nil if it could not be read
	index int  // of a file; -1 for all of them, with their contents
	found tree.Found
}

// A walker is one walk.
type walker struct {
	*line.End
	p     *Packages
	visit func(tree.Found) error
	tasks chan task // without a buffer: so many packages are open as there are workers
}

// Walk implements tree.Source. With a sink the error is also one of writing.
func (p *Packages) Walk(ctx context.Context, visit func(tree.Found) error) error {
	end := line.NewEnd(ctx)
	defer end.Release()
	w := &walker{End: end, p: p, visit: visit, tasks: make(chan task)}
	var workers sync.WaitGroup
	for range p.cfg.Jobs {
		workers.Go(func() {
			for t := range w.tasks {
				w.work(t)
			}
		})
	}
	for _, n := range p.all {
		if !w.feed(n) {
			break
		}
	}
	close(w.tasks)
	workers.Wait()
	end.Fail(end.Cause())
	return end.Err()
}

// send hands a task to a worker, unless the walk ends.
func (w *walker) send(t task) bool {
	select {
	case w.tasks <- t:
		return true
	case <-w.Ctx.Done():
		if t.in != nil {
			t.in.done(w)
		}
		return false
	}
}

// feed hands out what there is to do about a package, and returns false if the walk
// ends.
func (w *walker) feed(n named) bool {
	in, err := w.p.open(n)
	switch {
	case errors.Is(err, rpmfile.ErrSource) && !n.isNamed:
		return w.send(task{found: tree.Found{Path: n.path, Rel: n.rel, Skip: reason.SourcePackage}})
	case err != nil:
		return w.send(task{found: tree.Found{Path: n.path, Rel: n.rel, Err: pathless(err)}})
	}
	in.left.Store(1)
	defer in.done(w)
	if w.p.cfg.Content {
		in.left.Add(1)
		return w.send(task{in: in, index: -1})
	}
	for i := range in.head.Files {
		found, wants := w.found(in, i)
		if !wants {
			continue
		}
		in.left.Add(1)
		if !w.send(task{in: in, index: i, found: found}) {
			return false
		}
	}
	return true
}

// open opens a package and reads its head.
func (p *Packages) open(n named) (*pkg, error) {
	f, err := os.Open(n.path)
	if err != nil {
		return nil, err
	}
	in := &pkg{named: n, f: f}
	if in.watch, err = stream.NewWatch(f); err == nil {
		in.head, err = rpmfile.Read(f, in.watch.Stat().Size)
	}
	if err == nil && in.head.Labels != nil && !p.cfg.Mend {
		err = in.head.Labels
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	in.labels = make([][]byte, len(in.head.Files))
	for i := range in.labels {
		in.labels[i] = in.head.Files[i].Label
	}
	return in, nil
}

// pathless drops the name from an error: what is found has it.
func pathless(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok && p.Op == "open" {
		return fmt.Errorf("opening: %w", p.Err)
	} else if ok {
		return fmt.Errorf("reading: %w", p.Err)
	}
	return err
}

// found says what becomes of a file, but for its content, and Leave.
func (w *walker) found(in *pkg, i int) (tree.Found, bool) {
	f := &in.head.Files[i]
	found := tree.Found{Path: in.path + ":" + rel(f), Rel: rel(f)}
	skip, wants := w.p.cfg.skip(f, rel(f))
	found.Skip = skip
	if wants && skip == "" && f.Digest.IsZero() {
		found.Err = errNoDigest
	}
	return found, wants
}

// work does what there is to do.
func (w *walker) work(t task) {
	switch {
	case t.in == nil:
		w.see(t.found)
	case t.index < 0:
		defer t.in.done(w)
		w.Fail(w.unpack(t.in))
	default:
		defer t.in.done(w)
		w.file(t, nil)
	}
}

// see has something visited.
func (w *walker) see(found tree.Found) {
	if w.Ctx.Err() != nil {
		if found.File != nil {
			found.File.Close()
		}
		return
	}
	w.Fail(w.visit(found))
}

// file has a file visited, with its content, or without.
func (w *walker) file(t task, content io.ReaderAt) {
	if t.found.Err == nil && t.found.Skip == "" {
		f := &File{in: t.in, index: t.index, content: content}
		if w.p.cfg.Leave != nil {
			t.found.Skip = w.p.cfg.Leave(f)
		}
		if t.found.Skip == "" {
			t.found.File = f
		}
	}
	w.see(t.found)
}

// done is called when a file has been visited: the last one's has the package
// written.
func (in *pkg) done(w *walker) {
	if in.left.Add(-1) > 0 {
		return
	}
	defer in.f.Close()
	switch {
	case w.p.sink == nil:
	case w.Ctx.Err() != nil:
		if in.isChanged.Load() {
			w.p.unfinished.Add(1)
		}
	default:
		if err := w.p.sink.write(in); err != nil {
			w.Fail(err)
			w.p.unfinished.Add(1)
		}
	}
}

// unpack reads the payload of a package and has its files visited as they come. The
// error is one of this machine; what is wrong with the package is visited.
func (w *walker) unpack(in *pkg) error {
	pool, err := stream.NewPool(memory, w.p.cfg.TempDir)
	if err != nil {
		return err
	}
	defer pool.Close()
	u := &unpacking{walker: w, in: in, pool: pool, links: make(map[int][]int)}
	for i := range in.head.Files {
		last := in.head.Files[i].Last
		u.links[last] = append(u.links[last], i)
	}
	err = u.run()
	if err == nil {
		err = in.watch.Unchanged()
	}
	if _, isOurs := errors.AsType[*stream.SpoolError](err); isOurs {
		return err
	}
	if err != nil && w.Ctx.Err() == nil {
		w.see(tree.Found{Path: in.path, Rel: in.rel, Err: err})
	}
	return nil
}

// An unpacking is the reading of one payload.
type unpacking struct {
	*walker
	in    *pkg
	pool  *stream.Pool
	links map[int][]int // the files of which the last has the content, by that
}

// A CompressorError says that a payload is in a format that is not read.
type CompressorError struct{ Format string }

func (e *CompressorError) Error() string {
	return "its payload was compressed with " + e.Format + ", which is not read here"
}

// errMissing is of a file that a package should have.
var errMissing = errors.New("it is not in the payload")

func (u *unpacking) run() error {
	switch c := u.in.head.Compressor; c {
	case "", "gzip", "bzip2", "xz", "zstd":
	default:
		return &CompressorError{c}
	}
	size := u.in.watch.Stat().Size - u.in.head.Payload
	unpacked, err := compress.Unpack(&interruptible{u.Ctx, io.NewSectionReader(u.in.f, u.in.head.Payload, size)})
	if err != nil {
		return err
	}
	defer unpacked.Close()
	payload := u.in.head.NewPayload(unpacked)
	for {
		i, size, err := payload.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = u.entry(payload, i, size)
		}
		if err != nil {
			return err
		}
	}
	for _, i := range payload.Missing() {
		if found, wants := u.found(u.in, i); wants && found.Skip == "" {
			found.Err = errMissing
			u.see(found)
		} else if wants {
			u.see(found)
		}
	}
	return u.ghosts()
}

// ghosts has those files visited that no payload has.
func (u *unpacking) ghosts() error {
	for i := range u.in.head.Files {
		if found, wants := u.found(u.in, i); wants && u.in.head.Files[i].Ghost {
			u.see(found)
		}
	}
	return nil
}

// entry has the files of an entry visited: those that are hard links of each other,
// with the one that has the content.
func (u *unpacking) entry(payload io.Reader, i int, size int64) error {
	if u.Ctx.Err() != nil {
		return context.Cause(u.Ctx)
	}
	f := &u.in.head.Files[i]
	if f.Ghost {
		return nil
	}
	var held *stream.Held
	for _, i := range u.links[i] {
		found, wants := u.found(u.in, i)
		if !wants {
			continue
		}
		t := task{in: u.in, index: i, found: found}
		if found.Skip == "" && found.Err == nil && held == nil {
			var err error
			if held, err = u.pool.Hold(u.Ctx, payload, size); held != nil {
				defer held.Release()
			}
			if err != nil {
				return err
			}
		}
		u.file(t, held)
	}
	return nil
}

// An interruptible reader ends with its context.
type interruptible struct {
	ctx context.Context
	in  io.Reader
}

// Read implements io.Reader.
func (r *interruptible) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.in.Read(b)
}
