package signatures

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// A Dir is a Store in a directory, which may be shared by machines.
//
// A signature is written to a file of its own below tmp/, and renamed: others see it
// whole or not at all, and a process that is killed leaves nothing but such a file,
// which OpenDir removes when it is old. It is not synced: after a crash of the
// machine files may be empty, which are rejected like any other that are no
// signatures, and written anew. Nothing outside the directory is opened, whatever
// links are in it.
type Dir struct{ root *os.Root }

const (
	tmpDir = "tmp"
	// tmpAge is how old a file below tmp/ is that nobody writes to any more, and
	// tmpMost how many are looked at: there are few.
	tmpAge  = time.Hour
	tmpMost = 10_000
)

// OpenDir opens a directory, and makes it if it is not there. The errors are of type
// *fs.PathError; one that wraps unix.ENOTDIR is for a file of that name.
func OpenDir(name string) (*Dir, error) {
	if err := os.MkdirAll(name, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	d := &Dir{root}
	d.sweep()
	return d, nil
}

// sweep removes what killed processes have left.
func (d *Dir) sweep() {
	f, err := d.root.Open(tmpDir)
	if err != nil {
		return // there is none yet
	}
	defer f.Close()
	names, _ := f.Readdirnames(tmpMost)
	for _, name := range names {
		old := path.Join(tmpDir, name)
		if info, err := d.root.Lstat(old); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > tmpAge {
			d.root.Remove(old) // or another process does
		}
	}
}

// Parallel implements Store: enough for a directory on the network.
func (d *Dir) Parallel() int { return 8 }

// Close implements Store.
func (d *Dir) Close() error { return d.root.Close() }

// Get implements Store.
func (d *Dir) Get(_ context.Context, name string) ([]byte, error) {
	// O_NONBLOCK, so that a fifo in its place blocks nobody.
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("is no file")}
	}
	if err != nil {
		return nil, err
	}
	return readSmall(f)
}

// readSmall reads a signature. Of what is larger than any, it returns a part, which
// is none.
func readSmall(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxSize)) }

// Put implements Store.
func (d *Dir) Put(_ context.Context, name string, sig []byte) error {
	tmp := path.Join(tmpDir, rand.Text())
	err := d.write(tmp, sig)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.root.MkdirAll(tmpDir, 0o777); err == nil {
			err = d.write(tmp, sig)
		}
	}
	if err != nil {
		return err
	}
	err = d.root.Rename(tmp, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.root.MkdirAll(path.Dir(name), 0o777); err == nil {
			err = d.root.Rename(tmp, name)
		}
	}
	if err != nil {
		d.root.Remove(tmp)
	}
	return err
}

// write makes a new file.
func (d *Dir) write(name string, b []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		d.root.Remove(name)
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
