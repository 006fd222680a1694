package walk

import (
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// A File is a regular file, or a directory given as a root, open for reading.
// It is what an *os.File is, without what that costs: a walk opens more files
// than it reads from. It is not safe for concurrent use.
type File struct {
	fd   int
	name string // for messages
}

// Fd returns the descriptor, which belongs to the file.
func (f *File) Fd() uintptr { return uintptr(f.fd) }

// ReadAt implements io.ReaderAt. Errors are of type *fs.PathError.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pread(f.fd, b[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, &fs.PathError{Op: "read", Path: f.name, Err: err}
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// Close closes the file. It may be called again, to no effect.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	if err := unix.Close(fd); err != nil && err != unix.EINTR { // it is closed then, too
		return &fs.PathError{Op: "close", Path: f.name, Err: err}
	}
	return nil
}
