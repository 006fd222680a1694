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
)

// A Sink changes attributes in place. Its Apply is safe for concurrent use.
type Sink struct {
	// Lift lifts the immutable flag of files for the change.
	Lift bool

	syncfs func(fd int) error // unix.Syncfs, but in tests

	last    atomic.Uint64 // the device that was written last, and one
	mu      sync.Mutex
	written map[uint64]int // a descriptor on each file system written to
}

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
	f, ok := tree.As[*File](file)
	if !ok {
		return fmt.Errorf("%T is no file of a mounted file system", file)
	}
	if err := s.toSync(f); err != nil {
		return err
	}
	f.wrote = true
	err := s.set(f, changes)
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
	for i, c := range changes {
		var err error
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
		if err != nil && i > 0 {
			return &tree.PartialError{Done: changes[:i], Err: err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// toSync remembers that the file's file system has to be synced, by a descriptor
// on the first file of it.
func (s *Sink) toSync(f *File) error {
	dev := f.dev()
	if s.last.Load() == dev+1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.written[dev]; !ok {
		fd, err := keep(f)
		if err != nil {
			return fmt.Errorf("keeping a descriptor to sync: %w", err)
		}
		if s.written == nil {
			s.written = make(map[uint64]int)
		}
		s.written[dev] = fd
	}
	s.last.Store(dev + 1)
	return nil
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
	sync := s.syncfs
	if sync == nil {
		sync = unix.Syncfs
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, fd := range s.written {
		if syncErr := sync(fd); syncErr != nil && err == nil {
			err = fmt.Errorf("syncing the labels to disk: %w", syncErr)
		}
		unix.Close(fd)
	}
	s.written = nil
	s.last.Store(0)
	return err
}
