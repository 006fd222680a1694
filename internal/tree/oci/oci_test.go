package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"imaseal/internal/compress"
	"imaseal/internal/reason"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

const attr = "security.imaseal"

// mark gives an attribute to all files of an image, or to those that only names, and
// writes it to o. It returns what was visited, and what there is to be known.
func mark(t testing.TB, ref Ref, o Output, only ...string) ([]string, reason.List, error) {
	t.Helper()
	cfg := Config{}
	cfg.Jobs, cfg.TempDir = 1, t.TempDir()
	im, err := Open(t.Context(), ref, nil, cfg)
	if err != nil {
		return nil, nil, err
	}
	defer im.Close()
	s, err := im.NewSink(t.Context(), o)
	if err != nil {
		return nil, nil, err
	}
	defer s.Abort()
	var visited []string
	err = im.Walk(t.Context(), func(f tree.Found) error {
		if f.File == nil {
			return f.Err
		}
		visited = append(visited, f.File.Rel())
		old, err := tree.Value(f.File, attr)
		if err != nil || string(old) == "x" || len(only) > 0 && !slices.Contains(only, f.File.Rel()) {
			return err
		}
		return s.Apply(f.File, []tree.Change{{Attr: attr, Old: old, New: []byte("x")}})
	})
	if err != nil {
		return nil, nil, err
	}
	if err := s.Commit(t.Context()); err != nil {
		return nil, nil, err
	}
	return visited, im.Notes(), nil
}

func mustMark(t testing.TB, ref Ref, o Output, only ...string) ([]string, reason.List) {
	t.Helper()
	visited, notes, err := mark(t, ref, o, only...)
	if err != nil {
		t.Fatal(err)
	}
	return visited, notes
}

// seen returns the files that are visited when layers are unpacked over each other.
func seen(t testing.TB, ref Ref) []string {
	t.Helper()
	cfg := Config{Flat: true}
	cfg.Jobs = 1
	im, err := Open(t.Context(), ref, nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	var names []string
	if err := im.Walk(t.Context(), func(f tree.Found) error {
		if f.File != nil {
			names = append(names, strings.TrimPrefix(f.File.Name(), ref.Path))
		}
		return f.Err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

var linux = v1.Platform{OS: "linux", Architecture: "amd64"}

func newOutput(t testing.TB, kind Kind) Output {
	return Output{Ref: Ref{Kind: kind, Path: filepath.Join(t.TempDir(), "new")}}
}

func indexOf(t testing.TB, dir string) *v1.IndexManifest {
	t.Helper()
	m, err := v1.ParseIndexManifest(bytes.NewReader(load(t, filepath.Join(dir, indexFile))))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func manifestOf(t testing.TB, dir string, h v1.Hash) *v1.Manifest {
	t.Helper()
	m, err := v1.ParseManifest(bytes.NewReader(load(t, filepath.Join(dir, blobName(h)))))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkBlobs says that each blob is what its name says.
func checkBlobs(t testing.TB, dir string) {
	t.Helper()
	for name, content := range files(t, dir) {
		if h := hashOf([]byte(content)); isBlobName(name) && name != blobName(h) {
			t.Errorf("%s is %s", name, h)
		}
	}
}

// TestUnchanged keeps what does not change: a layer's very blob, and all of the image
// where nothing does.
func TestUnchanged(t *testing.T) {
	two := []v1.Layer{
		layerOf(t, types.OCILayer, tarOf(t, plain("a", "1"))),
		layerOf(t, types.OCILayerZStd, tarOf(t, plain("b", "2"), plain(".wh.a", ""))),
	}
	dir := layoutOf(t, map[string]v1.Image{"latest": imageOf(t, linux, two...)})
	o := newOutput(t, Layout)
	if visited, _ := mustMark(t, Ref{Path: dir}, o, "b"); !slices.Equal(visited, []string{"a", "b"}) {
		t.Errorf("visited %q", visited)
	}
	old, is := manifestOf(t, dir, indexOf(t, dir).Manifests[0].Digest), manifestOf(t, o.Ref.Path, indexOf(t, o.Ref.Path).Manifests[0].Digest)
	if is.Layers[0].Digest != old.Layers[0].Digest || is.Layers[1].Digest == old.Layers[1].Digest {
		t.Errorf("the layers became %v, and were %v", is.Layers, old.Layers)
	}
	checkBlobs(t, o.Ref.Path)
	for _, kind := range []Kind{Layout, Archive} {
		again := newOutput(t, kind)
		mustMark(t, o.Ref, again, "b")
		path := again.Ref.Path
		if kind == Archive {
			path = unarchived(t, path)
		}
		if !maps.Equal(files(t, path), files(t, o.Ref.Path)) {
			t.Errorf("kind %d: a second run changed something", kind)
		}
	}
	before := files(t, dir)
	mustMark(t, Ref{Path: dir}, Output{InPlace: true}, "none")
	if !maps.Equal(files(t, dir), before) {
		t.Error("in place: something changed")
	}
	// Archives go out as they are, with their compression.
	path := archived(t, o.Ref.Path)
	for _, b := range [][]byte{load(t, path), pack(t, formats[types.OCILayer], load(t, path))} {
		save(t, path, b)
		again := newOutput(t, Archive)
		mustMark(t, Ref{Kind: Archive, Path: path}, again, "b")
		if !bytes.Equal(load(t, again.Ref.Path), b) {
			t.Error("an archive: something changed")
		}
	}
}

// nested returns a layout with an index in the index: of two platforms, which share a
// layer, and of an attestation, as BuildKit writes them; and of a signature beside it.
func nested(t *testing.T) string {
	shared := layerOf(t, types.OCILayer, tarOf(t, plain("shared", "s")))
	arm := v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	one := imageOf(t, linux, shared, layerOf(t, types.OCILayer, tarOf(t, plain("bin", "amd64"))))
	other := imageOf(t, arm, shared, layerOf(t, types.OCILayer, tarOf(t, plain("bin", "arm64"))))
	statement := imageOf(t, v1.Platform{OS: "unknown", Architecture: "unknown"}, static.NewLayer([]byte(`{"_type":"in-toto"}`), "application/vnd.in-toto+json"))
	digest, err := one.Digest()
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &linux}},
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &arm}},
		mutate.IndexAddendum{Add: statement, Descriptor: v1.Descriptor{Annotations: map[string]string{
			"vnd.docker.reference.digest": digest.String(), "vnd.docker.reference.type": "attestation-manifest",
		}}})
	dir := filepath.Join(t.TempDir(), "image")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{tagName: "latest"})); err != nil {
		t.Fatal(err)
	}
	signature := imageOf(t, linux, static.NewLayer([]byte(`{}`), "application/vnd.dev.cosign.simplesigning.v1+json"))
	if err := p.AppendImage(signature, layout.WithAnnotations(map[string]string{tagName: "sha256-0123.sig"})); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPlatforms labels all platforms, a layer that they share once, and leaves what is no
// file system.
func TestPlatforms(t *testing.T) {
	dir := nested(t)
	o := newOutput(t, Archive)
	visited, notes := mustMark(t, Ref{Path: dir}, o)
	if !slices.Equal(visited, []string{"shared", "bin", "bin"}) {
		t.Errorf("visited %q", visited)
	}
	if !notes.Has(reason.Artifacts) || !strings.Contains(notes[0].Words, "2 signatures, attestations") {
		t.Errorf("%+v", notes)
	}
	is := unarchived(t, o.Ref.Path)
	checkBlobs(t, is)
	index, err := layout.ImageIndexFromPath(is)
	if err != nil {
		t.Fatal(err)
	}
	was, now := indexOf(t, dir), indexOf(t, is)
	if now.Manifests[1].Digest != was.Manifests[1].Digest || now.Manifests[0].Digest == was.Manifests[0].Digest {
		t.Errorf("the index is %+v, and was %+v", now, was)
	}
	inner, err := index.ImageIndex(now.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 3 || m.Manifests[1].Platform.Variant != "v8" || m.Manifests[2].Annotations["vnd.docker.reference.type"] == "" {
		t.Errorf("the inner index is %+v", m)
	}
	for _, d := range m.Manifests[:2] {
		image, err := inner.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			if !bytes.Contains(all(t, l.Uncompressed), []byte("SCHILY.xattr."+attr+"=x")) {
				t.Error("a layer is not labelled")
			}
		}
	}
	// 1 layer of both, 2 of one, 2 configurations and manifests, 1 index, and 3 blobs of
	// each of the others.
	if n := len(files(t, is)); n != 2+3+4+1+3+3 {
		t.Errorf("there are %d files", n)
	}
	path := filepath.Base(dir)
	want := []string{"[linux/amd64]:bin", "[linux/amd64]:shared", "[linux/arm64/v8]:bin", "[linux/arm64/v8]:shared"}
	if got := seen(t, Ref{Path: dir}); !slices.Equal(got, want) {
		t.Errorf("%s: %q", path, got)
	}
}

// TestTags picks one of several images, and leaves the others as they are.
func TestTags(t *testing.T) {
	base := layerOf(t, types.OCILayer, tarOf(t, plain("base", "b")))
	one := imageOf(t, linux, base, layerOf(t, types.OCILayer, tarOf(t, plain("one", "1"))))
	two := imageOf(t, linux, base, layerOf(t, types.OCILayer, tarOf(t, plain("two", "2"))))
	dir := layoutOf(t, map[string]v1.Image{"1": one, "2": two})
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(one, layout.WithAnnotations(map[string]string{tagName: "one"})); err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]string{
		"":  "there are several images, and no tag says which one is meant: there are 1, 2, one",
		"3": `there is no image with the tag "3": there are 1, 2, one`,
	} {
		_, _, err := mark(t, Ref{Path: dir, Tag: tag}, newOutput(t, Layout))
		if _, ok := errors.AsType[*TagError](err); !ok || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v", tag, err)
		}
	}
	was := make(map[string]v1.Hash)
	for _, d := range indexOf(t, dir).Manifests {
		was[d.Annotations[tagName]] = d.Digest
	}
	before := files(t, dir)
	if visited, _ := mustMark(t, Ref{Path: dir, Tag: "1"}, Output{InPlace: true}); !slices.Equal(visited, []string{"base", "one"}) {
		t.Errorf("visited %q", visited)
	}
	checkBlobs(t, dir)
	for _, d := range indexOf(t, dir).Manifests {
		if tag := d.Annotations[tagName]; (d.Digest != was[tag]) != (tag == "1") {
			t.Errorf("%s is %s, and was %s", tag, d.Digest, was[tag])
		}
	}
	for name := range before { // for "2" and "one" are still there
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	// The other name of the image takes its old blobs along.
	mustMark(t, Ref{Path: dir, Tag: "one"}, Output{InPlace: true})
	is := files(t, dir)
	for _, h := range []v1.Hash{was["one"], manifestHash(t, one, 1)} {
		if _, ok := is[blobName(h)]; ok {
			t.Errorf("%s is still there", h)
		}
	}
	if _, ok := is[blobName(manifestHash(t, two, 0))]; !ok {
		t.Error("the layer that the others have is gone")
	}
	// A new image can have another tag.
	o := newOutput(t, Layout)
	o.Ref.Tag = "signed"
	mustMark(t, Ref{Path: dir, Tag: "2"}, o)
	var tags []string
	for _, d := range indexOf(t, o.Ref.Path).Manifests {
		tags = append(tags, d.Annotations[tagName])
	}
	if slices.Sort(tags); !slices.Equal(tags, []string{"1", "one", "signed"}) {
		t.Errorf("the tags are %q", tags)
	}
}

// manifestHash returns the digest of a layer of an image.
func manifestHash(t *testing.T, image v1.Image, layer int) v1.Hash {
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers[layer].Digest
}

// edit changes a document of a layout with one image, and all that names it.
func edit(t testing.TB, dir string, change func(config, manifest, index map[string]any)) {
	t.Helper()
	var docs [3]map[string]any
	read := func(i int, name string) {
		if err := json.Unmarshal(load(t, filepath.Join(dir, name)), &docs[i]); err != nil {
			t.Fatal(err)
		}
	}
	read(2, indexFile)
	m := indexOf(t, dir).Manifests[0].Digest
	read(1, blobName(m))
	read(0, blobName(manifestOf(t, dir, m).Config.Digest))
	change(docs[0], docs[1], docs[2])
	put := func(i int) (string, int) {
		b, err := json.Marshal(docs[i])
		if err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(dir, blobName(hashOf(b))), b)
		return hashOf(b).String(), len(b)
	}
	if c := docs[1]["config"].(map[string]any); c["keep"] == nil {
		c["digest"], c["size"] = put(0)
	}
	if d := docs[2]["manifests"].([]any)[0].(map[string]any); d["keep"] == nil {
		d["digest"], d["size"] = put(1)
	}
	b, err := json.Marshal(docs[2])
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, indexFile), b)
}

// TestMembers keeps members that nobody knows, renews those that say what has changed,
// and drops those that would be wrong.
func TestMembers(t *testing.T) {
	dir := layoutOf(t, map[string]v1.Image{"latest": imageOf(t, linux, layerOf(t, types.OCILayer, tarOf(t, plain("a", "1"))))})
	edit(t, dir, func(config, manifest, index map[string]any) {
		config["moby.buildkit.x"] = "kept <&>"
		manifest["x-manifest"] = []any{1, "kept"}
		index["x-index"] = "kept"
		l := manifest["layers"].([]any)[0].(map[string]any)
		l["annotations"] = map[string]any{
			"io.github.containers.zstd-chunked.manifest-checksum": "sha256:00", "containerd.io/snapshot/stargz/toc.digest": "sha256:00",
			"containerd.io/uncompressed": "sha256:00", "kept": "yes",
		}
		l["data"] = "AAAA"
		index["manifests"].([]any)[0].(map[string]any)["data"] = "AAAA"
	})
	o := newOutput(t, Layout)
	_, notes := mustMark(t, Ref{Path: dir}, o)
	if !notes.Has(reason.LayerTable) {
		t.Errorf("%+v", notes)
	}
	d := indexOf(t, o.Ref.Path).Manifests[0]
	raw := load(t, filepath.Join(o.Ref.Path, blobName(d.Digest)))
	if !bytes.Equal(d.Data, raw) {
		t.Errorf("the data of the manifest are %s", d.Data)
	}
	m := manifestOf(t, o.Ref.Path, d.Digest)
	config := load(t, filepath.Join(o.Ref.Path, blobName(m.Config.Digest)))
	var c v1.ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	for of, want := range map[string]string{
		string(config): `"moby.buildkit.x":"kept \u003c\u0026\u003e"`, string(raw): `"x-manifest":[1,"kept"]`,
		string(load(t, filepath.Join(o.Ref.Path, indexFile))): `"x-index":"kept"`,
	} {
		if !strings.Contains(of, want) {
			t.Errorf("%s has no %s", of, want)
		}
	}
	want := map[string]string{"containerd.io/uncompressed": c.RootFS.DiffIDs[0].String(), "kept": "yes"}
	if got := m.Layers[0]; !maps.Equal(got.Annotations, want) || got.Data != nil {
		t.Errorf("the layer is %+v", got)
	}
}

// TestFlat sees of layers what a machine would see.
func TestFlat(t *testing.T) {
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
	}
	image := imageOf(t, linux,
		layerOf(t, types.OCILayer, tarOf(t, plain("a", "1"), plain("gone", "1"), plain("d/x", "1"), plain("linked", "1"), plain("twice", "1"), plain("twice", "2"))),
		layerOf(t, types.OCILayer, tarOf(t, plain("a", "2"), plain(".wh.gone", ""), link("name", "linked"))),
		layerOf(t, types.OCILayer, tarOf(t, plain("d/.wh..wh..opq", ""), plain("d/y", ""), plain(".wh.linked", ""))))
	dir := layoutOf(t, map[string]v1.Image{"latest": image})
	want := []string{":a", ":d/y", ":name", ":twice"}
	if got := seen(t, Ref{Path: dir}); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestInterrupted ends in the middle of writing, and leaves nothing.
func TestInterrupted(t *testing.T) {
	treetest.Leaks(t)
	dir := nested(t)
	broken := errors.New("broken")
	for _, o := range []Output{newOutput(t, Layout), newOutput(t, Archive), {InPlace: true}} {
		before := files(t, dir)
		cfg := Config{}
		cfg.Jobs, cfg.TempDir = 1, t.TempDir()
		im, err := Open(t.Context(), Ref{Path: dir}, nil, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := im.NewSink(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = im.Walk(t.Context(), func(f tree.Found) error {
			if n++; n == 3 {
				return broken
			}
			if f.File == nil {
				return nil
			}
			return s.Apply(f.File, []tree.Change{{Attr: attr, New: []byte("x")}})
		})
		if err != broken {
			t.Error(err)
		}
		if err := s.Commit(t.Context()); err != ErrUnread {
			t.Error(err)
		}
		if notes := im.Notes(); !notes.Has(reason.NothingWritten) {
			t.Errorf("%+v", notes)
		}
		im.Close()
		if !maps.Equal(files(t, dir), before) {
			t.Error("the image has changed")
		}
		for _, place := range []string{filepath.Dir(o.Ref.Path), cfg.TempDir} {
			if left, err := os.ReadDir(place); o.Ref.Path != "" && (err != nil || len(left) > 0) {
				t.Errorf("%s is left, %v", left, err)
			}
		}
	}
}

// TestStdin unpacks an image that comes through a pipe, compressed.
func TestStdin(t *testing.T) {
	path := archived(t, nested(t))
	packed := pack(t, formats[types.OCILayerZStd], load(t, path))
	cfg := Config{}
	cfg.TempDir = t.TempDir()
	im, err := Open(t.Context(), Ref{Kind: Archive, Path: "-"}, bytes.NewReader(packed), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	o := newOutput(t, Archive)
	s, err := im.NewSink(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if err := im.Walk(t.Context(), func(f tree.Found) error { return f.Err }); err != nil {
		t.Error(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(unpacked(t, load(t, o.Ref.Path)), load(t, path)) {
		t.Error("another archive came out")
	}
}

func unpacked(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := compress.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBothManifests labels an archive that has manifest.json and index.json, as docker
// save writes it since version 25: by either name both are made anew, and agree.
func TestBothManifests(t *testing.T) {
	archive := tarOf(t, plain("a", "1"))
	image := imageOf(t, linux, layerOf(t, types.OCIUncompressedLayer, archive))
	dir := layoutOf(t, map[string]v1.Image{"latest": image})
	layer, config := blobName(hashOf(archive)), blobName(manifestOf(t, dir, indexOf(t, dir).Manifests[0].Digest).Config.Digest)
	save(t, filepath.Join(dir, dockerFile), []byte(`[{"Config":"`+config+`","RepoTags":["image:latest"],"Layers":["`+layer+`"],`+
		`"LayerSources":{"`+hashOf(archive).String()+`":{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":1,"digest":"sha256:00"}}}]`))
	path := archived(t, dir)
	var made []byte
	for _, kind := range []Kind{Docker, Archive} {
		o := newOutput(t, kind)
		visited, _ := mustMark(t, Ref{Kind: kind, Path: path}, o)
		if !slices.Equal(visited, []string{"a"}) {
			t.Errorf("visited %q", visited)
		}
		if made == nil {
			made = load(t, o.Ref.Path)
		}
		if !bytes.Equal(load(t, o.Ref.Path), made) {
			t.Error("by another name it is another archive")
		}
	}
	save(t, path, made)
	is := unarchived(t, path)
	checkBlobs(t, is)
	m := manifestOf(t, is, indexOf(t, is).Manifests[0].Digest)
	size, err := json.Marshal(m.Layers[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"Config":"` + blobName(m.Config.Digest) + `","RepoTags":["image:latest"],"Layers":["` + blobName(m.Layers[0].Digest) + `"],` +
		`"LayerSources":{"` + m.Layers[0].Digest.String() + `":{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":` + string(size) + `,"digest":"` +
		m.Layers[0].Digest.String() + `"}}}]`
	if got := string(load(t, filepath.Join(is, dockerFile))); got != want {
		t.Errorf("manifest.json is %s\nwant %s", got, want)
	}
	if n := len(files(t, is)); n != 3+3 {
		t.Errorf("there are %d files", n)
	}
	if got := seen(t, Ref{Kind: Docker, Path: path, Tag: "docker.io/library/image"}); !slices.Equal(got, []string{":a"}) {
		t.Errorf("%q", got)
	}
}
