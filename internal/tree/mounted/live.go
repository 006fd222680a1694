package mounted

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
)

// timestampStep is longer than any kernel takes between two timestamps (a tick,
// at most 10 ms): a change within one step leaves the times of a file as they
// were.
const timestampStep = 20 * time.Millisecond

var errTimes = errors.New("size or times differ")

// Begin implements tree.Live. It asks for a read lease: the kernel grants it only
// if nobody has the file open for writing or mapped so, and makes whoever wants to
// open it so wait until End (check_conflicting_open() and break_lease() in
// fs/locks.c). Times alone would not do: ext4 sets mtime when a write(2) begins,
// which can take seconds.
func (f *File) Begin() (tree.Hold, error) {
	_, err := unix.FcntlInt(uintptr(f.fd()), unix.F_SETLEASE, unix.F_RDLCK)
	hold := tree.Alone
	switch {
	case err == nil:
		f.lease = time.Now()
	case errors.Is(err, unix.EAGAIN):
		hold, f.lease = tree.Writer, time.Time{}
	default:
		// None on this file system, or not for who owns neither the file nor
		// CAP_LEASE.
		if !errors.Is(err, unix.EACCES) {
			f.tree.noLeases.Store(true)
		}
		hold, f.lease = tree.Untold, time.Time{}
	}
	f.wrote = false
	if err := f.stat(&f.entry.Stat); err != nil {
		return hold, err
	}
	if hold == tree.Alone {
		return hold, nil
	}
	return hold, f.settle()
}

// settle makes the file's times tell of every later change: if they are so
// recent that another change could bear the same, it waits and looks again.
// The error is a *tree.ChangedError if the file was changed meanwhile.
func (f *File) settle() error {
	age := f.fresh()
	if age == 0 {
		return nil
	}
	time.Sleep(age)
	if err := f.stat(&f.entry.Stat); err != nil {
		return err
	}
	if f.fresh() > 0 {
		return &tree.ChangedError{Cause: errTimes}
	}
	return nil
}

// fresh returns how long it takes until another change of the file could not
// bear the time of the last one any more.
func (f *File) fresh() time.Duration {
	age := time.Since(time.Unix(f.entry.Stat.Ctim.Unix()))
	if age < 0 || age >= timestampStep { // a time to come cannot be given again
		return 0
	}
	return timestampStep - age
}

// Unchanged implements tree.Live. Under a lease the content is what it was,
// unless the lease has lasted so long that the kernel may have ended it.
func (f *File) Unchanged(meta bool) error {
	held := !f.lease.IsZero() && time.Since(f.lease) < f.tree.leaseFor
	if held && !meta {
		return nil
	}
	var st unix.Stat_t
	if err := f.stat(&st); err != nil {
		return err
	}
	was := &f.entry.Stat
	sameContent := held || st.Size == was.Size && st.Mtim == was.Mtim && (f.wrote || st.Ctim == was.Ctim)
	sameOwner := !meta || st.Mode == was.Mode && st.Uid == was.Uid && st.Gid == was.Gid
	if !sameContent || !sameOwner {
		return &tree.ChangedError{Cause: errTimes}
	}
	return nil
}

// End implements tree.Live.
func (f *File) End() {
	if !f.lease.IsZero() {
		unix.FcntlInt(uintptr(f.fd()), unix.F_SETLEASE, unix.F_UNLCK)
		f.lease = time.Time{}
	}
}

// usualLease is the kernel's own setting of /proc/sys/fs/lease-break-time.
const usualLease = 45 * time.Second

// leaseTime returns for how long a lease that was granted surely holds: whoever
// wants to write waits for the time of /proc/sys/fs/lease-break-time, and then
// does not any more. Half of it leaves room for the clocks.
func leaseTime() time.Duration {
	b, err := os.ReadFile("/proc/sys/fs/lease-break-time")
	if err != nil {
		return usualLease / 2
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second / 2
}
