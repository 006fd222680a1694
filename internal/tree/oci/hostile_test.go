package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
	"imaseal/internal/tree/tarball"
	"imaseal/internal/treetest"
)

// simple returns a layout of an image with one layer, and the name of that.
func simple(t testing.TB) (dir, layer string) {
	dir = layoutOf(t, map[string]v1.Image{"latest": imageOf(t, linux, layerOf(t, types.OCILayer, tarOf(t, plain("a", "1"))))})
	return dir, blobName(manifestOf(t, dir, indexOf(t, dir).Manifests[0].Digest).Layers[0].Digest)
}

func first(doc map[string]any, name string) map[string]any {
	return doc[name].([]any)[0].(map[string]any)
}

// TestHostile says of each image what is wrong with it, by the name of the blob, leaves
// nothing, and changes nothing.
func TestHostile(t *testing.T) {
	treetest.Leaks(t)
	long := strings.Repeat("x", 100)
	edited := func(change func(config, manifest, index map[string]any)) func(*testing.T, string, string) {
		return func(t *testing.T, dir, _ string) { edit(t, dir, change) }
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir, layer string)
		want   string
	}{
		{"no layer", func(t *testing.T, dir, layer string) { os.Remove(filepath.Join(dir, layer)) }, "layer sha256:LAYER: it is missing"},
		{"another layer", func(t *testing.T, dir, layer string) {
			b := load(t, filepath.Join(dir, layer))
			b[9] ^= 1 // the system that gzip says
			save(t, filepath.Join(dir, layer), b)
		}, "layer sha256:LAYER: its digest is sha256:"},
		{"a damaged layer", func(t *testing.T, dir, layer string) {
			b := load(t, filepath.Join(dir, layer))
			b[len(b)-6] ^= 1
			save(t, filepath.Join(dir, layer), b)
		}, "layer sha256:LAYER: reading gzip"},
		{"a layer of another size", func(t *testing.T, dir, layer string) {
			save(t, filepath.Join(dir, layer), append(load(t, filepath.Join(dir, layer)), 0))
		}, "layer sha256:LAYER: it has"},
		{"a layer that is a link out", func(t *testing.T, dir, layer string) {
			os.Rename(filepath.Join(dir, layer), dir+".out")
			os.Symlink(dir+".out", filepath.Join(dir, layer))
		}, "layer sha256:LAYER: path escapes from parent"},
		{"a layer that is a fifo", func(t *testing.T, dir, layer string) {
			os.Remove(filepath.Join(dir, layer))
			if err := unix.Mkfifo(filepath.Join(dir, layer), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "layer sha256:LAYER: it is no regular file"},
		{"a layer that is no archive", replaceLayer(types.OCIUncompressedLayer, []byte(strings.Repeat("no archive ", 100))), "layer sha256:LAYER: at offset 0: this is no header"},
		{"a layer that is a zip", replaceLayer(types.OCILayer, []byte("PK\x03\x04"+long)), "layer sha256:LAYER: it is in the format zip"},
		{"a layer that is packed twice", replaceLayer(types.OCILayer, pack(t, formats[types.OCILayer], pack(t, formats[types.OCILayer], tarOf(t)))),
			"layer sha256:LAYER: it was compressed with gzip, and holds no archive, but something in the format gzip"},
		{"a layer that is cut off", replaceLayer(types.OCIUncompressedLayer, tarOf(t, plain("a", long))[:700]), "layer sha256:LAYER: entry \"a\" at offset 0: the archive ends in the content"},
		{"an empty layer", replaceLayer(types.OCIUncompressedLayer, nil), "layer sha256:LAYER: at offset 0: the archive ends without"},
		{"a digest of the layer unpacked that is another's", edited(func(config, _, _ map[string]any) {
			config["rootfs"].(map[string]any)["diff_ids"] = []any{hashOf(nil).String()}
		}), "layer sha256:LAYER: unpacked, its digest is sha256:"},
		{"fewer layers in the configuration", edited(func(config, _, _ map[string]any) { config["rootfs"].(map[string]any)["diff_ids"] = []any{} }),
			"it has 1 layers, and its configuration 0"},
		{"a layer that lies elsewhere", edited(func(_, manifest, _ map[string]any) {
			first(manifest, "layers")["urls"] = []any{"https://example.org/layer"}
			first(manifest, "layers")["mediaType"] = string(types.DockerForeignLayer)
		}), "layer sha256:LAYER: its content is to be fetched from https://example.org/layer"},
		{"an encrypted layer", edited(func(_, manifest, _ map[string]any) {
			first(manifest, "layers")["mediaType"] = string(types.OCILayer) + "+encrypted"
		}),
			"layer sha256:LAYER: it is encrypted"},
		{"a digest that leads out", edited(func(_, _, index map[string]any) {
			d := first(index, "manifests")
			d["keep"], d["digest"] = true, "sha256:../../../../etc/passwd"
		}), "index index.json: found non-hex character in hash"},
		{"a short digest", edited(func(_, _, index map[string]any) {
			d := first(index, "manifests")
			d["keep"], d["digest"] = true, "sha256:00"
		}), "index index.json: wrong number of hex digits"},
		{"a digest of an unknown algorithm", edited(func(_, manifest, _ map[string]any) {
			first(manifest, "layers")["digest"] = "md5:" + strings.Repeat("0", 32)
		}),
			`unsupported hash: "md5"`},
		{"a manifest of another size", edited(func(_, _, index map[string]any) {
			d := first(index, "manifests")
			d["keep"], d["size"] = true, 1<<30
		}), "it has"},
		{"a manifest of another digest", edited(func(_, _, index map[string]any) {
			d := first(index, "manifests")
			d["keep"], d["digest"] = true, hashOf([]byte("none")).String()
		}), "manifest " + hashOf([]byte("none")).String() + ": it is missing"},
		{"a configuration that is missing", edited(func(_, manifest, _ map[string]any) {
			d := manifest["config"].(map[string]any)
			d["keep"], d["digest"] = true, hashOf([]byte("none")).String()
		}), "configuration " + hashOf([]byte("none")).String() + ": it is missing"},
		{"a manifest that is an index", edited(func(_, _, index map[string]any) { first(index, "manifests")["mediaType"] = string(types.OCIImageIndex) }),
			`it says that it is of the type "application/vnd.oci.image.manifest.v1+json", and should be "application/vnd.oci.image.index.v1+json"`},
		{"a manifest that is both", edited(func(_, manifest, _ map[string]any) { manifest["manifests"] = []any{} }), "it says that it is of the type"},
		{"unknown types", edited(func(_, _, index map[string]any) { first(index, "manifests")["mediaType"] = "application/x-unknown" }), "there is no image in it"},
		{"names in another case", edited(func(_, manifest, _ map[string]any) {
			manifest["Layers"] = manifest["layers"]
			delete(manifest, "layers")
		}), "layers[0].digest is not what was read there"},
		{"an index that says things twice", func(t *testing.T, dir, _ string) {
			b := bytes.Replace(load(t, filepath.Join(dir, indexFile)), []byte(`"schemaVersion"`), []byte(`"manifests":[],"schemaVersion"`), 1)
			save(t, filepath.Join(dir, indexFile), b)
		}, `the name "manifests" is there twice`},
		{"a large index", func(t *testing.T, dir, _ string) {
			save(t, filepath.Join(dir, indexFile), bytes.Repeat([]byte(" "), maxDocument+1))
		},
			"bytes of a document: 4194305, and at most 4194304 are read"},
		{"an index of very much", func(t *testing.T, dir, _ string) {
			save(t, filepath.Join(dir, indexFile), []byte(`{"manifests":[{}`+strings.Repeat(",{}", 1<<17)+"]}"))
		}, "it has more values than any document"},
		{"a deep one", func(t *testing.T, dir, _ string) {
			save(t, filepath.Join(dir, indexFile), []byte(strings.Repeat(`{"a":`, 1000)))
		}, "nested deeper"},
		{"an index that is no JSON", func(t *testing.T, dir, _ string) { save(t, filepath.Join(dir, indexFile), []byte("manifests: none")) }, "index index.json: at offset 0"},
		{"no index", func(t *testing.T, dir, _ string) { os.Remove(filepath.Join(dir, indexFile)) }, "this is no image layout"},
		{"an index that is a directory", func(t *testing.T, dir, _ string) {
			os.Remove(filepath.Join(dir, indexFile))
			os.Mkdir(filepath.Join(dir, indexFile), 0o755)
		}, "file index.json: it is no regular file"},
		{"indexes in indexes", func(t *testing.T, dir, _ string) {
			d := `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":%d}`
			raw := `{"schemaVersion":2,"manifests":[]}`
			for range 2 * maxNested {
				save(t, filepath.Join(dir, blobName(hashOf([]byte(raw)))), []byte(raw))
				raw = `{"schemaVersion":2,"manifests":[` + fmt.Sprintf(d, hashOf([]byte(raw)), len(raw)) + `]}`
			}
			save(t, filepath.Join(dir, indexFile), []byte(raw))
		}, "indexes in indexes: 9, and at most 8 are read"},
		{"an index that names itself", func(t *testing.T, dir, _ string) {
			h := hashOf([]byte("circle"))
			raw := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":200}]}`, h)
			raw += strings.Repeat(" ", 200-len(raw))
			save(t, filepath.Join(dir, indexFile), []byte(raw))
			save(t, filepath.Join(dir, blobName(h)), []byte(raw))
		}, "index " + hashOf([]byte("circle")).String() + ": its digest is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, layer := simple(t)
			tt.damage(t, dir, layer)
			if name := layerOfLayout(dir); name != "" { // it may be another by now
				layer = name
			}
			before := files(t, dir)
			for _, o := range []Output{newOutput(t, Layout), newOutput(t, Archive), {InPlace: true}} {
				_, _, err := mark(t, Ref{Path: dir}, o)
				want := strings.ReplaceAll(tt.want, "LAYER", filepath.Base(layer))
				if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), dir+": ") {
					t.Errorf("%v\nwant %s", err, want)
				}
				if left, err := os.ReadDir(filepath.Dir(o.Ref.Path)); !o.InPlace && (err != nil || len(left) > 0) {
					t.Errorf("%s is left, %v", left, err)
				}
			}
			if !maps.Equal(files(t, dir), before) {
				t.Error("the image has changed")
			}
		})
	}
}

// layerOfLayout returns the name of the layer of a layout with one, as far as it can be
// read.
func layerOfLayout(dir string) string {
	raw, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil {
		return ""
	}
	m, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil || len(m.Manifests) != 1 {
		return ""
	}
	raw, err = os.ReadFile(filepath.Join(dir, blobName(m.Manifests[0].Digest)))
	if err != nil {
		return ""
	}
	of, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil || len(of.Layers) != 1 {
		return ""
	}
	return blobName(of.Layers[0].Digest)
}

// replaceLayer puts something else in the place of the layer, with all that names it.
func replaceLayer(of types.MediaType, b []byte) func(*testing.T, string, string) {
	return func(t *testing.T, dir, layer string) {
		os.Remove(filepath.Join(dir, layer))
		save(t, filepath.Join(dir, blobName(hashOf(b))), b)
		edit(t, dir, func(config, manifest, _ map[string]any) {
			config["rootfs"].(map[string]any)["diff_ids"] = []any{hashOf(b).String()}
			l := first(manifest, "layers")
			l["mediaType"], l["digest"], l["size"] = string(of), hashOf(b).String(), len(b)
		})
	}
}

// TestSHA512 reads blobs of the other algorithm that images may have.
func TestSHA512(t *testing.T) {
	dir, layer := simple(t)
	b := load(t, filepath.Join(dir, layer))
	sum := sha512.Sum512(b)
	h := v1.Hash{Algorithm: "sha512", Hex: hex.EncodeToString(sum[:])}
	if err := os.MkdirAll(filepath.Join(dir, blobDir, "sha512"), 0o755); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, blobName(h)), b)
	edit(t, dir, func(_, manifest, _ map[string]any) { first(manifest, "layers")["digest"] = h.String() })
	mustMark(t, Ref{Path: dir}, Output{InPlace: true})
	checkBlobs(t, dir)
	if _, err := os.Stat(filepath.Join(dir, blobName(h))); err == nil {
		t.Error("the old layer is still there")
	}
}

// docker returns an archive of docker save with entries; manifest is a member of its only
// image, by its name.
func docker(t *testing.T, manifest map[string]any, headers ...*tar.Header) string {
	t.Helper()
	b, err := json.Marshal([]any{manifest})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	save(t, path, tarOf(t, append(headers, plain(dockerFile, string(b)))...))
	return path
}

// TestDockerHostile leaves an archive for no path that stands in it.
func TestDockerHostile(t *testing.T) {
	treetest.Leaks(t)
	archive := tarOf(t, plain("a", "1"))
	config := plain("c.json", `{"rootfs":{"diff_ids":["`+hashOf(archive).String()+`"]}}`)
	layer := plain("l/layer.tar", string(archive))
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	tests := []struct {
		name, config, layer string
		entries             []*tar.Header
		want                string
	}{
		{"as it should be", "c.json", "l/layer.tar", []*tar.Header{config, layer}, ""},
		{"by a link", "c.json", "m/layer.tar", []*tar.Header{config, layer, link("m/layer.tar", "../l/layer.tar")}, ""},
		{"out of it", "c.json", "../../../../etc/passwd", []*tar.Header{config, layer}, "layer ../../../../etc/passwd: it is missing"},
		{"out of it, by a link", "c.json", "m/layer.tar", []*tar.Header{config, link("m/layer.tar", "../../../../etc/passwd")}, "layer m/layer.tar: it is missing"},
		{"in a circle", "c.json", "m", []*tar.Header{config, link("m", "m")}, "layer m: too many levels of symbolic links"},
		{"no configuration", "/etc/passwd", "l/layer.tar", []*tar.Header{config, layer}, "configuration /etc/passwd: it is missing"},
		{"another layer", "c.json", "l/layer.tar", []*tar.Header{config, plain("l/layer.tar", string(tarOf(t, plain("a", "2"))))}, "layer l/layer.tar: unpacked, its digest is"},
		{"a layer twice", "c.json", "l/layer.tar", []*tar.Header{config, layer, layer}, "an entry of this name is there already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := docker(t, map[string]any{"Config": tt.config, "Layers": []string{tt.layer}}, clones(tt.entries)...)
			o := newOutput(t, Docker)
			_, _, err := mark(t, Ref{Kind: Docker, Path: path}, o)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(o.Ref.Path)); (len(left) > 0) != (tt.want == "") {
				t.Errorf("%s is left", left)
			}
			if tt.want != "" {
				return
			}
			// It is as it should be, and names the same files.
			before := load(t, o.Ref.Path)
			mustMark(t, o.Ref, Output{InPlace: true})
			if !bytes.Equal(load(t, o.Ref.Path), before) {
				t.Error("a second run changed something")
			}
		})
	}
}

// clones returns headers anew: tarOf takes the contents out of them.
func clones(headers []*tar.Header) []*tar.Header {
	var all []*tar.Header
	for _, h := range headers {
		c := *h
		c.PAXRecords = maps.Clone(h.PAXRecords)
		all = append(all, &c)
	}
	return all
}

// TestOutputs refuses what would be written over something else.
func TestOutputs(t *testing.T) {
	treetest.Leaks(t)
	dir, _ := simple(t)
	path := archived(t, dir)
	for name, tt := range map[string]struct {
		ref  Ref
		o    Output
		want error
	}{
		"a directory with something": {Ref{Path: dir}, Output{Ref: Ref{Path: filepath.Dir(dir)}}, ErrExists},
		"the image itself":           {Ref{Path: dir}, Output{Ref: Ref{Path: dir}}, ErrExists},
		"a file":                     {Ref{Path: dir}, Output{Ref: Ref{Path: path}}, ErrExists},
		"the archive itself":         {Ref{Kind: Archive, Path: path}, Output{Ref: Ref{Kind: Archive, Path: path}}, tarball.ErrSameFile},
		"another kind":               {Ref{Path: dir}, Output{Ref: Ref{Kind: Docker, Path: path + "x"}}, ErrConvert},
		"no place":                   {Ref{Path: dir}, Output{Ref: Ref{Path: filepath.Join(dir, "none", "x")}}, unix.ENOENT},
	} {
		before, was := files(t, dir), load(t, path)
		if _, _, err := mark(t, tt.ref, tt.o); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if !maps.Equal(files(t, dir), before) || !bytes.Equal(load(t, path), was) {
			t.Errorf("%s: something changed", name)
		}
	}
	// An empty directory is as good as none.
	empty := t.TempDir()
	mustMark(t, Ref{Path: dir}, Output{Ref: Ref{Path: empty}})
	checkBlobs(t, empty)
}

// A memory is a store of files in memory.
type memory map[string][]byte

func (m memory) open(name string) (*part, error) {
	b, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	fd, err := unix.MemfdCreate("blob", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		return nil, err
	}
	return &part{f: f, size: int64(len(b)), ours: true}, nil
}

func (m memory) resolve(name string) string { return name }
func (m memory) list() ([]entry, error)     { return nil, nil }
func (m memory) close() error               { return nil }

// FuzzDocuments reads documents that are anything, and makes them anew as if all layers
// had changed: what comes out says what it should.
func FuzzDocuments(f *testing.F) {
	dir, _ := simple(f)
	m := indexOf(f, dir).Manifests[0].Digest
	was := manifestOf(f, dir, m)
	old := files(f, dir)
	f.Add(old[indexFile], old[blobName(m)], old[blobName(was.Config.Digest)], "")
	docker := `[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"],"LayerSources":{}}]`
	f.Add("{}", "{}", old[blobName(was.Config.Digest)], docker)
	f.Fuzz(func(t *testing.T, index, manifest, config, docker string) {
		// So that what is fuzzed is reached, digests and sizes are mended.
		manifest = strings.ReplaceAll(manifest, was.Config.Digest.String(), hashOf([]byte(config)).String())
		manifest = strings.ReplaceAll(manifest, fmt.Sprintf(`"size":%d`, was.Config.Size), fmt.Sprintf(`"size":%d`, len(config)))
		index = strings.ReplaceAll(index, m.String(), hashOf([]byte(manifest)).String())
		index = strings.ReplaceAll(index, fmt.Sprintf(`"size": %d`, len(old[blobName(m)])), fmt.Sprintf(`"size": %d`, len(manifest)))
		store := memory{
			indexFile: []byte(index), blobName(hashOf([]byte(manifest))): []byte(manifest), blobName(hashOf([]byte(config))): []byte(config), "c.json": []byte(config),
		}
		if docker != "" {
			store[dockerFile] = []byte(docker)
		}
		for _, kind := range []Kind{Layout, Docker} {
			g := &graph{image: "image", store: store}
			if g.load(t.Context()) != nil || g.choose(kind, "") != nil {
				continue
			}
			for _, l := range g.layers {
				l.renewed = &renewed{digest: hashOf([]byte(l.file)), size: 7, diffID: hashOf([]byte("unpacked")), file: "new"}
			}
			r, err := g.renew()
			if err == nil && r != nil {
				err = r.docker()
			}
			if err != nil || r == nil {
				continue
			}
			for _, d := range g.chosen {
				if d.renewed == nil {
					continue
				}
				m, err := v1.ParseManifest(bytes.NewReader(d.renewed.raw))
				if err != nil {
					t.Fatalf("%v: %s", err, d.renewed.raw)
				}
				if d.config.renewed == nil || m.Config.Digest != d.config.renewed.digest {
					t.Errorf("%s names another configuration", d.renewed.raw)
				}
				for i, l := range d.layers {
					if l != nil && (m.Layers[i].Digest != l.renewed.digest || m.Layers[i].Size != 7) {
						t.Errorf("%s names another layer", d.renewed.raw)
					}
				}
			}
		}
	})
}

// TestNothingSaid does not speak of labels where none was made.
func TestNothingSaid(t *testing.T) {
	dir, layer := simple(t)
	if err := os.Remove(filepath.Join(dir, layer)); err != nil {
		t.Fatal(err)
	}
	im, err := Open(t.Context(), Ref{Path: dir}, nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	s, err := im.NewSink(t.Context(), newOutput(t, Layout))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if err := im.Walk(t.Context(), func(tree.Found) error { return nil }); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if notes := im.Notes(); len(notes) > 0 {
		t.Errorf("%+v", notes)
	}
}
