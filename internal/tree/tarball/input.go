package tarball

import (
	"bufio"
	"context"
	"io"

	"imaseal/internal/compress"
)

// headSize is how much is read at a time where headers are: those of a file, and
// of some small files behind each other.
const headSize = 8 << 10

// A seeker is a tarfile.Input that is read by offset.
type seeker struct {
	ctx       context.Context // that of the walk
	in        io.ReaderAt
	off, size int64 // bytes
	buf       []byte
	at        int64 // where buf begins
}

func newSeeker(ctx context.Context, in io.ReaderAt, size int64) *seeker {
	return &seeker{ctx: ctx, in: in, size: size, buf: make([]byte, 0, headSize)}
}

// Read implements io.Reader.
func (s *seeker) Read(b []byte) (int, error) {
	if s.off < s.at || s.off >= s.at+int64(len(s.buf)) {
		if s.ctx.Err() != nil {
			return 0, context.Cause(s.ctx)
		}
		n, err := s.in.ReadAt(s.buf[:cap(s.buf)], s.off)
		s.buf, s.at = s.buf[:n], s.off
		if n == 0 {
			return 0, err
		}
	}
	n := copy(b, s.buf[s.off-s.at:])
	s.off += int64(n)
	return n, nil
}

// Skip implements tarfile.Input.
func (s *seeker) Skip(n int64) error {
	if n > s.size-s.off {
		return io.ErrUnexpectedEOF
	}
	s.off += n
	return nil
}

// format looks at the first bytes.
func (s *seeker) format() (compress.Format, error) {
	var first [8]byte
	n, err := s.in.ReadAt(first[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return compress.Detect(first[:n])
}

// A streamer is a tarfile.Input that is read once.
type streamer struct {
	ctx context.Context // that of the walk
	in  *bufio.Reader
	raw *compress.Reader
}

// newStreamer unpacks what in gives, where that is necessary, and gives it to
// unpacked, if that is not nil. The caller closes raw. The error may be a
// *NestedError.
func newStreamer(ctx context.Context, in io.Reader, unpacked io.Writer) (*streamer, error) {
	raw, err := compress.NewReader(in)
	if err != nil {
		return nil, err
	}
	plain := io.Reader(raw)
	if unpacked != nil {
		plain = io.TeeReader(raw, unpacked)
	}
	s := &streamer{ctx: ctx, in: bufio.NewReaderSize(plain, 64<<10), raw: raw}
	first, err := s.in.Peek(8)
	if err != nil && err != io.EOF {
		raw.Close()
		return nil, err
	}
	inner, err := compress.Detect(first)
	if err == nil && inner == compress.None {
		return s, nil
	}
	raw.Close()
	name := inner.String()
	if err != nil {
		name = err.(*compress.ForeignError).Format
	}
	return nil, &NestedError{Outer: raw.Header.Format, Inner: name}
}

// Read implements io.Reader.
func (s *streamer) Read(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.in.Read(b)
}

// Skip implements tarfile.Input.
func (s *streamer) Skip(n int64) error {
	const step = 1 << 20 // so that an interruption is noticed
	for n > 0 {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		done, err := s.in.Discard(int(min(n, step)))
		n -= int64(done)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}
