package compress

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/mikelolasagasti/xz"
)

// Unpack reads what NewReader does, and xz and bzip2 besides, and finds out by the
// first bytes which it is: what is in one of these formats, but a cpio archive, is
// unpacked no further. Close is that of a Reader, and so are the errors.
func Unpack(in io.Reader) (io.ReadCloser, error) {
	u := &unpacker{in: &source{in: in}}
	buffered := bufio.NewReaderSize(u.in, 64<<10)
	first, err := buffered.Peek(magicSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	_, err = Detect(first)
	foreign, _ := errors.AsType[*ForeignError](err)
	switch {
	case foreign == nil:
		r, err := NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return closer{r}, nil
	case foreign.Format == "cpio":
		u.out = buffered
	case foreign.Format == XZ.String():
		u.format = XZ
		if u.out, err = xz.NewReader(buffered, maxWindow); err != nil {
			return nil, u.error(err)
		}
	case foreign.Format == Bzip2.String():
		u.format, u.out = Bzip2, bzip2.NewReader(buffered)
	default:
		return nil, err
	}
	return u, nil
}

// A closer is a Reader whose Close has a result.
type closer struct{ *Reader }

func (c closer) Close() error {
	c.Reader.Close()
	return nil
}

// An unpacker reads a format that is never written here.
type unpacker struct {
	format Format
	in     *source
	out    io.Reader
}

// Read implements io.Reader.
func (u *unpacker) Read(b []byte) (int, error) {
	n, err := u.out.Read(b)
	if err != nil && err != io.EOF {
		err = u.error(err)
	}
	return n, err
}

// error is that of a Reader.
func (u *unpacker) error(err error) error {
	if own := u.in.failed(); own != nil {
		return own
	}
	if u.format == None {
		return err
	}
	return &DataError{Format: u.format, Err: err}
}

// Close implements io.Closer.
func (u *unpacker) Close() error { return nil }
