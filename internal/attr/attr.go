// Package attr reads and writes extended attributes of open files, and reads
// those of files that cannot be opened.
package attr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

// ErrNotSet says that a file does not have the attribute.
var ErrNotSet = errors.New("attribute is not set")

// A File is what an attribute belongs to: an open descriptor.
type File interface{ Fd() uintptr }

// A Store gets and sets the attributes of open files. Its methods are safe for
// concurrent use on different files. A file system that cannot hold attributes
// gives an error that wraps unix.EOPNOTSUPP, never ErrNotSet. No error names
// the file.
type Store interface {
	// Get returns the value, of any size and possibly empty. The error is
	// ErrNotSet, unwrapped, if there is no such attribute.
	Get(f File, name string) ([]byte, error)
	// Set sets the value and replaces one that is there, in one step.
	Set(f File, name string, value []byte) error
	// Remove removes the attribute. The error is ErrNotSet, unwrapped, if
	// there was none.
	Remove(f File, name string) error
	// List returns the names of the attributes, in no order.
	List(f File) ([]string, error)
}

// FS is the Store of the kernel: fgetxattr(2) and its siblings.
type FS struct{}

// usualSize is more than most values and lists of names have: one call does
// for them.
const usualSize = 256

// Get implements Store. Most files have no label yet, or one of the usual size:
// nothing is allocated but the value.
func (FS) Get(f File, name string) ([]byte, error) {
	var usual [usualSize]byte
	n, err := fgetxattr(f, name, usual[:])
	switch err {
	case nil:
		return append([]byte{}, usual[:n]...), nil
	case unix.ENODATA:
		return nil, ErrNotSet
	case unix.ERANGE:
		value, err := grow(func(b []byte) (int, error) { return fgetxattr(f, name, b) })
		return value, cause("reading", name, err)
	}
	return nil, cause("reading", name, err)
}

func fgetxattr(f File, name string, b []byte) (int, error) {
	for {
		n, err := unix.Fgetxattr(int(f.Fd()), name, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Set implements Store.
func (FS) Set(f File, name string, value []byte) error {
	return cause("writing", name, retry(func() error { return unix.Fsetxattr(int(f.Fd()), name, value, 0) }))
}

// Remove implements Store.
func (FS) Remove(f File, name string) error {
	return cause("removing", name, retry(func() error { return unix.Fremovexattr(int(f.Fd()), name) }))
}

// List implements Store.
func (FS) List(f File) ([]string, error) {
	b, err := grow(func(b []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), b) })
	if err != nil || len(b) == 0 {
		return nil, cause("listing", "attributes", err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// retry calls f until no signal interrupts it, which FUSE and CIFS let happen.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// grow calls call with more and more room, until it suffices.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	read := func(b []byte) (n int, err error) {
		err = retry(func() error {
			n, err = call(b)
			return err
		})
		return n, err
	}
	var usual [usualSize]byte
	n, err := read(usual[:])
	if err == nil {
		return append([]byte{}, usual[:n]...), nil
	}
	for size := 2 * usualSize; errors.Is(err, unix.ERANGE); size *= 2 {
		b := make([]byte, size)
		if n, err = read(b); err == nil {
			return b[:n:n], nil
		}
	}
	return nil, err
}

// ByPath reads an attribute of a file that is open with O_PATH only, as an
// enforcing kernel lets open what it would otherwise refuse. Its results are
// those of Store.Get. The path it was opened by, which may be longer than
// PATH_MAX, is only used where /proc is not mounted.
func ByPath(f File, path, name string) ([]byte, error) {
	value, err := xattr.Get(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), name)
	if errors.Is(err, unix.ENOENT) {
		value, err = xattr.Get(path, name)
	}
	if x, ok := errors.AsType[*xattr.Error](err); ok {
		err = x.Err
	}
	return value, cause("reading", name, err)
}

// cause says what was tried.
func cause(doing, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODATA):
		return ErrNotSet
	}
	return fmt.Errorf("%s %s: %w", doing, what, err)
}

// DryRun passes what reads on to the Store and drops what writes.
type DryRun struct{ Store }

// Set does nothing.
func (DryRun) Set(File, string, []byte) error { return nil }

// Remove does nothing if there is such an attribute, else returns ErrNotSet.
func (d DryRun) Remove(f File, name string) error {
	_, err := d.Get(f, name)
	return err
}

// Renamed keeps the attributes of one namespace in another: with "security."
// and "user.", security.ima is kept as user.ima. Names of neither pass.
type Renamed struct {
	Store    Store
	From, To string // with the dot
}

// Name returns the name under which an attribute is kept.
func (r Renamed) Name(name string) string {
	if rest, ok := strings.CutPrefix(name, r.From); ok {
		return r.To + rest
	}
	return name
}

// Get implements Store.
func (r Renamed) Get(f File, name string) ([]byte, error) { return r.Store.Get(f, r.Name(name)) }

// Set implements Store.
func (r Renamed) Set(f File, name string, value []byte) error {
	return r.Store.Set(f, r.Name(name), value)
}

// Remove implements Store.
func (r Renamed) Remove(f File, name string) error { return r.Store.Remove(f, r.Name(name)) }

// List implements Store. Attributes that are really of the From namespace are
// left out.
func (r Renamed) List(f File) ([]string, error) {
	kept, err := r.Store.List(f)
	var names []string
	for _, name := range kept {
		if rest, ok := strings.CutPrefix(name, r.To); ok {
			names = append(names, r.From+rest)
		} else if !strings.HasPrefix(name, r.From) {
			names = append(names, name)
		}
	}
	return names, err
}
