// Package oci is the carrier of container images: its files are entries of their
// layers, and what it writes is an image of which everything is made anew that
// names a layer which has changed.
//
// # What an image is
//
// An image layout (image-layout.md of the OCI image specification, 1.1) is a
// directory, or an archive of one, with blobs in files that are named by their
// digest. index.json names manifests and indexes, an index more of them, one for
// each platform; a manifest names the layers, which are tar archives, and the
// configuration, which has the digests of the layers unpacked. What docker save
// writes is an archive with a manifest.json that names configurations and layers by
// their paths; since version 25 it is an image layout as well.
//
// # What becomes of it
//
// Each layer of an image that is chosen is labelled, once for all images that have
// it, by package tarball: files too that a higher layer replaces. Its blob is written
// in the form of compression that it had. Then the documents are changed that name
// it, from the configuration up: digests and sizes, and nothing else (package
// document). What does not change stays the very blob that it was, and where nothing
// does, nothing is written.
//
// What is no layer of a file system stays as it is: artifacts, signatures,
// attestations. Such of the old image say its digest, and are none of the new one.
//
// Each blob that is read is compared with its digest and its size, and each layer,
// unpacked, with what the configuration says. Files are opened below the image's
// directory, wherever links lead.
//
// # Why so little of the library
//
// Digests, media types and documents are read with go-containerregistry. Its
// packages layout, tarball and mutate are not used but in tests: mutate writes
// documents anew, without members that it does not know, and layers without their
// header of compression; tarball reads an archive once for each of its layers.
package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/tree/oci/flat"
	"imaseal/internal/tree/tarball"
)

// A Kind is a form in which images lie in files.
type Kind uint8

// The kinds.
const (
	Layout  Kind = iota // a directory
	Archive             // of an image layout
	Docker              // an archive of docker save
)

// A Ref names an image: a file or directory, and what is chosen in there.
type Ref struct {
	Kind Kind
	Path string // "-" is standard input or output, for archives
	Tag  string // empty for what there is
}

// A Config says which files are visited, and how.
type Config struct {
	tarball.Config
	// Flat visits the files that are there when all layers are unpacked over each
	// other, for each image, and no others. Nothing can be written then.
	Flat bool
}

// An Image is a tree.Source of an image, or of those of several platforms, a
// tree.Counter and a tree.Noter. It is walked once, with a Sink or without.
type Image struct {
	ref   Ref
	cfg   Config
	graph graph
	sink  *Sink // nil if nothing is written
	tally tarball.Tally
}

// Open opens an image and reads all its documents. The caller closes it. The error is
// a *BlobError or an *ImageError, which may wrap a *TagError.
func Open(ctx context.Context, ref Ref, stdin io.Reader, cfg Config) (*Image, error) {
	im := &Image{ref: ref, cfg: cfg}
	g := &im.graph
	g.image = ref.Path
	var err error
	if ref.Kind == Layout {
		var d *directory
		if d, err = openDirectory(ref.Path); err == nil {
			g.store = d
		}
	} else {
		var a *archive
		if a, err = openArchive(ctx, ref.Path, stdin, cfg.TempDir); err == nil {
			g.store = a
		}
	}
	if err != nil {
		return nil, im.error(ctx, err)
	}
	if err = g.load(ctx); err == nil {
		err = g.choose(ref.Kind, ref.Tag)
	}
	if err != nil {
		im.Close()
		return nil, im.error(ctx, err)
	}
	return im, nil
}

// error says that err is one of the image, unless it is one already, or none of it.
func (im *Image) error(ctx context.Context, err error) error {
	_, isBlob := errors.AsType[*BlobError](err)
	_, isImage := errors.AsType[*ImageError](err)
	if isBlob || isImage || isWriting(err) || ctx.Err() != nil || err == nil {
		return err
	}
	return &ImageError{im.ref.Path, pathless(err)}
}

// isWriting reports whether an error is one of writing, and not of what is read.
func isWriting(err error) bool {
	_, isOutput := errors.AsType[*stream.OutputError](err)
	_, isSpool := errors.AsType[*stream.SpoolError](err)
	return isOutput || isSpool
}

// Close closes the image.
func (im *Image) Close() error { return im.graph.store.close() }

// chosenLayers returns the layers of all chosen images, each once.
func (im *Image) chosenLayers() []*layer {
	var all []*layer
	seen := make(map[*layer]bool)
	for _, d := range im.graph.chosen {
		for _, l := range d.layers {
			if l != nil && !seen[l] {
				seen[l] = true
				all = append(all, l)
			}
		}
	}
	return all
}

// Countable reports whether Count counts: no layer need be unpacked.
func (im *Image) Countable() bool {
	if im.cfg.Flat {
		return false
	}
	for _, l := range im.chosenLayers() {
		is := false
		im.withLayer(l, im.nameOf(l), tarball.Config{}, func(a *tarball.Archive, _ *part) error {
			is = a.Countable()
			return nil
		})
		if !is {
			return false
		}
	}
	return true
}

// Count implements tree.Counter.
func (im *Image) Count(ctx context.Context, each func(size int64)) error {
	for _, l := range im.chosenLayers() {
		// What cannot be opened, the walk reports.
		im.withLayer(l, im.nameOf(l), im.layerConfig(), func(a *tarball.Archive, _ *part) error { return a.Count(ctx, each) })
	}
	return nil
}

// Holds reports whether one of the names, which are relative, is in a layer: see
// tarball.Archive.
func (im *Image) Holds(ctx context.Context, names []string) bool {
	for _, l := range im.chosenLayers() {
		holds := false
		im.withLayer(l, im.nameOf(l), tarball.Config{}, func(a *tarball.Archive, _ *part) error {
			holds = a.Holds(ctx, names)
			return nil
		})
		if holds {
			return true
		}
	}
	return false
}

// Notes implements tree.Noter.
func (im *Image) Notes() reason.List {
	var notes reason.List
	if s := im.sink; s != nil && !s.done {
		if s.labelled.Load() {
			notes = append(notes, reason.New(reason.NothingWritten, "the run was broken off, and no image written: none of these labels is anywhere"))
		}
		return notes
	} else if s != nil {
		notes = append(notes, s.notes()...)
	}
	return append(notes, im.tally.Notes()...)
}

// layerConfig returns how a layer is read.
func (im *Image) layerConfig() tarball.Config {
	cfg := im.cfg.Config
	cfg.Whiteout, cfg.Tally = flat.IsWhiteout, &im.tally
	return cfg
}

// nameOf is what stands in messages before the names of a layer's files.
func (im *Image) nameOf(l *layer) string { return im.ref.Path + ":" + l.short }

// withLayer opens a layer as an archive of files that have a name in front of theirs.
func (im *Image) withLayer(l *layer, name string, cfg tarball.Config, do func(*tarball.Archive, *part) error) error {
	p, err := im.graph.store.open(l.file)
	if err != nil {
		return im.graph.blobError("layer", l.blob, err)
	}
	defer p.close()
	if l.size >= 0 && p.size != l.size {
		return im.graph.blobError("layer", l.blob, &SizeError{Says: l.size, Is: p.size})
	}
	a, err := tarball.OpenPart(name, p.f, p.at, p.size, cfg)
	if err != nil {
		return im.graph.blobError("layer", l.blob, err)
	}
	return im.layerError(l, do(a, p))
}

// layerError puts the layer's name to an error of reading it.
func (im *Image) layerError(l *layer, err error) error {
	if a, ok := errors.AsType[*tarball.ArchiveError](err); ok && isWriting(a.Err) {
		return a.Err
	} else if ok {
		return im.graph.blobError("layer", l.blob, a.Err)
	}
	return err
}

// Walk implements tree.Source. The error is a *BlobError where a layer is damaged, or
// not what its digest says; with a sink also what writing has met with.
func (im *Image) Walk(ctx context.Context, visit func(tree.Found) error) error {
	if im.cfg.Flat {
		return im.walkFlat(ctx, visit)
	}
	for _, l := range im.chosenLayers() {
		if err := im.walkLayer(ctx, l, im.nameOf(l), im.layerConfig(), visit); err != nil {
			return err
		}
	}
	if im.sink == nil {
		return nil
	}
	return im.error(ctx, im.sink.finish(ctx))
}

// walkLayer walks a layer, and compares it with its digests.
func (im *Image) walkLayer(ctx context.Context, l *layer, name string, cfg tarball.Config, visit func(tree.Found) error) error {
	unpacked := sha256.New()
	if !l.checked {
		cfg.Unpacked = unpacked
	}
	return im.withLayer(l, name, cfg, func(a *tarball.Archive, p *part) error {
		isPlain := a.Countable()
		var w *layerWriter
		if im.sink != nil {
			var err error
			if w, err = im.sink.newLayer(ctx, l, a); err != nil {
				return err
			}
		}
		check := startSum(ctx, p, l.digest.Algorithm)
		err := a.Walk(ctx, visit)
		if err != nil {
			check.stop()
		}
		raw, sumErr := check.wait()
		if err == nil {
			err = sumErr
		}
		if err == nil && !l.checked {
			plain := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(unpacked.Sum(nil))}
			if isPlain {
				plain = raw
			}
			if err = im.checkLayer(l, raw, plain); err != nil {
				err = im.graph.blobError("layer", l.blob, err)
			}
		}
		if w != nil {
			err = w.end(err)
		}
		l.checked = err == nil
		return err
	})
}

// checkLayer compares digests of a layer with those that are said of it.
func (im *Image) checkLayer(l *layer, raw, plain v1.Hash) error {
	switch {
	case l.digest != (v1.Hash{}) && l.digest != raw:
		return &DigestError{Says: l.digest.String(), Is: raw.String()}
	case l.diffID.Algorithm == plain.Algorithm && l.diffID != plain:
		return &DigestError{Says: l.diffID.String(), Is: plain.String(), Unpacked: true}
	}
	return nil
}

// A summing adds up the digest of a part while that is walked.
type summing struct {
	cancel context.CancelFunc
	done   chan struct{}
	sum    v1.Hash
	err    error
}

func startSum(ctx context.Context, p *part, algorithm string) *summing {
	ctx, cancel := context.WithCancel(ctx)
	s := &summing{cancel: cancel, done: make(chan struct{})}
	if algorithm == "" {
		algorithm = "sha256"
	}
	go func() {
		defer close(s.done)
		defer cancel()
		var h hash.Hash
		if h, s.err = v1.Hasher(algorithm); s.err != nil {
			return
		}
		_, s.err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{input{ctx, p.reader()}}, make([]byte, 128<<10))
		s.sum = v1.Hash{Algorithm: algorithm, Hex: hex.EncodeToString(h.Sum(nil))}
	}()
	return s
}

func (s *summing) stop() { s.cancel() }

func (s *summing) wait() (v1.Hash, error) {
	<-s.done
	return s.sum, s.err
}
