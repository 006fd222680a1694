// Package stream is how bytes get into and out of carriers that are one file, or
// one pipe: reads and writes that can be interrupted though somebody else is slow
// ([NewReader], [Stdout]), a file that is there as a whole or not at all
// ([Create]), and content that has to be held until something before it can be
// written ([Pool]).
package stream

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how long an interruption may go unnoticed, in milliseconds.
	lookEvery = 100
	// pipeSize is what a pipe takes at once that takes anything (PIPE_BUF,
	// pipe_poll() in fs/pipe.c): more would wait for the reader.
	pipeSize = 4096
)

// wait waits until a descriptor is ready, and returns the cause of ctx if that
// ends.
func wait(ctx context.Context, f *os.File, events int16) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: events}}
		n, err := unix.Poll(fds, lookEvery)
		if n > 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
}

// NewReader returns a reader of a file, a pipe or a terminal, whose Read returns
// the cause of ctx when that ends, also while there is nothing to be read.
func NewReader(ctx context.Context, f *os.File) io.Reader { return &reader{ctx, f} }

type reader struct {
	ctx context.Context // that of the whole reading
	f   *os.File
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	for {
		if err := wait(r.ctx, r.f, unix.POLLIN); err != nil {
			return 0, err
		}
		n, err := unix.Read(int(r.f.Fd()), b)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Open opens a file, a pipe or a device that somebody has named, for reading until ctx
// ends. Neither a fifo that nobody writes to nor one that is written to slowly keeps it
// from that. The caller closes it; the errors name it.
func Open(ctx context.Context, name string) (*Input, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &Input{f, NewReader(ctx, f)}, nil
}

// An Input is what [Open] opens.
type Input struct {
	f *os.File
	r io.Reader
}

// Read implements io.Reader.
func (i *Input) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	if errno, ok := err.(unix.Errno); ok {
		err = &os.PathError{Op: "read", Path: i.f.Name(), Err: errno}
	}
	return n, err
}

// Stat returns what is known of the file.
func (i *Input) Stat() (os.FileInfo, error) { return i.f.Stat() }

// Close closes the file.
func (i *Input) Close() error { return i.f.Close() }

// Await returns what read returns, unless ctx ends first: read may wait for ever for a
// user, or for a fifo that nobody writes to. It must do nothing else than read, as
// nobody waits for its end then.
func Await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := read()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// ErrIrregular says that something is no regular file, where only those are read.
var ErrIrregular = errors.New("is not a regular file")

// ReadRegular reads a regular file, and waits for nothing else. The errors name it.
func ReadRegular(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: ErrIrregular}
	}
	return io.ReadAll(f)
}

// writePipe writes to a pipe, a socket or a device, whose reader may take its
// time. The runtime would end the process for a reader that is gone, were it
// os.File.Write on standard output.
func writePipe(ctx context.Context, f *os.File, b []byte) (int, error) {
	done := 0
	for done < len(b) {
		if err := wait(ctx, f, unix.POLLOUT); err != nil {
			return done, err
		}
		n, err := unix.Write(int(f.Fd()), b[done:min(len(b), done+pipeSize)])
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return done, err
		}
		done += max(n, 0)
	}
	return done, nil
}
