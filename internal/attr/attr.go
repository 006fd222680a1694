// Package attr reads and writes extended attributes of open files, and reads
// those of files that cannot be opened. A file system that cannot hold attributes
// gives an error that wraps unix.EOPNOTSUPP, never ErrNotSet. No error names the
// file.
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

// usualSize is more than most values and lists of names have: one call does
// for them.
const usualSize = 256

// Get returns the value of an attribute, of any size and possibly empty. Most
// files have no label yet, or one of the usual size: nothing is allocated but the
// value.
func Get(f File, name string) ([]byte, error) {
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

// Set sets the value of an attribute and replaces one that is there, in one step.
func Set(f File, name string, value []byte) error {
	return cause("writing", name, retry(func() error { return unix.Fsetxattr(int(f.Fd()), name, value, 0) }))
}

// Remove removes an attribute. The error is ErrNotSet, unwrapped, if there was none.
func Remove(f File, name string) error {
	return cause("removing", name, retry(func() error { return unix.Fremovexattr(int(f.Fd()), name) }))
}

// List returns the names of the attributes, in no order.
func List(f File) ([]string, error) {
	return names(grow(func(b []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), b) }))
}

func names(b []byte, err error) ([]string, error) {
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
// those of Get. The path it was opened by, which may be longer than
// PATH_MAX, is only used where /proc is not mounted.
func ByPath(f File, path, name string) ([]byte, error) {
	value, err := xattr.Get(unopened(f), name)
	if errors.Is(err, unix.ENOENT) {
		value, err = xattr.Get(path, name)
	}
	if x, ok := errors.AsType[*xattr.Error](err); ok {
		err = x.Err
	}
	return value, cause("reading", name, err)
}

// GetUnopened, SetUnopened, RemoveUnopened and ListUnopened are Get, Set, Remove and
// List for an inode that is open with O_PATH only, also a symbolic link. They need
// /proc.
func GetUnopened(f File, name string) ([]byte, error) {
	value, err := grow(func(b []byte) (int, error) { return unix.Getxattr(unopened(f), name, b) })
	return value, cause("reading", name, err)
}

// SetUnopened is Set: see GetUnopened.
func SetUnopened(f File, name string, value []byte) error {
	return cause("writing", name, retry(func() error { return unix.Setxattr(unopened(f), name, value, 0) }))
}

// RemoveUnopened is Remove: see GetUnopened.
func RemoveUnopened(f File, name string) error {
	return cause("removing", name, retry(func() error { return unix.Removexattr(unopened(f), name) }))
}

// ListUnopened is List: see GetUnopened.
func ListUnopened(f File) ([]string, error) {
	return names(grow(func(b []byte) (int, error) { return unix.Listxattr(unopened(f), b) }))
}

// unopened is a name that stands for the inode itself.
func unopened(f File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

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
