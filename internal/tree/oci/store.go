package oci

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A store is where the files of an image lie, by their names with slashes.
type store interface {
	// open opens a file. The error wraps fs.ErrNotExist if there is none.
	open(name string) (*part, error)
	// resolve returns the name of the file that a name leads to by links.
	resolve(name string) string
	// list returns the files and links, in the order in which they lie there.
	list() ([]entry, error)
	close() error
}

// A part is a file, or the part of an archive that is one.
type part struct {
	f        *os.File
	at, size int64
	ours     bool // f is closed with it
}

func (p *part) close() {
	if p.ours {
		p.f.Close()
	}
}

func (p *part) reader() *io.SectionReader { return io.NewSectionReader(p.f, p.at, p.size) }

// An entry is a file of a store, or something else of an archive.
type entry struct {
	name string
	link string // what a link is one to: a name in the store
	part part   // of a file
	// An archive has headers, which stand before the content.
	head   []byte
	padded int64 // bytes of the content with padding
	zeros  int64 // bytes that end it
}

var errNotRegular = errors.New("it is no regular file")

// A directory is a store that is an image layout.
type directory struct{ root *os.Root }

func openDirectory(path string) (*directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &directory{root}, nil
}

func (d *directory) open(name string) (*part, error) {
	// O_NONBLOCK: nobody may ever write to a fifo.
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, pathless(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, pathless(err)
	}
	return &part{f: f, size: info.Size(), ours: true}, nil
}

func (d *directory) resolve(name string) string { return name }

// list returns what is of the layout: whatever else lies in the directory is not.
func (d *directory) list() ([]entry, error) {
	var entries []entry
	for _, name := range []string{layoutFile, indexFile} {
		if _, err := d.root.Stat(name); err == nil {
			entries = append(entries, entry{name: name})
		}
	}
	err := fs.WalkDir(d.root.FS(), blobDir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := d.root.Stat(name); err == nil && info.Mode().IsRegular() && isBlobName(name) {
			entries = append(entries, entry{name: name})
		}
		return nil
	})
	return entries, pathless(err)
}

func (d *directory) close() error { return d.root.Close() }

// pathless drops names from an error: it says the blob.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
