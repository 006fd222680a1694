package stream

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrPipe says that what has to be written by offset cannot go into a pipe or a
// device.
var ErrPipe = errors.New("it is no file, and this is not written from its beginning to its end")

// Clone makes what is written a copy of a file, of which nothing else has been
// written. It shares blocks with the file where the file system can do that, and
// keeps its holes. The error is that of Copy, or ErrPipe in an *OutputError.
func (o *Out) Clone(f *os.File) error {
	if o.isPipe || !o.isOurs {
		return &OutputError{o.path, ErrPipe}
	}
	if unix.IoctlFileClone(int(o.f.Fd()), int(f.Fd())) == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if err := o.f.Truncate(size); err != nil {
		return o.error(err)
	}
	for at := int64(0); at < size; {
		begin, end, err := data(f, at, size)
		if err != nil {
			return err
		}
		if begin == size {
			break
		}
		if _, err := o.f.Seek(begin, io.SeekStart); err != nil {
			return o.error(err)
		}
		o.written, o.told = begin, begin
		if err := o.Copy(f, begin, end-begin); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// data returns where the next data of a file begin and end; size is where there
// are no more.
func data(f *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return size, size, nil
	case err != nil: // the file system does not tell holes from data
		return at, size, nil
	}
	end, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
	return begin, min(end, size), err
}

// Reopen opens what is written for reading and writing by offset, before Commit.
// The caller closes it.
func (o *Out) Reopen() (*os.File, error) {
	f, err := os.OpenFile(o.procName(), os.O_RDWR, 0)
	if err != nil {
		return nil, &OutputError{o.path, pathless(err)}
	}
	return f, nil
}
