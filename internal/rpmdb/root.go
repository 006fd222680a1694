package rpmdb

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Root is the root directory of a system. Names that a database has are found
// below it where links among its directories lead: /bin may be one to /usr/bin. No
// link leads out of it. It is safe for concurrent use.
type Root struct {
	name, abs string
	fd        int
	real      string // of the directory, as the kernel has it

	mu    sync.Mutex
	known map[string]place // of directories
}

// A place is where a directory is, relative to the root.
type place struct {
	rel   string
	below bool // it is in the root
}

// OpenRoot opens a root directory. The caller closes it.
func OpenRoot(name string) (*Root, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	r := &Root{name: name, abs: abs, fd: fd, known: make(map[string]place)}
	if r.real, err = pathOf(fd); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close closes the directory.
func (r *Root) Close() error { return unix.Close(r.fd) }

func pathOf(fd int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }

// Rel returns the path of a file relative to the root, with links among its
// directories followed, and false if it is not below the root. Full is absolute.
func (r *Root) Rel(full string) (string, bool) {
	dir, base := path.Split(path.Clean(full))
	p := r.cached(dir, func() place {
		for _, prefix := range []string{r.abs, r.real} {
			if below, ok := cut(dir, prefix); ok {
				return place{r.follow(below), true}
			}
		}
		real, err := filepath.EvalSymlinks(dir)
		below, ok := cut(real+"/", r.real)
		return place{strings.TrimSuffix(below, "/"), ok && err == nil}
	})
	return path.Join(p.rel, base), p.below
}

// In returns the path of a file that is named as if the root were the root
// directory.
func (r *Root) In(name string) string {
	dir, base := path.Split(path.Clean("/" + name))
	p := r.cached("\x00"+dir, func() place { return place{rel: r.follow(dir[1:])} })
	return path.Join(p.rel, base)
}

// cut returns what of a directory's path is below another one.
func cut(dir, prefix string) (string, bool) {
	return strings.CutPrefix(dir, strings.TrimSuffix(prefix, "/")+"/")
}

func (r *Root) cached(dir string, find func() place) place {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.known[dir]
	if !ok {
		p = find()
		r.known[dir] = p
	}
	return p
}

// follow returns where a directory below the root is; one that cannot be followed
// stays what it is.
func (r *Root) follow(dir string) string {
	if dir == "" {
		return ""
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(r.fd, dir, how)
	for err == unix.EINTR || err == unix.EAGAIN { // somebody renames directories
		fd, err = unix.Openat2(r.fd, dir, how)
	}
	if err != nil {
		return dir
	}
	defer unix.Close(fd)
	real, err := pathOf(fd)
	below, ok := cut(real+"/", r.real)
	if err != nil || !ok {
		return dir
	}
	return strings.TrimSuffix(below, "/")
}
