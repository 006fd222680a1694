package extfs

import (
	"errors"
	"io"
	"path"
	"strings"
)

const (
	maxFollowed = 40 // MAXSYMLINKS
	maxTarget   = 4096
)

var (
	// ErrNotFound says that there is no file of a name.
	ErrNotFound = errors.New("there is no such file")
	errLoop     = errors.New("too many symbolic links")
)

// Lookup returns what a path leads to, as the kernel finds it once the file system
// is its root: symbolic links are followed, and none leads out.
func (fs *FS) Lookup(name string) (*Inode, error) {
	in, err := fs.Root()
	if err != nil {
		return nil, err
	}
	at, rest := "/", strings.Split(path.Clean("/" + name)[1:], "/")
	for followed := 0; len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		if next == "" {
			continue
		}
		child, err := fs.child(in, next)
		if err != nil {
			return nil, err
		}
		if !child.IsSymlink() {
			in, at = child, path.Join(at, next)
			continue
		}
		if followed++; followed > maxFollowed {
			return nil, errLoop
		}
		target, err := fs.target(child)
		if err != nil {
			return nil, err
		}
		if !path.IsAbs(target) {
			target = path.Join(at, target)
		}
		whole := path.Join(append([]string{target}, rest...)...)
		if in, err = fs.Root(); err != nil {
			return nil, err
		}
		at, rest = "/", strings.Split(path.Clean("/" + whole)[1:], "/")
	}
	return in, nil
}

// child returns what a directory has of a name.
func (fs *FS) child(in *Inode, name string) (*Inode, error) {
	if !in.IsDir() {
		return nil, ErrNotFound
	}
	d, err := fs.ReadDir(in)
	if err != nil {
		return nil, err
	}
	n := d.Find(name)
	if n == 0 {
		return nil, ErrNotFound
	}
	return fs.Inode(n)
}

// target returns where a symbolic link leads. Kernel: ext4_inode_is_fast_symlink().
func (fs *FS) target(in *Inode) (string, error) {
	if in.Size > maxTarget {
		return "", damaged(in.where(), "a symbolic link has %d bytes", in.Size)
	}
	if in.flags&flagInline == 0 && in.Size < int64(len(in.blocks)) {
		return string(in.blocks[:in.Size]), nil
	}
	c, err := fs.Content(in)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(c, 0, in.Size))
	return string(b), err
}
