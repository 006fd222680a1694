// Package stream is how bytes get into and out of carriers that are one file, or
// one pipe: reads and writes that can be interrupted though somebody else is slow
// ([NewReader], [Stdout]), a file that is there as a whole or not at all
// ([Create]), and content that has to be held until something before it can be
// written ([Pool]).
package stream

import (
	"context"
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
