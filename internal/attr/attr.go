// Package attr reads and writes the extended attributes of open files.
package attr

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pkg/xattr"
)

// ErrNotSet says that a file does not have the attribute.
var ErrNotSet = errors.New("attribute is not set")

// A Store gets and sets the attributes of open files. Its methods are safe for
// concurrent use on different files. A file system that cannot hold attributes
// gives an error that wraps unix.EOPNOTSUPP, never ErrNotSet. No error names
// the file.
type Store interface {
	// Get returns the value, of any size and possibly empty. The error is
	// ErrNotSet, unwrapped, if there is no such attribute.
	Get(f *os.File, name string) ([]byte, error)
	// Set sets the value and replaces one that is there, in one step.
	Set(f *os.File, name string, value []byte) error
	// Remove removes the attribute. The error is ErrNotSet, unwrapped, if
	// there was none.
	Remove(f *os.File, name string) error
	// List returns the names of the attributes, in no order.
	List(f *os.File) ([]string, error)
}

// FS is the Store of the kernel: fgetxattr(2) and its siblings.
type FS struct{}

// Get implements Store.
func (FS) Get(f *os.File, name string) ([]byte, error) {
	value, err := xattr.FGet(f, name)
	return value, cause("reading", name, err)
}

// Set implements Store.
func (FS) Set(f *os.File, name string, value []byte) error {
	return cause("writing", name, xattr.FSet(f, name, value))
}

// Remove implements Store.
func (FS) Remove(f *os.File, name string) error {
	return cause("removing", name, xattr.FRemove(f, name))
}

// List implements Store.
func (FS) List(f *os.File) ([]string, error) {
	names, err := xattr.FList(f)
	return names, cause("listing", "attributes", err)
}

// cause says what was tried and drops the file's name, which the report
// prints once.
func cause(doing, what string, err error) error {
	if err == nil {
		return nil
	}
	var x *xattr.Error
	if errors.As(err, &x) {
		err = x.Err
	}
	if errors.Is(err, xattr.ENOATTR) {
		return ErrNotSet
	}
	return fmt.Errorf("%s %s: %w", doing, what, err)
}

// DryRun passes what reads on to the Store and drops what writes.
type DryRun struct{ Store }

// Set does nothing.
func (DryRun) Set(*os.File, string, []byte) error { return nil }

// Remove does nothing if there is such an attribute, else returns ErrNotSet.
func (d DryRun) Remove(f *os.File, name string) error {
	_, err := d.Get(f, name)
	return err
}

// Renamed keeps the attributes of one namespace in another: with "security."
// and "user.", security.ima is kept as user.ima. Names of neither pass.
type Renamed struct {
	Store    Store
	From, To string // with the dot
}

func (r Renamed) name(name string) string {
	if rest, ok := strings.CutPrefix(name, r.From); ok {
		return r.To + rest
	}
	return name
}

// Get implements Store.
func (r Renamed) Get(f *os.File, name string) ([]byte, error) { return r.Store.Get(f, r.name(name)) }

// Set implements Store.
func (r Renamed) Set(f *os.File, name string, value []byte) error {
	return r.Store.Set(f, r.name(name), value)
}

// Remove implements Store.
func (r Renamed) Remove(f *os.File, name string) error { return r.Store.Remove(f, r.name(name)) }

// List implements Store. Attributes that are really of the From namespace are
// left out.
func (r Renamed) List(f *os.File) ([]string, error) {
	real, err := r.Store.List(f)
	var names []string
	for _, name := range real {
		if rest, ok := strings.CutPrefix(name, r.To); ok {
			names = append(names, r.From+rest)
		} else if !strings.HasPrefix(name, r.From) {
			names = append(names, name)
		}
	}
	return names, err
}
