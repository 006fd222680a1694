package relabel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/walk"
)

const (
	// attempts is how often a file that changes is begun anew.
	attempts = 3
	// timestampStep is longer than any kernel takes between two timestamps
	// (a tick, at most 10 ms): a change within one step leaves the times of a
	// file as they were.
	timestampStep = 20 * time.Millisecond
	// finishSize is the size up to which a file in hand is finished when the
	// run is interrupted: about a second's reading. Larger ones are left as
	// they were.
	finishSize = 1 << 30
)

// ErrChanging says that a file was changed each time it was read.
var ErrChanging = errors.New("changing: its content was written to while it was read")

// A changedError says that an attempt was in vain.
type changedError struct{ cause error }

func (e *changedError) Error() string { return "content changed: " + e.cause.Error() }

func isChanged(err error) bool {
	_, ok := errors.AsType[*changedError](err)
	return ok
}

var errTimes = errors.New("size or times differ")

// read returns the digest of the file's content. It is that of the content
// that e.Stat describes, or the error is a *changedError.
func (w *Worker) read(ctx context.Context, e *walk.Entry, a hash.Algorithm) (hash.Digest, int64, error) {
	h, err := w.hasher(a)
	if err != nil {
		return hash.Digest{}, 0, err
	}
	var r io.ReaderAt = e.File
	if w.run.progress != nil {
		w.watched = watched{file: e.File, progress: w.run.progress}
		r = &w.watched
	}
	d, n, err := h.Content(ctx, r, e.Stat.Size, w.buf)
	_, short := errors.AsType[*hash.ShortError](err)
	switch {
	case short:
		return d, n, &changedError{cause: err}
	case err != nil && ctx.Err() != nil:
		return d, n, err
	case err != nil:
		return d, n, fmt.Errorf("reading: %w", pathless(err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd(e.File), &st); err != nil {
		return d, n, fmt.Errorf("reading: %w", err)
	}
	if !sameContent(&e.Stat, &st) || st.Ctim != e.Stat.Ctim {
		return d, n, &changedError{cause: errTimes}
	}
	return d, n, nil
}

// A watched file is one whose reading is told of.
type watched struct {
	file     *walk.File
	progress Progress
}

// ReadAt implements io.ReaderAt.
func (c *watched) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.file.ReadAt(b, off)
	c.progress.Read(int64(n))
	return n, err
}

// sameContent compares what a change of the content changes, and a change of
// the attributes does not.
func sameContent(a, b *unix.Stat_t) bool { return a.Size == b.Size && a.Mtim == b.Mtim }

// sameOwner compares what labels of EVM cover besides the content.
func sameOwner(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid
}

// settle makes the times of e.Stat tell of every later change: if they are so
// recent that another change could bear the same, it waits and looks again.
// The error is a *changedError if the file was changed meanwhile.
func settle(e *walk.Entry) error {
	age := fresh(e)
	if age == 0 {
		return nil
	}
	time.Sleep(age)
	if err := restat(e); err != nil {
		return err
	}
	if fresh(e) > 0 {
		return &changedError{cause: errTimes}
	}
	return nil
}

// fresh returns how long it takes until another change of the file could not
// bear the time of the last one any more.
func fresh(e *walk.Entry) time.Duration {
	age := time.Since(time.Unix(e.Stat.Ctim.Unix()))
	if age < 0 || age >= timestampStep { // a time to come cannot be given again
		return 0
	}
	return timestampStep - age
}

func restat(e *walk.Entry) error {
	if err := unix.Fstat(fd(e.File), &e.Stat); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return nil
}

// unchanging calls try until it returns something other than a
// *changedError, at most attempts times, each time with a fresh e.Stat.
func unchanging(e *walk.Entry, try func() error) error {
	for attempt := range attempts {
		if attempt > 0 {
			if err := restat(e); err != nil {
				return err
			}
		}
		err := settle(e)
		if err == nil {
			err = try()
		}
		if !isChanged(err) {
			return err
		}
	}
	return ErrChanging
}

// hasWriter reports whether somebody has the worker's file open for writing. The
// kernel grants a read lease only if nobody has; where it cannot say, nobody
// has. Whoever opens the file for writing waits until the lease ends: when the
// file is closed, which is next, or at once where the descriptor stays open to
// sync the file system. Kernel: check_conflicting_open(), fs/locks.c.
func (w *Worker) hasWriter(e *walk.Entry) bool {
	_, err := unix.FcntlInt(e.File.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil && e.File == w.kept {
		unix.FcntlInt(e.File.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
