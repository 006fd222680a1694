package ext4

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"os"

	"imaseal/internal/stream"
)

// A wanted is what the attributes of an inode have to be in the new image: a sum
// over all of them, and not only those that were changed.
type wanted struct {
	inode uint32
	sum   uint64
}

const (
	wantedSize = 12 // bytes of one in a file
	// wantedInMemory is how many are held in memory, which takes 1 MiB.
	wantedInMemory = 1 << 16
)

// A wants is what has to be there in the end, in the order of the writing. Many go
// to a file without a name.
type wants struct {
	dir  string // see Config.TempDir
	held []wanted
	file *os.File // nil for none
	out  *bufio.Writer
	n    int // in the file
}

// add adds one. The error is a *stream.SpoolError.
func (w *wants) add(one wanted) error {
	if len(w.held) < wantedInMemory {
		w.held = append(w.held, one)
		return nil
	}
	if w.file == nil {
		f, err := stream.Unnamed(w.dir)
		if err != nil {
			return err
		}
		w.file, w.out = f, bufio.NewWriter(f)
	}
	var b [wantedSize]byte
	binary.LittleEndian.PutUint32(b[:], one.inode)
	binary.LittleEndian.PutUint64(b[4:], one.sum)
	if _, err := w.out.Write(b[:]); err != nil {
		return w.error(err)
	}
	w.n++
	return nil
}

// each calls do with each, until it returns an error.
func (w *wants) each(do func(wanted) error) error {
	for _, one := range w.held {
		if err := do(one); err != nil {
			return err
		}
	}
	if w.file == nil {
		return nil
	}
	if err := w.out.Flush(); err != nil {
		return w.error(err)
	}
	in := bufio.NewReader(io.NewSectionReader(w.file, 0, int64(w.n)*wantedSize))
	for range w.n {
		var b [wantedSize]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return w.error(err)
		}
		if err := do(wanted{binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint64(b[4:])}); err != nil {
			return err
		}
	}
	return nil
}

func (w *wants) error(err error) error {
	return &stream.SpoolError{Dir: cmp.Or(w.dir, os.TempDir()), Err: err}
}

// release closes the file.
func (w *wants) release() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}
