package mounted

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/inode"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// A Sink changes attributes in place. Its Apply is safe for concurrent use.
type Sink struct {
	// Lift lifts the immutable flag of files for the change.
	Lift bool
	// Lazy leaves it to the kernel when what was written is brought to the disk.
	Lazy bool

	syncfs func(fd int) error // unix.Syncfs, but in tests

	last    atomic.Pointer[written] // what was written to last
	mu      sync.Mutex
	written map[uint64]*written // by the number of the device
}

// written is a file system that was written to.
type written struct {
	dev   uint64
	fd    int
	files atomic.Int64
	ahead sync.Mutex // held while it is synced ahead of the end
	err   error      // of that; the kernel tells of an error once
}

// aheadEvery is after how many files a file system is synced ahead of the end. The
// label of a signed file takes a block, which goes through the journal: the small
// journal of an image is full after a few thousand, and who writes then waits for
// the disk (jbd2_log_wait_for_space(), fs/jbd2/checkpoint.c).
const aheadEvery = 512

// An ImmutableError says that a file's attributes cannot be changed, even by
// root.
type ImmutableError struct {
	AppendOnly bool
	Err        error
}

func (e *ImmutableError) Error() string {
	if e.AppendOnly {
		return "file is append-only (chattr +a)"
	}
	return "file is immutable (chattr +i)"
}

func (e *ImmutableError) Unwrap() error { return e.Err }

// Apply implements tree.Sink, for files of a Tree. Each change replaces the old
// value in one step.
func (s *Sink) Apply(file tree.File, changes []tree.Change) error {
	if n, ok := tree.As[*node](file); ok {
		if _, err := s.toSync(walk.InodeOf(&n.stat).Dev, n.beside); err != nil {
			return err
		}
		return n.set(changes)
	}
	f, ok := tree.As[*File](file)
	if !ok {
		return fmt.Errorf("%T is no file of a mounted file system", file)
	}
	on, err := s.toSync(f.dev(), func() (int, error) { return keep(f) })
	if err != nil {
		return err
	}
	f.wrote = true
	defer s.syncAhead(on)
	err = s.set(f, changes)
	if _, partial := errors.AsType[*tree.PartialError](err); partial || !errors.Is(err, unix.EPERM) {
		return err
	}
	flags, flagsErr := inode.Flags(f.entry.File)
	if flagsErr != nil || flags&(inode.Immutable|inode.AppendOnly) == 0 {
		return err
	}
	if !s.Lift {
		return &ImmutableError{AppendOnly: flags&inode.Immutable == 0, Err: err}
	}
	if err := inode.SetFlags(f.entry.File, flags&^(inode.Immutable|inode.AppendOnly)); err != nil {
		return fmt.Errorf("lifting the immutable flag: %w", err)
	}
	err = s.set(f, changes)
	if back := inode.SetFlags(f.entry.File, flags); back != nil {
		err = errors.Join(err, fmt.Errorf("putting the immutable flag back: %w", back))
	}
	return err
}

func (s *Sink) set(f *File, changes []tree.Change) error {
	return each(changes, func(c tree.Change) (err error) {
		switch {
		case c.Attr == tree.SidecarAttr:
			if err = f.writeSidecar(c.New); err != nil {
				err = fmt.Errorf("writing the detached signature: %w", err)
			}
		case c.New == nil:
			if err = attr.Remove(f.entry.File, c.Attr); err == attr.ErrNotSet {
				err = nil
			}
		default:
			err = attr.Set(f.entry.File, c.Attr, c.New)
		}
		return err
	})
}

// each makes changes in their order, and says what was done if one fails.
func each(changes []tree.Change, change func(tree.Change) error) error {
	for i, c := range changes {
		err := change(c)
		if err != nil && i > 0 {
			return &tree.PartialError{Done: changes[:i], Err: err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// toSync remembers that a file system has to be synced, by a descriptor on the first
// file of it, which keep returns.
func (s *Sink) toSync(dev uint64, keep func() (int, error)) (*written, error) {
	if on := s.last.Load(); on != nil && on.dev == dev {
		return on, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.written[dev]
	if on == nil {
		fd, err := keep()
		if err != nil {
			return nil, fmt.Errorf("keeping a descriptor to sync: %w", err)
		}
		if s.written == nil {
			s.written = make(map[uint64]*written)
		}
		on = &written{dev: dev, fd: fd}
		s.written[dev] = on
	}
	s.last.Store(on)
	return on, nil
}

// syncAhead counts a file, and begins to sync what was written when enough of them
// were, unless that goes on already.
func (s *Sink) syncAhead(on *written) {
	if s.Lazy || on.files.Add(1)%aheadEvery != 0 || !on.ahead.TryLock() {
		return
	}
	go func() {
		defer on.ahead.Unlock()
		if err := s.syncOne(on.fd); err != nil && on.err == nil {
			on.err = err
		}
	}()
}

func (s *Sink) syncOne(fd int) error {
	if s.syncfs != nil {
		return s.syncfs(fd)
	}
	return unix.Syncfs(fd)
}

// keep returns a new descriptor on the file's file system. It is that of another
// open file: a copy of the file's own would keep its lease.
func keep(f *File) (int, error) {
	name := fmt.Sprintf("/proc/self/fd/%d", f.fd())
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	err = f.entry.WithDir(func(at int, base string) (err error) { // /proc is not mounted
		fd, err = unix.Openat(at, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// Commit implements tree.Sink: it brings every file system that was written to
// the disk.
func (s *Sink) Commit(context.Context) error { return s.sync() }

// Abort implements tree.Sink: what was written in place stays, and is brought to
// the disk.
func (s *Sink) Abort() error { return s.sync() }

func (s *Sink) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, on := range s.written {
		on.ahead.Lock() // the one that goes on ends first
		if on.err == nil && !s.Lazy {
			on.err = s.syncOne(on.fd)
		}
		if on.err != nil && err == nil {
			err = fmt.Errorf("syncing the labels to disk: %w", on.err)
		}
		unix.Close(on.fd)
		on.ahead.Unlock()
	}
	s.written = nil
	s.last.Store(nil)
	return err
}
