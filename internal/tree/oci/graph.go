package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"imaseal/internal/tree/oci/document"
)

// Names in an image layout (image-layout.md of the OCI image specification, 1.1)
// and in an archive of docker save.
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobDir    = "blobs"
	dockerFile = "manifest.json"
	// tagName is the annotation of a descriptor in index.json that has its tag.
	tagName = "org.opencontainers.image.ref.name"
)

const (
	// maxDocument is how large a document may be: registries take manifests of
	// 4 MiB.
	maxDocument = 4 << 20
	// maxDocuments and maxLayers bound what is known of all images at once.
	maxDocuments = 4096
	maxLayers    = 1024 // of an image
	// maxNested is how deep indexes may lie in each other.
	maxNested = 8
)

// A docKind says what a document is.
type docKind uint8

const (
	isOther docKind = iota // of a type that is not known, or a manifest of no image: it stays as it is
	isIndex
	isImage
)

// A doc is an index or a manifest, or a blob that is none.
type doc struct {
	kind    docKind
	file    string // in the store
	blob    string // for messages
	entries []ref  // of an index
	// Of an image:
	platform string
	config   config
	layers   []*layer // nil for those that are no file systems
	names    []string // of an image of docker save: the paths of its layers
	refs     []string // files of another manifest
	depth    int
	renewed  *renewed // what it becomes; nil for what it is
}

// A ref is a descriptor of an index.
type ref struct {
	v1.Descriptor
	doc *doc
}

// A config is the configuration of an image.
type config struct {
	file    string
	name    string // in an archive of docker save
	digest  string // empty there
	size    int64
	diffIDs []v1.Hash
	renewed *renewed
}

// A layer is one of an image, or of several.
type layer struct {
	file   string
	blob   string // for messages
	short  string // likewise
	digest v1.Hash
	size   int64 // -1 if nothing says it
	diffID v1.Hash

	checked bool
	renewed *renewed
}

// A renewed is what takes the place of a blob.
type renewed struct {
	digest v1.Hash
	size   int64
	diffID v1.Hash // of a layer
	file   string  // its name in the store
	raw    []byte  // of a document
	blob   blob    // of a layer
}

// A graph is what the documents of a store say.
type graph struct {
	image  string // the path, for messages
	store  store
	index  *doc   // of index.json; nil for none
	docker []*doc // of manifest.json
	tags   [][]string
	rawDkr []byte // manifest.json

	docs   map[string]*doc // by file
	layers map[string]*layer
	chosen []*doc       // images, in the order of the documents
	picked map[int]bool // descriptors of the index that are chosen
	pickDk map[int]bool // images of manifest.json that are
}

func (g *graph) blobError(what, blob string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrMissing
	}
	return &BlobError{g.image, what, blob, err}
}

// blobName returns the name of the file that a blob lies in.
func blobName(h v1.Hash) string { return path.Join(blobDir, h.Algorithm, h.Hex) }

// isBlobName reports whether a file may be a blob.
func isBlobName(name string) bool {
	algorithm, hexed, _ := strings.Cut(strings.TrimPrefix(name, blobDir+"/"), "/")
	_, err := v1.NewHash(algorithm + ":" + hexed)
	return err == nil
}

// read reads a small file, and checks what is said of it, if that is known.
func (g *graph) read(file string, h v1.Hash, size int64) ([]byte, error) {
	p, err := g.store.open(file)
	if err != nil {
		return nil, err
	}
	defer p.close()
	switch {
	case h != (v1.Hash{}) && p.size != size:
		return nil, &SizeError{Says: size, Is: p.size}
	case p.size > maxDocument:
		return nil, &LimitError{"bytes of a document", p.size, maxDocument}
	}
	raw := make([]byte, p.size)
	if _, err := io.ReadFull(p.reader(), raw); err != nil {
		return nil, err
	}
	if h == (v1.Hash{}) {
		return raw, nil
	}
	hasher, err := v1.Hasher(h.Algorithm)
	if err != nil {
		return nil, err
	}
	hasher.Write(raw)
	if is := (v1.Hash{Algorithm: h.Algorithm, Hex: hex.EncodeToString(hasher.Sum(nil))}); is != h {
		return nil, &DigestError{Says: h.String(), Is: is.String()}
	}
	return raw, nil
}

// hashOf returns the digest of bytes that are made here.
func hashOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// decode reads a document into what is known of its form. Who changes it later finds
// the same there, or an error.
func decode(raw []byte, into any) error {
	if _, err := document.Parse(raw); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// load reads the documents from index.json and manifest.json on.
func (g *graph) load(ctx context.Context) error {
	g.docs, g.layers = make(map[string]*doc), make(map[string]*layer)
	raw, err := g.read(indexFile, v1.Hash{}, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return g.blobError("file", indexFile, err)
	default:
		g.index = &doc{kind: isIndex, file: indexFile, blob: indexFile}
		if err := g.readIndex(ctx, g.index, raw, types.OCIImageIndex); err != nil {
			return err
		}
	}
	g.rawDkr, err = g.read(dockerFile, v1.Hash{}, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return g.blobError("file", dockerFile, err)
	}
	return g.readDocker(ctx)
}

// readIndex reads an index, and what it names.
func (g *graph) readIndex(ctx context.Context, d *doc, raw []byte, of types.MediaType) error {
	var m struct {
		v1.IndexManifest
		Layers []json.RawMessage `json:"layers"`
	}
	err := decode(raw, &m)
	switch {
	case err != nil:
		return g.blobError("index", d.blob, err)
	case m.MediaType != "" && m.MediaType != of, m.Layers != nil:
		return g.blobError("index", d.blob, &TypeError{Says: string(of), Is: string(m.MediaType)})
	case d.depth > maxNested:
		return g.blobError("index", d.blob, &LimitError{"indexes in indexes", int64(d.depth), maxNested})
	}
	for _, desc := range m.Manifests {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		child, err := g.readRef(ctx, desc, d.depth+1)
		if err != nil {
			return err
		}
		d.entries = append(d.entries, ref{desc, child})
	}
	return nil
}

// readRef reads what a descriptor of an index names, once.
func (g *graph) readRef(ctx context.Context, desc v1.Descriptor, depth int) (*doc, error) {
	file, blob := blobName(desc.Digest), desc.Digest.String()
	if d, ok := g.docs[file]; ok {
		return d, nil
	}
	if len(g.docs) == maxDocuments {
		return nil, g.blobError("manifest", blob, &LimitError{"manifests and indexes of images", maxDocuments + 1, maxDocuments})
	}
	d := &doc{file: file, blob: blob, depth: depth}
	g.docs[file] = d
	switch {
	case desc.MediaType.IsIndex():
		d.kind = isIndex
		raw, err := g.read(file, desc.Digest, desc.Size)
		if err != nil {
			return nil, g.blobError("index", blob, err)
		}
		return d, g.readIndex(ctx, d, raw, desc.MediaType)
	case desc.MediaType.IsImage():
		raw, err := g.read(file, desc.Digest, desc.Size)
		if err != nil {
			return nil, g.blobError("manifest", blob, err)
		}
		return d, g.readManifest(d, raw, desc)
	}
	d.refs = []string{file}
	return d, nil
}

// readManifest reads a manifest, be it that of an image or another.
func (g *graph) readManifest(d *doc, raw []byte, desc v1.Descriptor) error {
	var m struct {
		v1.Manifest
		Manifests []json.RawMessage `json:"manifests"`
	}
	err := decode(raw, &m)
	switch {
	case err != nil:
		return g.blobError("manifest", d.blob, err)
	case m.MediaType != "" && m.MediaType != desc.MediaType, m.Manifests != nil:
		return g.blobError("manifest", d.blob, &TypeError{Says: string(desc.MediaType), Is: string(m.MediaType)})
	case len(m.Layers) > maxLayers:
		return g.blobError("manifest", d.blob, &LimitError{"layers of an image", int64(len(m.Layers)), maxLayers})
	}
	if !m.Config.MediaType.IsConfig() || !slices.ContainsFunc(m.Layers, isLayer) {
		d.refs = append(d.refs, d.file, blobName(m.Config.Digest))
		for _, l := range m.Layers {
			d.refs = append(d.refs, blobName(l.Digest))
		}
		return nil
	}
	d.kind = isImage
	d.config = config{file: blobName(m.Config.Digest), digest: m.Config.Digest.String(), size: m.Config.Size}
	rawConfig, err := g.read(d.config.file, m.Config.Digest, m.Config.Size)
	if err != nil {
		return g.blobError("configuration", d.config.digest, err)
	}
	if err := g.readConfig(d, rawConfig, d.config.digest, len(m.Layers)); err != nil {
		return err
	}
	if desc.Platform != nil {
		d.platform = desc.Platform.String()
	}
	for i, l := range m.Layers {
		found, err := g.readLayer(l, d.config.diffIDs[i])
		if err != nil {
			return err
		}
		if d.layers = append(d.layers, found); found == nil {
			d.refs = append(d.refs, blobName(l.Digest))
		}
	}
	return nil
}

// isLayer reports whether a descriptor is that of a file system, as far as one can
// tell.
func isLayer(l v1.Descriptor) bool { return l.MediaType.IsLayer() || isEncrypted(l.MediaType) }

func isEncrypted(m types.MediaType) bool { return strings.HasSuffix(string(m), "+encrypted") }

func (g *graph) readConfig(d *doc, raw []byte, blob string, layers int) error {
	var c struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
		RootFS       struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := decode(raw, &c); err != nil {
		return g.blobError("configuration", blob, err)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return g.blobError("manifest", d.blob, &CountError{layers, len(c.RootFS.DiffIDs)})
	}
	d.config.diffIDs = c.RootFS.DiffIDs
	d.platform = v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}.String()
	return nil
}

// readLayer returns a layer, nil for one that is no file system.
func (g *graph) readLayer(l v1.Descriptor, diffID v1.Hash) (*layer, error) {
	blob := l.Digest.String()
	switch {
	case isEncrypted(l.MediaType):
		return nil, g.blobError("layer", blob, ErrEncrypted)
	case !l.MediaType.IsLayer():
		return nil, nil
	case len(l.URLs) > 0:
		return nil, g.blobError("layer", blob, &ForeignError{l.URLs[0]})
	}
	return g.addLayer(layer{file: blobName(l.Digest), blob: blob, digest: l.Digest, size: l.Size, diffID: diffID})
}

// addLayer returns the layer of a file, which several images may have.
func (g *graph) addLayer(l layer) (*layer, error) {
	had, ok := g.layers[l.file]
	if !ok {
		l.short = l.diffID.Hex[:12]
		if l.digest != (v1.Hash{}) {
			l.short = l.digest.Hex[:12]
		}
		g.layers[l.file] = &l
		return &l, nil
	}
	if had.diffID != l.diffID {
		return nil, g.blobError("layer", l.blob, &DigestError{Says: had.diffID.String(), Is: l.diffID.String(), Unpacked: true})
	}
	if had.digest == (v1.Hash{}) {
		had.digest, had.size = l.digest, l.size
	}
	return had, nil
}
