package audit

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow bounds the memory for decompression: xz -9 and zstd -19 need no more.
const maxWindow = 64 << 20

// ErrWindow says that decompression would need too much memory.
var ErrWindow = errors.New("compressed with a dictionary larger than 64 MiB")

// Decompress returns a reader of what r has, decompressed if it is gzip, bzip2, xz
// or zstd, which its first bytes tell. An error is about the first bytes; what is
// damaged later is an error of Read. The reader holds no resources.
func Decompress(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(xzHeaders)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		if xzWindow(head) > maxWindow {
			return nil, ErrWindow
		}
		return xz.NewReader(in)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		// One goroutine decodes where it is read, so that nothing is left behind
		// by a reader that is given up.
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	}
	return in, nil
}

// xzHeaders is the most that the headers of a stream and of its first block take
// (the .xz file format, 2.1.1 and 3.1).
const xzHeaders = 12 + 1024

// xzWindow returns the size of the dictionary of the first block, 0 where the
// header is not understood: the library, which allocates it, will say so.
func xzWindow(head []byte) int64 {
	const lzma2 = 0x21
	if len(head) < 12+2 {
		return 0
	}
	block := head[12:]
	flags, rest := block[1], block[2:]
	for _, bit := range []byte{0x40, 0x80} { // the sizes, if they are there
		for more := flags&bit != 0; more && len(rest) > 0; {
			more = rest[0]&0x80 != 0
			rest = rest[1:]
		}
	}
	if len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return 0
	}
	size, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return 0
	}
	return size
}
