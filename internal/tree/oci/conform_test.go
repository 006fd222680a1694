package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"imaseal/internal/tree"
	"imaseal/internal/tree/carriertest"
)

// A carrier is an image of the suite of carriers.
type carrier struct {
	ref     Ref
	inPlace bool
}

// newCarrier returns a maker of images of three layers.
func newCarrier(kind Kind, of types.MediaType, inPlace bool) func(*testing.T, []carriertest.File) carriertest.Tree {
	return func(t *testing.T, files []carriertest.File) carriertest.Tree {
		var of3 [3][]*tar.Header
		of3[0] = append(of3[0], &tar.Header{Name: "nothing/", Typeflag: tar.TypeDir, Mode: 0o700})
		of3[2] = append(of3[2], &tar.Header{Name: "etc/.wh.gone", Typeflag: tar.TypeReg}, &tar.Header{Name: "null", Typeflag: tar.TypeChar})
		for i, f := range files {
			h := plain(f.Name, f.Content)
			h.Mode, h.Uid, h.Gid = int64(f.Mode), 7, 8
			for attr, value := range f.Attrs {
				h.PAXRecords["SCHILY.xattr."+attr] = value
			}
			of3[i%2] = append(of3[i%2], h)
		}
		var layers []v1.Layer
		for _, headers := range of3 {
			layers = append(layers, layerOf(t, of, tarOf(t, headers...)))
		}
		image := imageOf(t, v1.Platform{OS: "linux", Architecture: "amd64"}, layers...)
		c := carrier{Ref{Kind: kind, Path: layoutOf(t, map[string]v1.Image{"latest": image})}, inPlace}
		switch kind {
		case Archive:
			c.ref.Path = archived(t, c.ref.Path)
		case Docker:
			c.ref.Path = filepath.Join(t.TempDir(), "image.tar")
			if err := tarball.WriteToFile(c.ref.Path, name.MustParseReference("example.org/image:latest"), image); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
}

// Open implements carriertest.Tree.
func (c carrier) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	cfg := Config{}
	cfg.Jobs, cfg.TempDir = workers, t.TempDir()
	o := Output{InPlace: true}
	if !c.inPlace { // over the old one, which archives may be
		o = Output{Ref: Ref{Kind: c.ref.Kind, Path: c.ref.Path + ".new"}}
	}
	im, err := Open(t.Context(), c.ref, nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	s, err := im.NewSink(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort() })
	source := tree.Source(im)
	if !im.Countable() {
		source = struct{ tree.Source }{im}
	}
	if c.inPlace {
		return source, s
	}
	return source, moving{s, c.ref.Path}
}

// A moving sink moves the new image to where the old one was.
type moving struct {
	*Sink
	path string
}

// Commit implements tree.Sink.
func (m moving) Commit(ctx context.Context) error {
	if err := m.Sink.Commit(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(m.path); err != nil {
		return err
	}
	return os.Rename(m.path+".new", m.path)
}

// Dump implements carriertest.Tree, with go-containerregistry.
func (c carrier) Dump(t *testing.T) map[string]string {
	dump := make(map[string]string)
	dir := c.ref.Path
	var image v1.Image
	if c.ref.Kind == Docker {
		var err error
		if image, err = tarball.ImageFromPath(c.ref.Path, nil); err != nil {
			t.Fatal(err)
		}
	} else {
		if c.ref.Kind == Archive {
			dir = unarchived(t, dir)
		}
		image = onlyImage(t, dir)
		if n := len(files(t, dir)); n != 2+1+1+3 {
			t.Errorf("there are %d files in the layout", n)
		}
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	diffIDs := cfg.RootFS.DiffIDs
	cfg = cfg.DeepCopy()
	cfg.RootFS.DiffIDs = nil
	dump["the configuration"] = fmt.Sprintf("%+v", cfg)
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	dump["the manifest"] = fmt.Sprint(m.MediaType, m.Config.MediaType, m.Annotations)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		dump[fmt.Sprint("layer ", i)] = fmt.Sprint(m.Layers[i].MediaType, m.Layers[i].Annotations)
		b := all(t, l.Uncompressed)
		if is := hashOf(b); is != diffIDs[i] {
			t.Errorf("layer %d, unpacked, is %s, and should be %s", i, is, diffIDs[i])
		}
		if is := hashOf(all(t, l.Compressed)); is != m.Layers[i].Digest {
			t.Errorf("layer %d is %s, and should be %s", i, is, m.Layers[i].Digest)
		}
		dumpTar(t, dump, b)
	}
	return dump
}

func all(t testing.TB, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func dumpTar(t *testing.T, dump map[string]string, archive []byte) {
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range h.PAXRecords {
			if attr, ok := bytes.CutPrefix([]byte(key), []byte("SCHILY.xattr.")); ok {
				dump[carriertest.Attr(h.Name, string(attr))] = value
			} else {
				dump[h.Name+" record "+key] = value
			}
		}
		dump[h.Name] = fmt.Sprintf("%c %o %d:%d %v %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime, content)
	}
}

func onlyImage(t testing.TB, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Annotations[tagName] != "latest" {
		t.Errorf("the index is %+v", m)
	}
	image, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestConform(t *testing.T) {
	for name, c := range map[string]struct {
		kind    Kind
		of      types.MediaType
		inPlace bool
	}{
		"layout, gzip, in place":            {Layout, types.OCILayer, true},
		"layout, zstd":                      {Layout, types.OCILayerZStd, false},
		"archive, not compressed":           {Archive, types.OCIUncompressedLayer, false},
		"archive, docker's types, in place": {Archive, types.DockerLayer, true},
		"docker's archive, in place":        {Docker, types.DockerLayer, true},
	} {
		t.Run(name, func(t *testing.T) {
			carriertest.Conform(t, carriertest.Carrier{
				New: newCarrier(c.kind, c.of, c.inPlace), Largest: 64 << 10,
				Refused: tree.Change{Attr: "security.imaseal-b", New: make([]byte, 64<<10+1)},
			})
		})
	}
}
