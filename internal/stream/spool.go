package stream

import (
	"io"
	"os"
)

// Spool reads to the end, and returns what it read in a file without a name in the
// directory, or where os.TempDir says if that is empty. The caller closes the file.
// The error is that of in, or a *SpoolError.
func Spool(in io.Reader, dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := unnamed(dir)
	if err != nil {
		return nil, &SpoolError{dir, err}
	}
	src := &failing{in: in}
	if _, err := io.Copy(f, src); err != nil {
		f.Close()
		if src.err == nil {
			err = &SpoolError{dir, pathless(err)}
		}
		return nil, err
	}
	return f, nil
}
