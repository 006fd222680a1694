package stream

import (
	"os"

	"golang.org/x/sys/unix"
)

// Unnamed opens a file that nobody else finds, and that is gone when it is closed,
// in a directory, or where os.TempDir says if that is empty. The error is a
// *SpoolError.
func Unnamed(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := unnamed(dir)
	if err != nil {
		return nil, &SpoolError{dir, err}
	}
	return f, nil
}

// unnamed opens a file that nobody else finds.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|unix.O_EXCL, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	f, err := os.CreateTemp(dir, "imaseal-")
	if err != nil {
		return nil, pathless(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, pathless(err)
	}
	return f, nil
}
