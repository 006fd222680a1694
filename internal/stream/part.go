package stream

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Part is a file that is written over several runs, of which the first ones end
// early. Until it is whole its name ends in PartSuffix.
type Part struct {
	f    *os.File
	path string
}

// PartSuffix is what the name of a Part ends in.
const PartSuffix = ".part"

// ErrBusy says that another process writes to a Part.
var ErrBusy = errors.New("another run writes to it")

// OpenPart opens what there is of a file, or makes it. The error is an *OutputError.
func OpenPart(path string) (*Part, error) {
	p := &Part{path: path}
	if err := p.open(); err != nil {
		return nil, &OutputError{path + PartSuffix, pathless(err)}
	}
	return p, nil
}

func (p *Part) open() error {
	if info, err := os.Stat(p.path); err == nil && info.IsDir() {
		return unix.EISDIR
	}
	f, err := os.OpenFile(p.path+PartSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, newMode)
	if err != nil {
		return err
	}
	p.f = f
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil && unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		err = ErrBusy
	}
	if err == nil {
		// It may have got its other name before it was locked.
		if is, statErr := os.Stat(p.path + PartSuffix); statErr != nil || !os.SameFile(is, info) {
			err = ErrBusy
		}
	}
	if err != nil {
		f.Close()
	}
	return err
}

// Content reads what there is.
func (p *Part) Content() io.Reader { return io.NewSectionReader(p.f, 0, 1<<62) }

// Continue drops what is behind an offset. What is written goes there.
func (p *Part) Continue(at int64) error {
	err := p.f.Truncate(at)
	if err == nil {
		_, err = p.f.Seek(at, io.SeekStart)
	}
	return p.error(err)
}

// Write implements io.Writer. The error is an *OutputError.
func (p *Part) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	return n, p.error(err)
}

func (p *Part) error(err error) error {
	if err == nil {
		return nil
	}
	return &OutputError{p.path + PartSuffix, pathless(err)}
}

// Commit brings the file to the disk, and gives it its name.
func (p *Part) Commit() error {
	err := p.f.Sync()
	if err == nil {
		err = os.Rename(p.path+PartSuffix, p.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(p.path))
	}
	p.f.Close()
	return p.error(err)
}

// Close leaves what was written for another run; after Commit it does nothing. A
// Part in which nothing is goes.
func (p *Part) Close() error {
	if info, err := p.f.Stat(); err == nil && info.Size() == 0 {
		os.Remove(p.path + PartSuffix)
	}
	return p.f.Close()
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
