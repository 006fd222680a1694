// Package compress reads and writes gzip (RFC 1952) and zstd (RFC 8878), in several
// goroutines where the formats let it, and tells by their first bytes what other
// programs have compressed. What is written depends on what is read alone: not on
// the machine, nor on how many of its processors are free.
package compress

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// A Format is a form of compression.
type Format uint8

// The formats.
const (
	None Format = iota
	Gzip
	Zstd
	// XZ and Bzip2 are read by Unpack alone.
	XZ
	Bzip2
)

// String returns the name that Parse takes.
func (f Format) String() string {
	switch f {
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case XZ:
		return "xz"
	case Bzip2:
		return "bzip2"
	}
	return "none"
}

// Parse returns the format of a name.
func Parse(name string) (Format, error) {
	for _, f := range []Format{None, Gzip, Zstd} {
		if f.String() == name {
			return f, nil
		}
	}
	return None, fmt.Errorf("%q is not none, gzip or zstd", name)
}

const (
	// window is how far back zstd looks, in bytes: as far as zstd -3.
	window = 2 << 20
	// maxWindow is the largest window that is read: what zstd reads unasked,
	// and the memory that it takes.
	maxWindow = 128 << 20
	// blockSize is the piece of gzip that each goroutine has in hand.
	blockSize = 256 << 10
	// most is how many goroutines there are: of more, the memory would be felt.
	most = 4
)

// workers is two at least: pgzip reads into the only block that it has while the
// checksum of that block is still added up.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), most) }

// A ForeignError says that something is of a format that is not read here.
type ForeignError struct {
	// Format is its name, and Program reads it; empty where it is no stream
	// that was compressed.
	Format, Program string
}

func (e *ForeignError) Error() string { return "it is in the format " + e.Format }

// foreign are formats by their first bytes.
var foreign = []struct {
	magic string
	ForeignError
}{
	{"\xfd7zXZ\x00", ForeignError{"xz", "xz"}},
	{"BZh", ForeignError{"bzip2", "bzip2"}},
	{"LZIP", ForeignError{"lzip", "lzip"}},
	{"\x04\x22\x4d\x18", ForeignError{"lz4", "lz4"}},
	{"\x1f\x9d", ForeignError{"compress", "gzip"}},
	{"\x89LZO\x00", ForeignError{"lzop", "lzop"}},
	{"PK\x03\x04", ForeignError{"zip", ""}},
	{"PK\x05\x06", ForeignError{"zip", ""}},
	{"7z\xbc\xaf\x27\x1c", ForeignError{"7z", ""}},
	{"!<arch>\n", ForeignError{"ar (as Debian's packages are)", ""}},
	{"\xed\xab\xee\xdb", ForeignError{"rpm", ""}},
	{"070701", ForeignError{"cpio", ""}},
	{"070707", ForeignError{"cpio", ""}},
	{"hsqs", ForeignError{"squashfs", ""}},
}

// magicSize is how many bytes tell every format.
const magicSize = 8

// Detect returns the format of what begins with these bytes, of which eight tell.
// The error is a *ForeignError.
func Detect(first []byte) (Format, error) {
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}):
		return Gzip, nil
	case bytes.HasPrefix(first, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(first):
		return Zstd, nil
	}
	for i := range foreign {
		if bytes.HasPrefix(first, []byte(foreign[i].magic)) {
			return None, &foreign[i].ForeignError
		}
	}
	return None, nil
}

// isSkippable reports whether a frame begins that zstd skips, as pzstd writes one
// before each piece.
func isSkippable(b []byte) bool {
	return len(b) >= 4 && b[0]&0xf0 == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18
}

// A Header is what a compressed file says of itself, besides the data.
type Header struct {
	Format Format
	gzip   pgzip.Header
}

// A DataError says that compressed data is damaged, or ends too early.
type DataError struct {
	Format Format
	Err    error
}

func (e *DataError) Error() string { return "reading " + e.Format.String() + ": " + e.Err.Error() }
func (e *DataError) Unwrap() error { return e.Err }

// A Reader reads what was compressed, or what was not.
type Reader struct {
	Header Header

	in   *source
	out  io.Reader
	gzip *pgzip.Reader
	zstd *zstd.Decoder
}

// NewReader finds out the format of what in gives and reads it. Close ends its
// goroutines, and leaves in to the caller: who makes a call of in.Read that goes
// on end, first. The error is a *ForeignError, a *DataError, or one of in.
func NewReader(in io.Reader) (*Reader, error) {
	src := &source{in: in}
	buffered := bufio.NewReaderSize(src, 64<<10)
	first, err := buffered.Peek(magicSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	format, err := Detect(first)
	if err != nil {
		return nil, err
	}
	r := &Reader{Header: Header{Format: format}, in: src, out: buffered}
	switch format {
	case Gzip:
		if r.gzip, err = pgzip.NewReaderN(buffered, blockSize, workers()); err == nil {
			r.Header.gzip, r.out = r.gzip.Header, r.gzip
		}
	case Zstd:
		if r.zstd, err = zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(workers())); err == nil {
			r.out = r.zstd
		}
	}
	if err != nil {
		return nil, r.error(err)
	}
	return r, nil
}

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	n, err := r.out.Read(b)
	if err != nil && err != io.EOF {
		err = r.error(err)
	}
	return n, err
}

// error tells errors of the data from those of the input.
func (r *Reader) error(err error) error {
	if own := r.in.failed(); own != nil {
		return own
	}
	if r.Header.Format == None {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &DataError{Format: r.Header.Format, Err: err}
}

// Close ends what NewReader began.
func (r *Reader) Close() {
	if r.gzip != nil {
		r.gzip.Close() // of what was read, an error has been said already
	}
	if r.zstd != nil {
		r.zstd.Close()
	}
}
