package attr

import "strings"

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

// Get implements Store.
func (FS) Get(f File, name string) ([]byte, error) { return Get(f, name) }

// Set implements Store.
func (FS) Set(f File, name string, value []byte) error { return Set(f, name, value) }

// Remove implements Store.
func (FS) Remove(f File, name string) error { return Remove(f, name) }

// List implements Store.
func (FS) List(f File) ([]string, error) { return List(f) }

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
