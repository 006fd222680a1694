package stream

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A writer is given a moment to be done: a program that starts another one leaves
// it its descriptors until that one runs.
const (
	guards    = 10
	guardWait = 20 * time.Millisecond
)

// ErrWritten says that a file was written to while it was read, or may be at any
// time.
var ErrWritten = errors.New("somebody has it open for writing, or wrote to it while it was read")

// A Watch tells whether a file is written to while it is read.
type Watch struct {
	f    *os.File
	stat unix.Stat_t // when the watch was made
}

// NewWatch makes a watch over a file that is open. The error is one of fstat(2).
func NewWatch(f *os.File) (Watch, error) {
	w := Watch{f: f}
	err := unix.Fstat(int(f.Fd()), &w.stat)
	return w, err
}

// Stat is what the file was when the watch was made.
func (w *Watch) Stat() *unix.Stat_t { return &w.stat }

// Begin asks the kernel to let nobody write to the file (a lease, fcntl(2)), and
// returns ErrWritten if somebody has it open for writing. Where there are no leases,
// or not for this user, only the times of the file tell, in Unchanged. A file that
// is open for writing here is the caller's own, and not watched so.
func (w *Watch) Begin() error {
	if flags, err := unix.FcntlInt(w.f.Fd(), unix.F_GETFL, 0); err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil
	}
	for range guards {
		if _, err := unix.FcntlInt(w.f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != unix.EAGAIN {
			return nil
		}
		time.Sleep(guardWait)
	}
	return ErrWritten
}

// End lets others write again.
func (w *Watch) End() { unix.FcntlInt(w.f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) }

// Unchanged returns ErrWritten if the file is not what it was when the watch was
// made, or the error of fstat(2).
func (w *Watch) Unchanged() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(w.f.Fd()), &st); err != nil {
		return err
	}
	if st.Size != w.stat.Size || st.Mtim != w.stat.Mtim || st.Ctim != w.stat.Ctim {
		return ErrWritten
	}
	return nil
}
