package stream

import (
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

// Guard asks the kernel to let nobody write to a file that is open for reading
// (a lease, fcntl(2)), and returns false if somebody has it open for writing. Where
// there are no leases, or not for this user, it returns true: only the times of the
// file tell then.
func Guard(f *os.File) bool {
	for range guards {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != unix.EAGAIN {
			return true
		}
		time.Sleep(guardWait)
	}
	return false
}

// Unguard lets others write again.
func Unguard(f *os.File) { unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) }

// Unchanged reports whether a file is what it was when st was asked for.
func Unchanged(f *os.File, was *unix.Stat_t) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	return st.Size == was.Size && st.Mtim == was.Mtim && st.Ctim == was.Ctim, nil
}
