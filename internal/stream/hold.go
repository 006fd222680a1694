package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	chunkSize = 16 << 10
	// spools is how many contents may be in files at a time: one is read while
	// another is written.
	spools = 2
)

// A Pool holds contents: those that fit in memory, the others in files without a
// name. It is no part of Go's heap, which would grow to twice what is in use. Hold
// is called by one goroutine at a time, or two could wait for each other; the
// rest is safe for concurrent use.
type Pool struct {
	dir    string
	region []byte
	most   int // chunks that several contents take together
	spool  chan struct{}

	mu    sync.Mutex
	freed sync.Cond
	free  []int32 // chunks of region, the one used last on top
}

// A SpoolError says that content could not be kept in a file.
type SpoolError struct {
	Dir string
	Err error
}

func (e *SpoolError) Error() string {
	return "keeping content in a file in " + e.Dir + ": " + e.Err.Error()
}
func (e *SpoolError) Unwrap() error { return e.Err }

// NewPool returns a pool with memory for one content of so many bytes, or for
// several that together take a quarter of that. Its files are in dir, or where
// os.TempDir says if that is empty. The caller closes it.
func NewPool(size int, dir string) (*Pool, error) {
	region, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserving memory: %w", err)
	}
	if dir == "" {
		dir = os.TempDir()
	}
	p := &Pool{dir: dir, region: region, most: size / chunkSize / 4, spool: make(chan struct{}, spools)}
	p.freed.L = &p.mu
	for i := size/chunkSize - 1; i >= 0; i-- {
		p.free = append(p.free, int32(i))
	}
	return p, nil
}

// Size is how much the memory takes, in bytes.
func (p *Pool) Size() int64 { return int64(len(p.region)) }

// Close ends the pool. What it held is gone.
func (p *Pool) Close() error { return unix.Munmap(p.region) }

// Held is a content. It is not to be read after Release.
type Held struct {
	pool   *Pool
	size   int64
	chunks []int32
	file   *os.File // instead of chunks
}

// Hold reads size bytes, and waits for room to keep them. The error is that of in,
// io.ErrUnexpectedEOF if there are fewer, a *SpoolError, or the cause of ctx.
func (p *Pool) Hold(ctx context.Context, in io.Reader, size int64) (*Held, error) {
	h := &Held{pool: p, size: size}
	var err error
	if size > p.Size() {
		err = h.spool(ctx, in)
	} else {
		err = h.fill(ctx, in)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

func (h *Held) fill(ctx context.Context, in io.Reader) error {
	if h.size == 0 {
		return nil
	}
	if err := h.reserve(ctx); err != nil {
		return err
	}
	left := h.size
	for _, c := range h.chunks {
		if _, err := io.ReadFull(in, h.pool.chunk(c)[:min(left, chunkSize)]); err != nil {
			return err
		}
		left -= chunkSize
	}
	return nil
}

// reserve waits for room.
func (h *Held) reserve(ctx context.Context) error {
	p, n := h.pool, int((h.size+chunkSize-1)/chunkSize)
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.freed.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := len(p.region) / chunkSize
	for used := all - len(p.free); used > 0 && used+n > p.most; used = all - len(p.free) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.freed.Wait()
	}
	left := len(p.free) - n
	h.chunks = slices.Clone(p.free[left:])
	p.free = p.free[:left]
	slices.Reverse(h.chunks)
	return nil
}

func (p *Pool) chunk(c int32) []byte { return p.region[int(c)*chunkSize:][:chunkSize] }

func (h *Held) spool(ctx context.Context, in io.Reader) error {
	select {
	case h.pool.spool <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f, err := unnamed(h.pool.dir)
	if err != nil {
		<-h.pool.spool
		return &SpoolError{h.pool.dir, err}
	}
	h.file = f
	src := &failing{in: in}
	n, err := io.CopyN(f, src, h.size)
	if err != nil && src.err == nil {
		return &SpoolError{h.pool.dir, pathless(err)}
	}
	if err == nil && n < h.size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// failing tells an error of the source from one of the destination.
type failing struct {
	in  io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.in.Read(b)
	f.err = err
	return n, err
}

var errOffset = errors.New("negative offset")

// ReadAt implements io.ReaderAt.
func (h *Held) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	if h.file != nil {
		n, err := h.file.ReadAt(b, off)
		if err != nil && err != io.EOF {
			err = &SpoolError{h.pool.dir, pathless(err)}
		}
		return n, err
	}
	done := 0
	for done < len(b) && off < h.size {
		c := h.pool.chunk(h.chunks[off/chunkSize])
		end := min(chunkSize, h.size-off/chunkSize*chunkSize)
		n := copy(b[done:], c[off%chunkSize:end])
		done += n
		off += int64(n)
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

// Release gives the room back. It may be called again, to no effect.
func (h *Held) Release() {
	if h.file != nil {
		h.file.Close()
		h.file = nil
		<-h.pool.spool
	}
	if len(h.chunks) > 0 {
		h.pool.mu.Lock()
		slices.Reverse(h.chunks)
		h.pool.free = append(h.pool.free, h.chunks...)
		h.pool.freed.Signal()
		h.pool.mu.Unlock()
		h.chunks = nil
	}
}
