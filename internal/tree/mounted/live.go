package mounted

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
)

// timestampStep is longer than any kernel takes between two timestamps (a tick,
// at most 10 ms): a change within one step leaves the times of a file as they
// were. File systems that keep them less exactly take longer, see fresh.
const timestampStep = 20 * time.Millisecond

var errTimes = errors.New("size or times differ")

// Begin implements tree.Live. It asks for a read lease: the kernel grants it only
// if nobody has the file open for writing or mapped so, and makes whoever wants to
// open it so wait until the lease ends, with Close (check_conflicting_open() and
// break_lease() in fs/locks.c). Times alone would not do: ext4 sets mtime when a
// write(2) begins, which can take seconds.
//
// Where there is no lease, or it does not tell all, times have to: see settle and
// drain.
func (f *File) Begin(writers bool) (tree.Hold, error) {
	f.endLease() // somebody may wait for the last one, and it would end while this one seems to last
	hold := f.takeLease()
	f.wrote = false
	if err := f.stat(&f.entry.Stat); err != nil {
		return hold, err
	}
	f.timed = hold != tree.Alone || f.isStacked()
	if !f.timed {
		return hold, nil
	}
	if err := f.settle(); err != nil || hold == tree.Writer && !writers {
		return hold, err
	}
	return hold, f.drain()
}

// takeLease asks for a read lease.
func (f *File) takeLease() tree.Hold {
	asked := time.Now()
	switch err := f.tree.setLease(f.entry.File.Fd(), unix.F_RDLCK); {
	case err == nil:
		f.lease = asked
		return tree.Alone
	case errors.Is(err, unix.EAGAIN) && !f.isRemote():
		return tree.Writer
	case errors.Is(err, unix.EACCES):
		f.tree.deniedLease.Store(true)
	default:
		f.tree.noLeases.Store(true)
	}
	return tree.Untold
}

// setLease is fcntl(2) with F_SETLEASE.
func setLease(fd uintptr, kind int) error {
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, kind)
	return err
}

// isStacked reports whether the file system keeps its files in another one: on an
// overlay a mapping belongs to the file below, and a lease of the one above does
// not know of it (backing_file_mmap() in fs/backing-file.c).
func (f *File) isStacked() bool {
	return f.tree.filesystem(f).fs.Magic == unix.OVERLAYFS_SUPER_MAGIC
}

// remote are file systems that grant leases only where the server has given them
// the file, and refuse them as if there were a writer (nfs4_setlease(),
// cifs_setlease()).
var remote = []uint32{unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC}

func (f *File) isRemote() bool { return slices.Contains(remote, f.tree.filesystem(f).fs.Magic) }

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
	step := timestampStep
	changed := time.Unix(f.entry.Stat.Ctim.Unix())
	if changed.Nanosecond() == 0 {
		// The file system seems to keep whole seconds, as ext4 does in inodes of
		// 128 bytes (s_time_gran, timestamp_truncate() in fs/inode.c).
		step += time.Second
	}
	age := time.Since(changed)
	if age < 0 || age >= step { // a time to come cannot be given again
		return 0
	}
	return step - age
}

// drain returns when writes that had begun when the file was last looked at are
// done. The times do not tell of them any more; whatever begins later changes the
// times before it changes a byte.
func (f *File) drain() error {
	// A mapping that has been written to changes no times any more, until its
	// pages are written back and protected again (folio_mkclean()).
	var err error
	if f.isStacked() {
		err = unix.Fdatasync(f.fd()) // the pages are those of the file below
	} else {
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		err = unix.SyncFileRange(f.fd(), 0, 0, all)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) { // some have nothing to write back
		return fmt.Errorf("waiting for writes to end: %w", err)
	}
	// write(2) holds the inode's lock to its end. Looking for a hole waits for
	// that on ext4, btrfs, tmpfs and f2fs, on xfs reading does. What is found is
	// no matter.
	unix.Seek(f.fd(), 0, unix.SEEK_HOLE)
	return nil
}

// Unchanged implements tree.Live. Under a lease that tells all, the content is
// what it was, but for one that open(2) with O_RDONLY|O_TRUNC has cut off, which
// ends no lease: that ends the reading, or shows in the size.
func (f *File) Unchanged(meta bool) error {
	held := !f.timed && f.isLeased()
	if held && !meta && !f.wrote {
		return nil
	}
	var st unix.Stat_t
	if err := f.stat(&st); err != nil {
		return err
	}
	was := &f.entry.Stat
	sameTimes := st.Mtim == was.Mtim && (f.wrote || st.Ctim == was.Ctim)
	sameContent := st.Size == was.Size && (held || sameTimes)
	sameOwner := !meta || st.Mode == was.Mode && st.Uid == was.Uid && st.Gid == was.Gid
	if !sameContent || !sameOwner {
		return &tree.ChangedError{Cause: errTimes}
	}
	return nil
}

// isLeased reports whether the lease has lasted until now: it is too young to have
// been ended, or nobody has asked for the file.
func (f *File) isLeased() bool {
	if f.lease.IsZero() {
		return false
	}
	if time.Since(f.lease) < f.tree.leaseFor {
		return true
	}
	kind, err := unix.FcntlInt(f.entry.File.Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind == unix.F_RDLCK // F_UNLCK where somebody waits, too
}

func (f *File) endLease() {
	if !f.lease.IsZero() {
		f.tree.setLease(f.entry.File.Fd(), unix.F_UNLCK)
		f.lease = time.Time{}
	}
}

// usualLease is the kernel's own setting of /proc/sys/fs/lease-break-time.
const usualLease = 45 * time.Second

// leaseTime returns for how long a lease that was granted surely holds.
func leaseTime() time.Duration {
	b, err := os.ReadFile("/proc/sys/fs/lease-break-time")
	if err != nil {
		return usualLease / 2
	}
	return parseLeaseTime(string(b))
}

// parseLeaseTime parses /proc/sys/fs/lease-break-time: whoever wants to write waits
// for so many seconds, and then does not any more. Half of it leaves room for the
// clocks. Of leases that are never ended, as 0 or less stand for (past_time() in
// fs/locks.c), the kernel is asked each time.
func parseLeaseTime(text string) time.Duration {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	if n > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second / 2
}
