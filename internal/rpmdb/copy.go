package rpmdb

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrChanging says that a database was written to while it was copied.
var ErrChanging = errors.New("somebody writes to the RPM database")

// readable returns a directory with the database that rpm can read and nothing else
// minds. Whoever reads a database of sqlite leaves files beside it, and cannot where
// nothing can be written: so that of another system is copied, and this one's, too,
// if need be. done is called when it has been read.
func (r *Root) readable(ctx context.Context, dir, tempDir string) (readable string, done func(), err error) {
	if r.real == "/" && unix.Access(dir, unix.W_OK) == nil {
		return dir, func() {}, nil
	}
	copied, err := os.MkdirTemp(tempDir, "imaseal-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(copied) }
	if err := copyAll(ctx, dir, copied); err != nil {
		done()
		return "", nil, err
	}
	return copied, done, nil
}

// isOfReaders reports whether a file is one that those leave who use a database:
// it is made anew.
func isOfReaders(name string) bool { return strings.HasSuffix(name, "-shm") || name == ".rpm.lock" }

// copyAll copies the regular files of a directory, which must not change meanwhile.
func copyAll(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	before := make(map[string]os.FileInfo)
	for _, e := range entries {
		if !e.Type().IsRegular() || isOfReaders(e.Name()) {
			continue
		}
		path := filepath.Join(from, e.Name())
		if before[path], err = copyFile(ctx, path, filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	for path, was := range before {
		is, err := os.Lstat(path)
		if err != nil || !os.SameFile(is, was) || is.Size() != was.Size() || !is.ModTime().Equal(was.ModTime()) {
			return &os.PathError{Op: "copy", Path: path, Err: ErrChanging}
		}
	}
	return nil
}

// copyFile copies a file, and returns what it was before.
func copyFile(ctx context.Context, from, to string) (os.FileInfo, error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	const step = 8 << 20 // so that an interruption is noticed
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := io.CopyN(out, in, step)
		if err == io.EOF {
			return info, out.Close()
		}
		if err != nil || n == 0 {
			return nil, err
		}
	}
}
