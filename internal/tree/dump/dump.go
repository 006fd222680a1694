// Package dump is the sink of labels that go to no tree, but into a file: for
// imaseal apply, for setfattr(1) and for mksquashfs(1).
//
// What carries the files need only be readable: they show the labels that they
// would have (tree.Overlay), and what became of each is written here.
package dump

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"

	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// A Format is a kind of file that labels can be written to.
type Format string

// The formats.
const (
	JSON     Format = "json"     // package labelfile
	Setfattr Format = "setfattr" // what setfattr --restore reads
	Squashfs Format = "squashfs" // pseudo file definitions of mksquashfs -pf
	Requests Format = "requests" // package labelfile
)

// A Sink is a tree.Sink to which labels of files are written by Write. It is safe
// for concurrent use.
type Sink struct {
	tree.Overlay
	out   *stream.Out
	write func(labelfile.Record) error
	end   func() error

	mu   sync.Mutex
	buf  *bufio.Writer
	err  error // of writing: there is no use in going on
	done bool
}

// New returns a sink that ends what is written to out, with Commit or Abort.
func New(out *stream.Out, f Format) *Sink {
	s := &Sink{out: out, buf: bufio.NewWriterSize(out, 128<<10), end: func() error { return nil }}
	switch f {
	case JSON, Requests:
		kind := labelfile.Labels
		if f == Requests {
			kind = labelfile.Requests
		}
		w := labelfile.NewWriter(locked{s}, kind)
		s.write, s.end = w.Write, func() error { return w.End(nil) }
	case Setfattr:
		s.write = s.text(setfattr)
	case Squashfs:
		s.write = s.text(squashfs)
	}
	return s
}

// text writes what a function makes of records.
func (s *Sink) text(of func([]byte, labelfile.Record) ([]byte, error)) func(labelfile.Record) error {
	return func(r labelfile.Record) error {
		b, err := of(nil, r)
		if err == nil {
			_, err = locked{s}.Write(b)
		}
		return err
	}
}

// Write writes the labels of a file. The error is about the file, or what will end
// the walk of Source.
func (s *Sink) Write(r labelfile.Record) error { return s.write(r) }

// locked writes to the buffer of a sink.
type locked struct{ *Sink }

var _ io.Writer = locked{}

func (s locked) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.buf.Write(b)
	s.err = err
	return n, err
}

// Source returns a source of the files of another, to which Write refers. Its walk
// ends when nothing can be written any more.
func (s *Sink) Source(source tree.Source) tree.Source {
	return until{tree.Like{Source: s.Overlay.Source(source)}, s}
}

type until struct {
	tree.Like
	sink *Sink
}

func (u until) Walk(ctx context.Context, visit func(tree.Found) error) error {
	return u.Source.Walk(ctx, func(f tree.Found) error {
		if err := visit(f); err != nil {
			return err
		}
		u.sink.mu.Lock()
		defer u.sink.mu.Unlock()
		return u.sink.err
	})
}

// Notes implements tree.Noter, for runs that were broken off, too.
func (u until) Notes() reason.List {
	notes := u.Like.Notes()
	if !u.sink.done {
		notes = notes.With(reason.New(reason.NothingWritten, "the run was broken off, and no file of labels written"))
	}
	return notes
}

// Commit implements tree.Sink: what was written is on the disk, and has its name.
func (s *Sink) Commit(context.Context) error {
	err := s.end()
	if err == nil {
		err = s.buf.Flush()
	}
	if err != nil {
		s.out.Abort()
		return err
	}
	err = s.out.Commit()
	s.done = err == nil
	return err
}

// Abort implements tree.Sink: of a file nothing is left.
func (s *Sink) Abort() error {
	s.out.Abort()
	return nil
}

// A NameError says that a format has no way to write a name.
type NameError struct{ Format Format }

func (e *NameError) Error() string {
	return fmt.Sprintf("a newline in the name, which %s has no way to write", e.Format)
}
