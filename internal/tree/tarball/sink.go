package tarball

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"imaseal/internal/compress"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// An Output says where the new archive goes.
type Output struct {
	// Path is a file, or "-" for Stdout; it counts for nothing with InPlace.
	Path   string
	Stdout *os.File
	// InPlace replaces the archive itself, in one step.
	InPlace bool
	// Compression is that of the new archive, nil for that of the old one.
	Compression *compress.Format
}

// Errors about outputs that cannot be.
var (
	// ErrSameFile says that the output is the archive that is read.
	ErrSameFile = errors.New("the output is the archive itself")
	// ErrNoFile says that an archive that is no file cannot be replaced.
	ErrNoFile = errors.New("the archive is no file that could be replaced")
	// ErrUnread says that there is nothing to make lasting.
	ErrUnread = errors.New("the archive was not read to its end")
)

const (
	// writeSize is how much is written at a time: what a core's own cache
	// holds.
	writeSize = 128 << 10
	// copySize is what is worth a call of its own to copy it from file to file
	// in the kernel.
	copySize = 64 << 10
)

// A Target is what a new archive is written to.
type Target interface {
	io.Writer
	// Copy writes a part of a file.
	Copy(f *os.File, at, n int64) error
}

// A Sink writes a new archive behind the walk of the old one. Its Apply is safe
// for concurrent use.
type Sink struct {
	a     *Archive
	o     Output
	out   Target
	file  *stream.Out // that is out; nil where another one ends what is written
	plain io.Writer   // is given what is compressed before it is; nil for nobody

	labelled atomic.Bool // an entry has other attributes than in the old archive

	// The rest belongs to the goroutine that writes.
	header compress.Header // of the new archive
	pos    int64           // how far the old one is the new one, in bytes that are not compressed
	zip    io.WriteCloser  // compresses; nil before the first byte is written
	buf    *bufio.Writer   // in front of it
	gate   *stream.Gate    // behind it
	done   bool            // all is written
}

// NewSink opens an output of the archive, whose Walk then writes to it as long as
// ctx lasts. The caller ends it with Commit or Abort. The error is ErrSameFile,
// ErrNoFile, or a *stream.OutputError.
func (a *Archive) NewSink(ctx context.Context, o Output) (*Sink, error) {
	s := &Sink{a: a, o: o}
	var err error
	switch {
	case o.InPlace && !(a.ours && a.isFile()):
		return nil, ErrNoFile
	case o.InPlace:
		s.file, err = stream.Create(ctx, a.name)
	case o.Path == "-":
		s.file, err = stream.Stdout(ctx, o.Stdout)
	default:
		s.file, err = stream.Create(ctx, o.Path)
	}
	if err != nil {
		return nil, err
	}
	if !o.InPlace && a.f != nil && s.file.Replaces(a.f) {
		s.file.Abort()
		return nil, ErrSameFile
	}
	s.out = s.file
	a.sink = s
	return s, nil
}

// NewPartSink has Walk write to out what is to be put in the place of an archive
// of OpenPart, if a label in it changes, and else nothing: see Changed. What is
// compressed is given to plain before it is. There is nothing to commit; a run that
// was broken off ends with Abort.
func (a *Archive) NewPartSink(out Target, plain io.Writer) *Sink {
	a.sink = &Sink{a: a, o: Output{InPlace: true}, out: out, plain: plain}
	return a.sink
}

// Changed reports whether another archive was written, or is being written, than
// the old one.
func (s *Sink) Changed() bool { return s.buf != nil }

// IsCompressed reports whether the archive that was written is compressed.
func (s *Sink) IsCompressed() bool { return s.header.Format != compress.None }

// Apply implements tree.Sink, for files of the archive that are visited.
func (s *Sink) Apply(file tree.File, changes []tree.Change) error {
	f, ok := tree.As[*File](file)
	if !ok {
		return fmt.Errorf("%T is no file of an archive", file)
	}
	err := f.apply(changes)
	if _, partly := errors.AsType[*tree.PartialError](err); err == nil || partly {
		s.labelled.Store(true)
	}
	return err
}

// begin takes what the old archive says of its compression.
func (s *Sink) begin(old compress.Header) error {
	s.header = old
	if f := s.o.Compression; f != nil && *f != old.Format {
		s.header = compress.Header{Format: *f}
		return s.start()
	}
	if !s.a.isFile() {
		return s.start()
	}
	return nil
}

// start begins to write: first, what the old archive has up to here.
func (s *Sink) start() error {
	s.gate = &stream.Gate{Writer: s.out}
	var err error
	if s.zip, err = compress.NewWriter(s.gate, s.header); err != nil {
		return err
	}
	to := io.Writer(s.zip)
	if s.plain != nil && s.header.Format != compress.None {
		to = io.MultiWriter(s.zip, s.plain)
	}
	s.buf = bufio.NewWriterSize(to, writeSize)
	if s.pos == 0 {
		return nil
	}
	if s.header.Format == compress.None {
		return s.out.Copy(s.a.f, s.a.base, s.pos)
	}
	in, err := compress.NewReader(s.a.all())
	if err != nil {
		return err
	}
	defer in.Close()
	return s.fill(in, s.pos)
}

// write writes an entry.
func (s *Sink) write(w *walker, it *item) error {
	e := it.entry
	head, size := e.Head(), e.Padded()
	if it.file != nil && it.file.head != nil && !bytes.Equal(head, it.file.head) {
		if s.zip == nil {
			if err := s.start(); err != nil {
				return err
			}
		}
		if e.IsRHT() {
			s.a.tally.rht.Add(1)
		}
		head = it.file.head
	}
	if s.zip == nil {
		s.pos += int64(len(head)) + size
		return nil
	}
	if _, err := s.buf.Write(head); err != nil {
		return err
	}
	if size == 0 {
		return nil
	}
	if size >= copySize && s.header.Format == compress.None && w.isInFile(it) {
		if err := s.buf.Flush(); err != nil {
			return err
		}
		return s.out.Copy(s.a.f, s.a.base+it.at, size)
	}
	return s.fill(w.bytes(it), size)
}

// fill writes size bytes of what in reads, which go right into the buffer.
func (s *Sink) fill(in io.Reader, size int64) error {
	for size > 0 {
		if s.buf.Available() == 0 {
			if err := s.buf.Flush(); err != nil {
				return err
			}
		}
		b := s.buf.AvailableBuffer()
		b = b[:min(int64(cap(b)), size)]
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		s.buf.Write(b) // there is room
		size -= int64(len(b))
	}
	return nil
}

// finish writes the rest, when all entries are written.
func (s *Sink) finish() error {
	switch {
	case s.zip != nil:
		if err := s.buf.Flush(); err != nil {
			return err
		}
		if err := s.zip.Close(); err != nil {
			return err
		}
		s.zip = nil
	case s.o.InPlace:
	default:
		if err := s.out.Copy(s.a.f, s.a.base, s.a.size); err != nil {
			return err
		}
	}
	s.done = true
	return nil
}

// Commit implements tree.Sink.
func (s *Sink) Commit(context.Context) error {
	if !s.done {
		s.Abort()
		return ErrUnread
	}
	if s.file == nil {
		return nil
	}
	if s.o.InPlace && !s.Changed() {
		s.file.Abort()
		return nil
	}
	err := s.file.Commit()
	s.done = err == nil
	return err
}

// Abort implements tree.Sink: of a file nothing is left, and what has gone through
// a pipe has no end.
func (s *Sink) Abort() error {
	if s.zip != nil {
		s.gate.Shut()
		s.zip.Close() // ends its goroutines, and fails
		s.zip = nil
	}
	if s.file != nil {
		s.file.Abort()
	}
	return nil
}
