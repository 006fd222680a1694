package relabel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/walk"
)

// A detached signature is a whole label in a file beside the signed one, as
// evmctl's --sigfile writes and reads it.

const (
	// sigFileSuffix is what evmctl appends to a file's name.
	sigFileSuffix = ".sig"
	// sigFileMode lets everybody read what is no secret.
	sigFileMode = 0o644
	// maxSigFile is more than any label can have (XATTR_SIZE_MAX).
	maxSigFile = 64 << 10
)

// errNoSigFile says that there is no detached signature.
var errNoSigFile = errors.New("there is no detached signature")

// isSigFile reports whether the file is a signature of another one.
func isSigFile(e *walk.Entry) bool {
	return strings.HasSuffix(e.Rel, sigFileSuffix) && e.Rel != sigFileSuffix
}

// sigFile writes the label to the file beside e, unless it is there.
func (wr *Writer) sigFile(w *Worker, e *walk.Entry, label []byte) error {
	old, err := readSigFile(e)
	if err == nil && bytes.Equal(old, label) || wr.DryRun {
		return nil
	}
	if err := w.wrote(e); err != nil {
		return err
	}
	err = e.WithDir(func(at int, name string) error {
		temp := "." + name + "." + rand.Text() + sigFileSuffix
		if err := writeNew(at, temp, label); err != nil {
			return err
		}
		if err := unix.Renameat(at, temp, at, name+sigFileSuffix); err != nil {
			unix.Unlinkat(at, temp, 0)
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the detached signature: %w", err)
	}
	return nil
}

func writeNew(at int, name string, b []byte) error {
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, sigFileMode)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		unix.Unlinkat(at, name, 0)
	}
	return pathless(err)
}

// readSigFile returns the label in the file beside e, or errNoSigFile.
func readSigFile(e *walk.Entry) ([]byte, error) {
	var label []byte
	err := e.WithDir(func(at int, name string) error {
		fd, err := unix.Openat(at, name+sigFileSuffix, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			return errNoSigFile
		}
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name+sigFileSuffix)
		defer f.Close()
		label, err = io.ReadAll(io.LimitReader(f, maxSigFile+1))
		if err == nil && len(label) > maxSigFile {
			err = errors.New("file is too long for a label")
		}
		return pathless(err)
	})
	return label, err
}
