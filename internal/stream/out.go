package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An OutputError says that what is made could not be written.
type OutputError struct {
	Path string
	Err  error
}

func (e *OutputError) Error() string { return "writing " + e.Path + ": " + e.Err.Error() }
func (e *OutputError) Unwrap() error { return e.Err }

// An Out is where something is written. Of a file nothing is seen before Commit,
// and nothing is left without it, even if the process is killed, where the file
// system has files without a name (O_TMPFILE). A pipe, or another device, gets
// everything as it is written.
type Out struct {
	ctx    context.Context // that of the whole writing
	f      *os.File
	path   string      // for messages
	real   string      // behind links
	temp   string      // the name so far, empty for none
	was    os.FileInfo // of the file that is replaced, nil for none
	isPipe bool
	isOurs bool // opened here

	written, told int64    // bytes: all, and those that the flusher was told of
	flusher       *flusher // nil before the first startEvery bytes
}

const (
	newMode = 0o666 // less what umask(2) takes
	// openEvery is how long one waits to see whether a pipe has got a reader.
	openEvery = 100 * time.Millisecond
	// copySize is how much is copied before one looks for an interruption.
	copySize = startEvery
)

// Stdout returns an Out that is open already.
func Stdout(ctx context.Context, f *os.File) (*Out, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, &OutputError{"standard output", pathless(err)}
	}
	return &Out{ctx: ctx, f: f, path: "standard output", isPipe: !info.Mode().IsRegular()}, nil
}

// Create opens a file to be made, or replaced, which keeps its mode then, and its
// owner where that is allowed; or a pipe or a device that is there. The error is
// an *OutputError.
func Create(ctx context.Context, path string) (*Out, error) {
	o := &Out{ctx: ctx, path: path, real: path, isOurs: true}
	err := o.open()
	if err != nil {
		return nil, &OutputError{path, pathless(err)}
	}
	return o, nil
}

func (o *Out) open() error {
	info, err := os.Stat(o.real)
	switch {
	case err == nil:
		if o.real, err = filepath.EvalSymlinks(o.path); err != nil {
			return err
		}
		if info.IsDir() {
			return unix.EISDIR
		}
		if !info.Mode().IsRegular() {
			return o.openPipe()
		}
		o.was = info
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if _, err := os.Lstat(o.real); err == nil {
			return errors.New("it is a link to nothing")
		}
	}
	return o.openTemp()
}

// openPipe opens a pipe for writing once somebody reads it.
func (o *Out) openPipe() error {
	o.isPipe = true
	for {
		f, err := os.OpenFile(o.real, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if !errors.Is(err, unix.ENXIO) {
			o.f = f
			return err
		}
		select {
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		case <-time.After(openEvery):
		}
	}
}

// openTemp opens a file without a name in the directory of the one to be, or
// with another one.
func (o *Out) openTemp() error {
	dir := filepath.Dir(o.real)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, newMode)
	if err == nil {
		o.f = os.NewFile(uintptr(fd), o.path)
		if _, err := os.Stat(o.procName()); err == nil {
			return nil
		}
		o.f.Close() // without /proc it could not be given a name
	}
	return o.openNamed()
}

func (o *Out) openNamed() error {
	temp := o.tempName()
	mode := fs.FileMode(newMode)
	if o.was != nil {
		mode = 0o600 // until Commit gives it that of the file whose place it takes
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		o.f, o.temp = f, temp
	}
	return err
}

func (o *Out) procName() string { return fmt.Sprintf("/proc/self/fd/%d", o.f.Fd()) }

func (o *Out) tempName() string {
	return filepath.Join(filepath.Dir(o.real), ".imaseal-"+rand.Text())
}

// Replaces reports whether what is made takes the place of an open file, or goes
// into it.
func (o *Out) Replaces(f *os.File) bool {
	is, err := f.Stat()
	was := o.was
	if was == nil {
		was, _ = o.f.Stat()
	}
	return err == nil && was != nil && os.SameFile(is, was)
}

// Name gives a file that is made another name than Create was told, in the same
// directory: one that is not known before all is written.
func (o *Out) Name(base string) {
	o.path = filepath.Join(filepath.Dir(o.path), base)
	o.real = filepath.Join(filepath.Dir(o.real), base)
}

// Write implements io.Writer. The error is an *OutputError, or the cause of the
// context, if that has ended.
func (o *Out) Write(b []byte) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	var n int
	var err error
	if o.isPipe {
		n, err = writePipe(o.ctx, o.f, b)
	} else {
		n, err = o.f.Write(b)
	}
	o.start(int64(n))
	return n, o.error(err)
}

// start counts bytes, and begins to bring them to the disk.
func (o *Out) start(n int64) {
	o.written += n
	if o.isPipe || o.written-o.told < startEvery {
		return
	}
	if o.flusher == nil {
		o.flusher = newFlusher(o.f)
	}
	o.flusher.tell(o.written)
	o.told = o.written
}

// flush waits until all that was written is on the disk.
func (o *Out) flush() error {
	err := o.endFlusher()
	if syncErr := o.f.Sync(); err == nil {
		err = syncErr
	}
	return err
}

func (o *Out) endFlusher() error {
	if o.flusher == nil {
		return nil
	}
	fl := o.flusher
	o.flusher = nil
	return fl.end()
}

// error says that an error is one of writing, and not the end of the context.
func (o *Out) error(err error) error {
	if err != nil && o.ctx.Err() == nil {
		err = &OutputError{o.path, pathless(err)}
	}
	return err
}

// Copy writes a part of a file, in the kernel where that can be. The error is that
// of Write, or of reading: io.ErrUnexpectedEOF if the file has less.
func (o *Out) Copy(f *os.File, at, n int64) error {
	for n > 0 && !o.isPipe {
		done, err := unix.CopyFileRange(int(f.Fd()), &at, int(o.f.Fd()), nil, int(min(n, copySize)), 0)
		switch {
		case err == unix.EINTR:
		case err == unix.ENOSPC, err == unix.EDQUOT, err == unix.EFBIG:
			return o.error(err)
		case err != nil: // not between these file systems, or not at all: read and write tell what is wrong, if something is
			return o.copy(f, at, n)
		case done == 0:
			return io.ErrUnexpectedEOF
		case o.ctx.Err() != nil:
			return context.Cause(o.ctx)
		}
		n -= int64(done)
		o.start(int64(done))
	}
	return o.copy(f, at, n)
}

func (o *Out) copy(f *os.File, at, n int64) error {
	done, err := io.Copy(o, io.NewSectionReader(f, at, n))
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Commit brings what was written to the disk, and gives it its name. The error is
// an *OutputError, and then nothing is left.
func (o *Out) Commit() error {
	switch {
	case o.isPipe:
		return o.close(nil)
	case !o.isOurs:
		return o.close(o.flush())
	}
	return o.close(o.publish())
}

func (o *Out) publish() error {
	if o.was != nil {
		if st, ok := o.was.Sys().(*syscall.Stat_t); ok {
			o.f.Chown(int(st.Uid), int(st.Gid)) // who may not do that owns what is made
		}
		if err := o.f.Chmod(o.was.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := o.flush(); err != nil {
		return err
	}
	if o.temp == "" {
		temp := o.tempName()
		if err := unix.Linkat(unix.AT_FDCWD, o.procName(), unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return err
		}
		o.temp = temp
	}
	if err := os.Rename(o.temp, o.real); err != nil {
		return err
	}
	o.temp = ""
	return syncDir(filepath.Dir(o.real))
}

// Abort leaves what was there before. After Commit it does nothing.
func (o *Out) Abort() { o.close(nil) }

// close closes the file, and removes what has a name that it should not keep.
func (o *Out) close(err error) error {
	o.endFlusher() // of a file that is dropped, its errors are nobody's
	if o.isOurs && o.f != nil {
		if closeErr := o.f.Close(); err == nil && o.isPipe {
			err = closeErr
		}
		if o.temp != "" {
			os.Remove(o.temp)
		}
		o.f, o.temp = nil, ""
	}
	if err != nil {
		return &OutputError{o.path, pathless(err)}
	}
	return nil
}

// pathless drops names from an error: it says the one that the user gave.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}
