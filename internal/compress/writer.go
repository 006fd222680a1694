package compress

import (
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// unknownOS is what a gzip header says of a system that is not told.
const unknownOS = 255

// NewWriter returns a writer that compresses in the format of a header, whose
// other fields go into what is written as they are. Close ends what is written,
// and the writer's goroutines, also after an error; it leaves out to the caller.
func NewWriter(out io.Writer, h Header) (io.WriteCloser, error) {
	to := &sink{out: out}
	switch h.Format {
	case Gzip:
		w := pgzip.NewWriter(to)
		if err := w.SetConcurrency(blockSize, workers()); err != nil {
			return nil, err
		}
		w.Header = h.gzip
		if w.ModTime.IsZero() { // the header of nothing that was read
			w.Header = pgzip.Header{ModTime: time.Unix(0, 0), OS: unknownOS}
		}
		return &writer{w, to}, nil
	case Zstd:
		w, err := zstd.NewWriter(to, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(workers()))
		return &writer{w, to}, err
	}
	return plain{out}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// A writer tells of errors that its compressor does not know.
type writer struct {
	to   io.WriteCloser
	sink *sink
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	if err := w.sink.failed(); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// Close implements io.Closer.
func (w *writer) Close() error {
	err := w.to.Close()
	if own := w.sink.failed(); own != nil {
		return own
	}
	return err
}

// A sink takes everything, and remembers the first error: pgzip does not end its
// goroutine where writing has failed.
type sink struct {
	out io.Writer

	mu  sync.Mutex // other goroutines write than ask
	err error
}

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	if s.failed() == nil {
		if _, err := s.out.Write(b); err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	}
	return len(b), nil
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
