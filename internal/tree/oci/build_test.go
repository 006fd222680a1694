package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"imaseal/internal/compress"
)

// tarOf returns a tar archive of headers, whose contents are in the key "content".
func tarOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.PAXRecords["content"]
		delete(h.PAXRecords, "content")
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plain is the header of a file.
func plain(name, content string) *tar.Header {
	return &tar.Header{Name: name, Mode: 0o644, PAXRecords: map[string]string{"content": content}}
}

func pack(t testing.TB, f compress.Format, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := compress.NewWriter(&out, compress.Header{Format: f})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// formats are those of layers, by their media types.
var formats = map[types.MediaType]compress.Format{
	types.OCILayer: compress.Gzip, types.OCILayerZStd: compress.Zstd, types.OCIUncompressedLayer: compress.None,
	types.DockerLayer: compress.Gzip, types.DockerUncompressedLayer: compress.None,
}

// A madeLayer is a layer of a tar archive that is packed as its type says.
type madeLayer struct {
	v1.Layer
	plain []byte
}

func (l madeLayer) DiffID() (v1.Hash, error) { return hashOf(l.plain), nil }
func (l madeLayer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.plain)), nil
}

func layerOf(t testing.TB, of types.MediaType, archive []byte) v1.Layer {
	t.Helper()
	return madeLayer{static.NewLayer(pack(t, formats[of], archive), of), archive}
}

// imageOf returns an image of layers, with history and annotations.
func imageOf(t testing.TB, platform v1.Platform, layers ...v1.Layer) v1.Image {
	t.Helper()
	image := empty.Image
	if first, _ := layers[0].MediaType(); first != types.DockerLayer {
		image = mutate.MediaType(image, types.OCIManifestSchema1)
		image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = platform.OS, platform.Architecture, platform.Variant
	cfg.Config.Entrypoint = []string{"/bin/sh"}
	if image, err = mutate.ConfigFile(image, cfg); err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: l, History: v1.History{CreatedBy: fmt.Sprint("step ", i)}, Annotations: map[string]string{"layer": fmt.Sprint(i)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	return mutate.Annotations(image, map[string]string{"of": "the manifest"}).(v1.Image)
}

// layoutOf writes images, by their tags, into a new layout; nil is none.
func layoutOf(t testing.TB, tagged map[string]v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for tag, image := range tagged {
		var options []layout.Option
		if tag != "" {
			options = append(options, layout.WithAnnotations(map[string]string{tagName: tag}))
		}
		if err := p.AppendImage(image, options...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archived makes an archive of an image layout, as oci-archive: has it.
func archived(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	save(t, path, b.Bytes())
	return path
}

// unarchived is the other way.
func unarchived(t testing.TB, path string) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(load(t, path))); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		save(t, name, b)
	}
}

func load(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// files returns all files below a directory.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path)
			all[rel] = string(load(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
