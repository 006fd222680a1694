package oci

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"imaseal/internal/compress"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
)

const (
	// maxEntries is how many entries an archive of images may have, and maxHeads
	// how many bytes of headers: they are held in memory.
	maxEntries = 100_000
	maxHeads   = 16 << 20
	// maxLinks is how many links are followed one behind the other.
	maxLinks = 8
)

// An archive is a store that is a tar archive. One that is compressed, or that
// comes through a pipe, is unpacked into a file without a name first: what a
// document says of others stands before or behind them.
type archive struct {
	named     *os.File // what the user named; nil for a reader that is no file
	opened    bool     // here
	isFile    bool     // it is a regular one, which can be copied, and replaced
	namedSize int64
	f         *os.File        // the archive, unpacked: named, or one without a name
	size      int64           // of it
	header    compress.Header // of what was unpacked
	entries   []entry
	names     map[string]int // of files and links
}

// openArchive opens an archive and reads its headers.
func openArchive(ctx context.Context, name string, stdin io.Reader, tempDir string) (*archive, error) {
	a := &archive{names: make(map[string]int)}
	if err := a.load(ctx, name, stdin, tempDir); err != nil {
		a.close()
		return nil, err
	}
	if err := a.scan(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// load opens the file, or unpacks it.
func (a *archive) load(ctx context.Context, name string, stdin io.Reader, tempDir string) error {
	in := stdin
	if name != "-" {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return pathless(err)
		}
		a.named, a.opened = f, true
	} else {
		a.named, _ = stdin.(*os.File)
	}
	if a.named != nil {
		info, err := a.named.Stat()
		switch {
		case err != nil:
			return pathless(err)
		case info.IsDir():
			return unix.EISDIR
		case info.Mode().IsRegular() && a.opened:
			a.isFile, a.namedSize = true, info.Size()
			in = io.NewSectionReader(a.named, 0, a.namedSize)
		default:
			in = stream.NewReader(ctx, a.named)
		}
	}
	unpacked, err := compress.NewReader(in)
	if err != nil {
		return err
	}
	defer unpacked.Close()
	a.header = unpacked.Header
	if a.isFile && a.header.Format == compress.None {
		a.f, a.size = a.named, a.namedSize
		return nil
	}
	if a.f, err = stream.Unnamed(tempDir); err != nil {
		return err
	}
	a.size, err = io.Copy(&spooling{ctx: ctx, dir: a.f.Name(), f: a.f}, unpacked)
	return err
}

// A spooling tells errors of a temporary file from others.
type spooling struct {
	ctx context.Context // of the whole writing
	dir string
	f   *os.File
}

func (s *spooling) Write(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.f.Write(b)
	if err != nil {
		err = &stream.SpoolError{Dir: s.dir, Err: pathless(err)}
	}
	return n, err
}

// An input is a tarfile.Input that is read by offset.
type input struct {
	ctx context.Context // of the whole reading
	*io.SectionReader
}

func (i input) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.SectionReader.Read(b)
}

// Skip implements tarfile.Input.
func (i input) Skip(n int64) error {
	at, err := i.Seek(0, io.SeekCurrent)
	if err == nil && n > i.Size()-at {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = i.Seek(n, io.SeekCurrent)
	}
	return err
}

// scan reads all headers.
func (a *archive) scan(ctx context.Context) error {
	heads := 0
	r := tarfile.NewReader(input{ctx, io.NewSectionReader(a.f, 0, a.size)})
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if heads += len(e.Head()); heads > maxHeads {
			return &tarfile.LimitError{What: "the headers of an archive of images", Size: int64(heads), Max: maxHeads}
		}
		if len(a.entries) == maxEntries {
			return &tarfile.LimitError{What: "the entries of an archive of images: there is a number", Size: maxEntries + 1, Max: maxEntries}
		}
		if e.Err != nil || e.Kind == tarfile.File && e.Size != e.Stored {
			err := e.Err
			if err == nil {
				err = &tarfile.UnsupportedError{What: "a sparse file in an archive of images"}
			}
			return &tarfile.FormatError{Entry: e.Name, Offset: e.Offset, Err: err}
		}
		if err := a.add(e, r.Offset()); err != nil {
			return &tarfile.FormatError{Entry: e.Name, Offset: e.Offset, Err: err}
		}
	}
}

var errTwice = errors.New("an entry of this name is there already, and programs differ in which one they take")

func (a *archive) add(e *tarfile.Entry, at int64) error {
	x := entry{head: e.Head()}
	name := clean(e.Name)
	switch e.Kind {
	case tarfile.Zeros:
		x.zeros = e.Stored
	case tarfile.File:
		x.name, x.part, x.padded = name, part{f: a.f, at: at, size: e.Size}, e.Padded()
	case tarfile.Symlink:
		x.name, x.link = name, clean(path.Join("/", path.Dir(name), e.Link))
	case tarfile.HardLink:
		x.name, x.link = name, clean(e.Link)
	default:
		x.part, x.padded = part{f: a.f, at: at}, e.Padded()
	}
	if x.name != "" {
		if _, twice := a.names[name]; twice {
			return errTwice
		}
		a.names[name] = len(a.entries)
	}
	a.entries = append(a.entries, x)
	return nil
}

// clean returns a name relative to the root of an archive.
func clean(name string) string { return path.Clean("/" + name)[1:] }

func (a *archive) resolve(name string) string {
	for range maxLinks {
		i, ok := a.names[name]
		if !ok || a.entries[i].link == "" {
			break
		}
		name = a.entries[i].link
	}
	return name
}

func (a *archive) open(name string) (*part, error) {
	i, ok := a.names[a.resolve(name)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if a.entries[i].link != "" {
		return nil, unix.ELOOP
	}
	p := a.entries[i].part
	return &p, nil
}

func (a *archive) list() ([]entry, error) { return a.entries, nil }

func (a *archive) close() error {
	if a.f != nil && a.f != a.named {
		a.f.Close()
	}
	if a.named != nil && a.opened {
		a.named.Close()
	}
	return nil
}

// entryTarget returns the name of the file that a link leads to.
func (a *archive) entryTarget(e *entry) string { return a.resolve(e.link) }
