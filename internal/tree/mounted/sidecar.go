package mounted

import (
	"crypto/rand"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
)

const (
	// sidecarSuffix is what evmctl --sigfile appends to a file's name.
	sidecarSuffix = ".sig"
	// sidecarMode lets everybody read what is no secret.
	sidecarMode = 0o644
	// maxSidecar is more than any label can have (XATTR_SIZE_MAX).
	maxSidecar = 64 << 10
)

var errNotRegular = errors.New("it is not a regular file")

// Sidecar implements tree.Sidecar.
func (f *File) Sidecar() ([]byte, error) {
	var label []byte
	err := f.entry.WithDir(func(at int, name string) error {
		fd, err := unix.Openat(at, name+sidecarSuffix, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
		case unix.ENOENT:
			return tree.ErrNoAttr
		case unix.ELOOP: // a symbolic link, which could lead anywhere
			return errNotRegular
		default:
			return err
		}
		beside := os.NewFile(uintptr(fd), name+sidecarSuffix)
		defer beside.Close()
		if info, err := beside.Stat(); err != nil || !info.Mode().IsRegular() {
			return errNotRegular
		}
		label, err = io.ReadAll(io.LimitReader(beside, maxSidecar+1))
		if err == nil && len(label) > maxSidecar {
			err = errors.New("file is too long for a label")
		}
		return pathless(err)
	})
	return label, err
}

// writeSidecar replaces the file beside f, in one step.
func (f *File) writeSidecar(label []byte) error {
	return f.entry.WithDir(func(at int, name string) error {
		temp := ".imaseal-" + rand.Text() + sidecarSuffix
		if err := writeNew(at, temp, label); err != nil {
			return err
		}
		if err := unix.Renameat(at, temp, at, name+sidecarSuffix); err != nil {
			unix.Unlinkat(at, temp, 0)
			return err
		}
		return nil
	})
}

func writeNew(at int, name string, b []byte) error {
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, sidecarMode)
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
