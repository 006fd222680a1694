package relabel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
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

// Errors about the file beside the signed one.
var (
	errNoSigFile = errors.New("there is no detached signature")
	// ErrForeignSigFile says that a file in the place of a detached signature
	// is none, but perhaps a signature of another program.
	ErrForeignSigFile = errors.New("a file of that name holds something else, and is left alone")
	errNotRegular     = errors.New("it is not a regular file")
)

// isSigFile reports whether the file is a signature of another one. By the name
// alone it may be one of another program, and needs a label like all files.
func isSigFile(e *walk.Entry) bool {
	if !strings.HasSuffix(e.Rel, sigFileSuffix) || path.Base(e.Rel) == sigFileSuffix {
		return false
	}
	var first [1]byte
	n, err := e.File.ReadAt(first[:], 0)
	return (err == nil || err == io.EOF) && holdsSignature(first[:n])
}

// holdsSignature reports whether a detached signature begins like that. One
// that a crash left empty is one.
func holdsSignature(b []byte) bool {
	return len(b) == 0 || imaevm.Type(b[0]) == imaevm.TypeSignature || imaevm.Type(b[0]) == imaevm.TypeVerity
}

// sigFile writes the label to the file beside e, unless it is there, and
// reports whether it was not. A file that is no such signature is only replaced
// with force.
func (wr *Writer) sigFile(w *Worker, e *walk.Entry, label []byte, force bool) (bool, error) {
	old, err := readSigFile(e)
	switch {
	case err == nil && bytes.Equal(old, label):
		return false, nil
	case err == errNoSigFile:
	case err != nil && !force:
		return false, err
	case !force && !holdsSignature(old):
		return false, ErrForeignSigFile
	}
	if wr.DryRun {
		return true, nil
	}
	if err := w.wrote(e); err != nil {
		return false, err
	}
	err = e.WithDir(func(at int, name string) error {
		temp := ".imaseal-" + rand.Text() + sigFileSuffix
		if err := writeNew(at, temp, label); err != nil {
			return err
		}
		if err := unix.Renameat(at, temp, at, name+sigFileSuffix); err != nil {
			unix.Unlinkat(at, temp, 0)
			return err
		}
		return nil
	})
	return err == nil, err
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
		switch err {
		case nil:
		case unix.ENOENT:
			return errNoSigFile
		case unix.ELOOP: // a symbolic link, which could lead anywhere
			return errNotRegular
		default:
			return err
		}
		f := os.NewFile(uintptr(fd), name+sigFileSuffix)
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return errNotRegular
		}
		label, err = io.ReadAll(io.LimitReader(f, maxSigFile+1))
		if err == nil && len(label) > maxSigFile {
			err = errors.New("file is too long for a label")
		}
		return pathless(err)
	})
	return label, err
}
