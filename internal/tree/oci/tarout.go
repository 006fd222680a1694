package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"imaseal/internal/compress"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
	"imaseal/internal/tree/tarball"
)

// A tarOut is a target that is an archive. New layers wait in files without a name:
// their headers, which stand before them, have their digests.
type tarOut struct {
	im      *Image
	out     *stream.Out
	inPlace bool
	idle    bool // nothing is written, for nothing has changed

	gate *stream.Gate
	zip  io.WriteCloser // nil before the first byte
	buf  *bufio.Writer
}

func newArchive(ctx context.Context, im *Image, o Output) (*tarOut, error) {
	t := &tarOut{im: im, inPlace: o.InPlace}
	old, _ := im.graph.store.(*archive)
	var err error
	switch {
	case o.InPlace && (old == nil || !old.isFile):
		return nil, tarball.ErrNoFile
	case o.InPlace:
		t.out, err = stream.Create(ctx, im.ref.Path)
	case o.Ref.Path == "-":
		t.out, err = stream.Stdout(ctx, o.Stdout)
	default:
		t.out, err = stream.Create(ctx, o.Ref.Path)
	}
	if err != nil {
		return nil, err
	}
	if !o.InPlace && old != nil && old.named != nil && t.out.Replaces(old.named) {
		t.out.Abort()
		return nil, tarball.ErrSameFile
	}
	return t, nil
}

// A spooled is the blob of a layer in a file without a name.
type spooled struct {
	f    *os.File
	to   spooling
	size int64
}

func (t *tarOut) create(ctx context.Context) (blob, error) {
	f, err := stream.Unnamed(t.im.cfg.TempDir)
	if err != nil {
		return nil, err
	}
	return &spooled{f: f, to: spooling{ctx: ctx, dir: f.Name(), f: f}}, nil
}

// Write implements io.Writer.
func (s *spooled) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	s.size += int64(n)
	return n, err
}

func (s *spooled) drop() { s.f.Close() }

func (t *tarOut) write(_ context.Context, r *renewal) error {
	old, _ := t.im.graph.store.(*archive)
	if r == nil && old != nil {
		if t.inPlace {
			t.idle = true
			return nil
		}
		if old.isFile { // the very file, with its compression
			return t.out.Copy(old.named, 0, old.namedSize)
		}
	}
	var h compress.Header
	if old != nil {
		h = old.header
	}
	var err error
	t.gate = &stream.Gate{Writer: t.out}
	if t.zip, err = compress.NewWriter(t.gate, h); err != nil {
		return err
	}
	t.buf = bufio.NewWriterSize(t.zip, 128<<10)
	if err := t.image(r, old, h.Format == compress.None); err != nil {
		return err
	}
	if err := t.buf.Flush(); err != nil {
		return err
	}
	err = t.zip.Close()
	t.zip = nil
	return err
}

// image writes the entries of the new image.
func (t *tarOut) image(r *renewal, old *archive, isPlain bool) error {
	err := t.im.graph.each(r, func(e *entry, f file) error {
		if old == nil {
			return t.fromDirectory(f, isPlain)
		}
		return t.fromArchive(r, e, f, isPlain)
	})
	if err != nil || old != nil {
		return err
	}
	_, err = t.buf.Write(make([]byte, 2*tarfile.BlockSize))
	return err
}

// fromArchive writes what stands in the place of an entry.
func (t *tarOut) fromArchive(r *renewal, e *entry, f file, isPlain bool) error {
	switch {
	case e.zeros > 0:
		_, err := io.CopyN(t.buf, zeros{}, e.zeros)
		return err
	case !f.isKept():
		return t.new(e.head, f, isPlain)
	}
	head := e.head
	if e.link != "" && r != nil {
		target := t.im.graph.store.(*archive).entryTarget(e)
		if to, ok := r.moved(target); ok && path.Base(e.link) == path.Base(target) {
			var err error
			if head, err = newHead(head, func(h *tar.Header) {
				h.Linkname = strings.TrimSuffix(h.Linkname, path.Base(target)) + path.Base(to)
			}); err != nil {
				return err
			}
		}
	}
	if _, err := t.buf.Write(head); err != nil {
		return err
	}
	return t.copy(e.part.f, e.part.at, e.padded, isPlain)
}

// fromDirectory writes a file of an image layout that was a directory.
func (t *tarOut) fromDirectory(f file, isPlain bool) error {
	if !f.isKept() {
		return t.new(nil, f, isPlain)
	}
	p, err := t.im.graph.store.open(f.name)
	if err != nil {
		return t.im.graph.blobError("file", f.name, err)
	}
	defer p.close()
	if err := t.head(nil, f.name, p.size); err != nil {
		return err
	}
	if err := t.copy(p.f, p.at, p.size, isPlain); err != nil {
		return err
	}
	return t.pad(p.size)
}

// new writes a file that is another than in the old image.
func (t *tarOut) new(oldHead []byte, f file, isPlain bool) error {
	if b, ok := f.blob.(*spooled); ok {
		if err := t.head(oldHead, f.name, b.size); err != nil {
			return err
		}
		if err := t.copy(b.f, 0, b.size, isPlain); err != nil {
			return err
		}
		return t.pad(b.size)
	}
	size := int64(len(f.raw))
	if err := t.head(oldHead, f.name, size); err != nil {
		return err
	}
	if _, err := t.buf.Write(f.raw); err != nil {
		return err
	}
	return t.pad(size)
}

func (t *tarOut) head(old []byte, name string, size int64) error {
	head, err := newHead(old, func(h *tar.Header) { h.Name, h.Size = name, size })
	if err == nil {
		_, err = t.buf.Write(head)
	}
	return err
}

func (t *tarOut) pad(size int64) error {
	_, err := io.CopyN(t.buf, zeros{}, -size&(tarfile.BlockSize-1))
	return err
}

// copySize is what is worth a call of its own to copy it from file to file in the
// kernel.
const copySize = 64 << 10

func (t *tarOut) copy(f *os.File, at, n int64, isPlain bool) error {
	if isPlain && n >= copySize {
		if err := t.buf.Flush(); err != nil {
			return err
		}
		return t.out.Copy(f, at, n)
	}
	if n == 0 {
		return nil
	}
	done, err := io.Copy(t.buf, io.NewSectionReader(f, at, n))
	if err == nil && done < n {
		err = errShrunk
	}
	return err
}

// zeros reads zero bytes without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// newHead returns the headers of an entry with something changed; without old ones,
// those of a plain file.
func newHead(old []byte, change func(*tar.Header)) ([]byte, error) {
	h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if old != nil {
		var err error
		if h, err = tar.NewReader(bytes.NewReader(old)).Next(); err != nil {
			return nil, err
		}
	}
	change(h)
	h.Format = tar.FormatUnknown
	delete(h.PAXRecords, "path")
	delete(h.PAXRecords, "size")
	delete(h.PAXRecords, "linkpath")
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (t *tarOut) commit() error {
	if t.idle {
		t.out.Abort()
		return nil
	}
	return t.out.Commit()
}

func (t *tarOut) abort() {
	if t.zip != nil {
		t.gate.Shut()
		t.zip.Close() // ends its goroutines, and fails
		t.zip = nil
	}
	t.out.Abort()
}
