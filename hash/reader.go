package hash

import (
	"context"
	"io"
)

// readBuffer is small enough for a core's own cache, and large enough that the
// calls cost nothing.
const readBuffer = 128 << 10

// A Reader computes digests of contents, one after the other, with one buffer
// and one Hasher an algorithm. It belongs to one goroutine.
type Reader struct {
	// Progress is told of bytes as they are read; nil for nobody.
	Progress func(n int64)

	buf     []byte
	hashers map[Algorithm]*Hasher
	told    told
}

// NewReader returns a Reader with a buffer.
func NewReader() *Reader {
	return &Reader{buf: make([]byte, readBuffer), hashers: make(map[Algorithm]*Hasher)}
}

// Content is Hasher.Content: the digest of the first size bytes of r, and the
// number of bytes read. An algorithm that cannot be computed gives a
// *NotComputableError.
func (r *Reader) Content(ctx context.Context, a Algorithm, content io.ReaderAt, size int64) (Digest, int64, error) {
	h := r.hashers[a]
	if h == nil {
		var err error
		if h, err = New(a); err != nil {
			return Digest{}, 0, err
		}
		r.hashers[a] = h
	}
	if r.Progress != nil {
		r.told = told{content, r.Progress}
		content = &r.told
	}
	return h.Content(ctx, content, size, r.buf)
}

// A told is a content whose reading is told of.
type told struct {
	content  io.ReaderAt
	progress func(n int64)
}

// ReadAt implements io.ReaderAt.
func (t *told) ReadAt(b []byte, off int64) (int, error) {
	n, err := t.content.ReadAt(b, off)
	t.progress(int64(n))
	return n, err
}
