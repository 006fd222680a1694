package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"imaseal/internal/reason"
	"imaseal/internal/tree"
	"imaseal/internal/tree/tarball"
)

// An Output says where the new image goes.
type Output struct {
	// Ref names it; it counts for nothing with InPlace. Its tag is that of the new
	// image, where there is one.
	Ref    Ref
	Stdout *os.File
	// InPlace replaces the image itself, in one step.
	InPlace bool
}

// Errors about outputs that cannot be.
var (
	// ErrExists says that a directory is there already.
	ErrExists = errors.New("there is something of this name, and an image in a directory is only written into a new one")
	// ErrConvert says that the kind of the output is not that of the image.
	ErrConvert = errors.New("an archive of docker save becomes no other kind of image here, nor another kind such an archive")
	// ErrTagged says that the output cannot have the tag.
	ErrTagged = errors.New("the new image cannot have a tag of its own: it is several, or one of docker save, and they keep theirs")
	// ErrUnread says that there is nothing to make lasting.
	ErrUnread = errors.New("the image was not read to its end")
)

// A blob is a new one that is being written, or is written.
type blob interface {
	io.Writer
	// drop forgets it, unless it has become lasting.
	drop()
}

// A target is where a new image goes.
type target interface {
	// create begins the blob of a layer.
	create(ctx context.Context) (blob, error)
	// write writes all that there is to the image, of which nothing is seen before
	// commit. r is nil where no layer has changed.
	write(ctx context.Context, r *renewal) error
	commit() error
	// abort leaves what was there before. After commit it does nothing.
	abort()
}

// A Sink writes a new image when the old one has been walked. Its Apply is safe for
// concurrent use.
type Sink struct {
	im   *Image
	to   target
	tag  string // that the new image gets; empty for its old one
	done bool
	r    *renewal

	labelled atomic.Bool // something was applied
}

// NewSink opens an output of the image, whose Walk then writes to it as long as ctx
// lasts. The caller ends it with Commit or Abort.
func (im *Image) NewSink(ctx context.Context, o Output) (*Sink, error) {
	s := &Sink{im: im}
	if !o.InPlace {
		if (o.Ref.Kind == Docker) != (im.ref.Kind == Docker) {
			return nil, ErrConvert
		}
		if s.tag = o.Ref.Tag; s.tag != "" {
			if err := im.graph.checkTag(im.ref.Kind); err != nil {
				return nil, err
			}
		}
	}
	var err error
	switch {
	case o.InPlace && im.ref.Kind == Layout:
		s.to = newInPlace(&im.graph, im.ref.Path)
	case !o.InPlace && o.Ref.Kind == Layout:
		s.to, err = newDirectory(&im.graph, o.Ref.Path)
	default:
		s.to, err = newArchive(ctx, im, o)
	}
	if err != nil {
		return nil, err
	}
	im.sink = s
	return s, nil
}

// checkTag returns ErrTagged unless one descriptor of the index names what is chosen.
func (g *graph) checkTag(kind Kind) error {
	if kind == Docker {
		return ErrTagged
	}
	n := 0
	for i, e := range g.index.entries {
		if g.picked[i] && len(images(e.doc)) > 0 {
			n++
		}
	}
	if n != 1 {
		return ErrTagged
	}
	return nil
}

// Apply implements tree.Sink, for files of the image that are visited.
func (s *Sink) Apply(file tree.File, changes []tree.Change) error {
	s.labelled.Store(true)
	return new(tarball.Sink).Apply(file, changes)
}

// A layerWriter writes a layer that changes.
type layerWriter struct {
	ctx  context.Context // of the whole writing
	s    *Sink
	l    *layer
	t    *tarball.Sink
	blob blob // nil before the first byte
	raw  hash.Hash
	tar  hash.Hash // of what is compressed, before it is
	size int64
}

// newLayer has the walk of a layer write to the image.
func (s *Sink) newLayer(ctx context.Context, l *layer, a *tarball.Archive) (*layerWriter, error) {
	w := &layerWriter{ctx: ctx, s: s, l: l, raw: sha256.New(), tar: sha256.New()}
	w.t = a.NewPartSink(w, w.tar)
	return w, nil
}

// Write implements io.Writer.
func (w *layerWriter) Write(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if w.blob == nil {
		var err error
		if w.blob, err = w.s.to.create(w.ctx); err != nil {
			return 0, err
		}
	}
	w.raw.Write(b)
	n, err := w.blob.Write(b)
	w.size += int64(n)
	return n, err
}

// Copy implements tarball.Target: what is copied is hashed, too.
func (w *layerWriter) Copy(f *os.File, at, n int64) error {
	done, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.NewSectionReader(f, at, n)}, make([]byte, 128<<10))
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// end is called when the layer was walked, with the error that there was. It returns
// that.
func (w *layerWriter) end(err error) error {
	if err != nil || w.blob == nil {
		w.t.Abort()
		if w.blob != nil {
			w.blob.drop()
		}
		return err
	}
	n := &renewed{digest: sum(w.raw), size: w.size, blob: w.blob}
	n.diffID = n.digest
	if w.t.IsCompressed() {
		n.diffID = sum(w.tar)
	}
	if n.file = blobName(n.digest); !isBlobName(w.l.file) {
		n.file = newName(w.l.file, w.l.diffID.Hex, n.diffID.Hex)
	}
	w.l.renewed = n
	return nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// finish writes the image, when all layers are.
func (s *Sink) finish(ctx context.Context) error {
	g := &s.im.graph
	r, err := g.renew()
	if err != nil {
		return err
	}
	if s.tag != "" {
		if r, err = g.retag(r, s.tag); err != nil {
			return err
		}
	}
	if r != nil {
		if err := r.docker(); err != nil {
			return err
		}
	}
	s.r = r
	if err := s.to.write(ctx, r); err != nil {
		return err
	}
	s.done = true
	return nil
}

// notes are what is to be known of the new image.
func (s *Sink) notes() reason.List {
	var notes reason.List
	if s.r == nil {
		return nil
	}
	if n := s.im.graph.artifacts(); n > 0 {
		notes = append(notes, reason.New(reason.Artifacts,
			"%d signatures, attestations or other artifacts are kept as they are: they are about the image as it was, so that the new one has to be signed, and attested, anew", n))
	}
	if s.r.tables > 0 {
		notes = append(notes, reason.New(reason.LayerTable,
			"%d layers had a table of contents (eStargz, zstd:chunked), which is that of the old ones and is left out: they are fetched as a whole", s.r.tables))
	}
	return notes
}

// artifacts returns how many documents come along that are no images.
func (g *graph) artifacts() int {
	n := 0
	for _, d := range g.docs {
		if d.kind == isOther {
			n++
		}
	}
	return n
}

// Commit implements tree.Sink.
func (s *Sink) Commit(context.Context) error {
	if !s.done {
		s.Abort()
		return ErrUnread
	}
	err := s.to.commit()
	s.done = err == nil
	return err
}

// Abort implements tree.Sink: nothing is left, but of what has gone through a pipe.
func (s *Sink) Abort() error {
	for _, l := range s.im.graph.layers {
		if l.renewed != nil {
			l.renewed.blob.drop()
		}
	}
	s.to.abort()
	return nil
}
