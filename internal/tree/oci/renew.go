package oci

import (
	"encoding/base64"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"imaseal/internal/tree/oci/document"
)

// stale are prefixes of annotations of a layer that describe its very bytes: tables of
// contents for those who fetch parts of it (eStargz, zstd:chunked). They go with these
// bytes, or who trusts them would unpack files that are not there.
var stale = []string{"containerd.io/snapshot/stargz/", "io.containers.estargz.", "io.github.containers.zstd-chunked."}

// unpackedName is the annotation of a layer that has its digest unpacked.
const unpackedName = "containerd.io/uncompressed"

// A renewal makes documents anew that name what has changed, from below.
type renewal struct {
	g      *graph
	parts  map[string][]*renewed // what takes the place of a file
	tables int                   // layers that lose a table of contents
}

// renew makes anew what names a layer that has changed. It returns nil if none has.
func (g *graph) renew() (*renewal, error) {
	r := &renewal{g: g, parts: make(map[string][]*renewed)}
	for _, l := range g.layers {
		if l.renewed != nil {
			r.parts[l.file] = append(r.parts[l.file], l.renewed)
		}
	}
	if len(r.parts) == 0 {
		return nil, nil
	}
	for _, d := range g.chosen {
		if err := r.image(d); err != nil {
			return nil, err
		}
	}
	if g.index != nil {
		if err := r.index(g.index, func(i int) bool { return g.picked[i] }); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add adds a document in the place of another one.
func (r *renewal) add(old string, raw []byte, file string) *renewed {
	n := &renewed{digest: hashOf(raw), size: int64(len(raw)), raw: raw, file: file}
	if file == "" {
		n.file = blobName(n.digest)
	}
	r.parts[old] = append(r.parts[old], n)
	return n
}

// parse reads a document again.
func (r *renewal) parse(what, file, blob string) (*document.Document, error) {
	raw, err := r.g.read(file, v1.Hash{}, 0)
	if err == nil {
		var d *document.Document
		if d, err = document.Parse(raw); err == nil {
			return d, nil
		}
	}
	return nil, r.g.blobError(what, blob, err)
}

// image makes the configuration and the manifest of an image anew.
func (r *renewal) image(d *doc) error {
	c, err := r.parse("configuration", d.config.file, d.blob)
	if err != nil {
		return err
	}
	changed := false
	for i, l := range d.layers {
		if l == nil || l.renewed == nil {
			continue
		}
		changed = true
		if err := c.Replace(l.diffID.String(), l.renewed.diffID.String(), "rootfs", "diff_ids", i); err != nil {
			return r.g.blobError("configuration", d.blob, err)
		}
	}
	if !changed {
		return nil
	}
	raw := c.Bytes()
	file := ""
	if !isBlobName(d.config.file) {
		file = newName(d.config.file, r.g.configHex(d), hashOf(raw).Hex)
	}
	d.config.renewed = r.add(d.config.file, raw, file)
	if d.names != nil { // manifest.json is made when all is
		return nil
	}
	m, err := r.parse("manifest", d.file, d.blob)
	if err != nil {
		return err
	}
	if err := r.manifest(m, d); err != nil {
		return r.g.blobError("manifest", d.blob, err)
	}
	d.renewed = r.add(d.file, m.Bytes(), "")
	return nil
}

// configHex returns the digest of the configuration of an image of docker save, which
// its name may have.
func (g *graph) configHex(d *doc) string {
	raw, err := g.read(d.config.file, v1.Hash{}, 0)
	if err != nil {
		return ""
	}
	return hashOf(raw).Hex
}

func (r *renewal) manifest(m *document.Document, d *doc) error {
	if err := replace(m, d.config.digest, d.config.size, d.config.renewed, "config"); err != nil {
		return err
	}
	for i, l := range d.layers {
		if l == nil || l.renewed == nil {
			continue
		}
		if err := replace(m, l.digest.String(), l.size, l.renewed, "layers", i); err != nil {
			return err
		}
		if m.Has("layers", i, "annotations", unpackedName) {
			if err := m.Put(l.renewed.diffID.String(), "layers", i, "annotations", unpackedName); err != nil {
				return err
			}
		}
		hadTable := false
		for _, name := range m.Names("layers", i, "annotations") {
			for _, prefix := range stale {
				if strings.HasPrefix(name, prefix) {
					m.Remove("layers", i, "annotations", name)
					hadTable = true
				}
			}
		}
		if hadTable {
			r.tables++
		}
	}
	return nil
}

// replace changes a descriptor.
func replace(m *document.Document, digest string, size int64, n *renewed, at ...any) error {
	if err := m.Replace(digest, n.digest.String(), append(at, "digest")...); err != nil {
		return err
	}
	if err := m.Replace(size, n.size, append(at, "size")...); err != nil {
		return err
	}
	switch data := append(at, "data"); {
	case !m.Has(data...):
	case n.raw == nil:
		m.Remove(data...)
	default:
		return m.Put(base64.StdEncoding.EncodeToString(n.raw), data...)
	}
	return nil
}

// index makes an index anew, of which picked says what entries may change.
func (r *renewal) index(d *doc, picked func(i int) bool) error {
	changed := false
	for i, e := range d.entries {
		if !picked(i) {
			continue
		}
		if e.doc.kind == isIndex && e.doc.renewed == nil {
			if err := r.index(e.doc, func(int) bool { return true }); err != nil {
				return err
			}
		}
		changed = changed || e.doc.renewed != nil
	}
	if !changed {
		return nil
	}
	m, err := r.parse("index", d.file, d.blob)
	if err != nil {
		return err
	}
	for i, e := range d.entries {
		if !picked(i) || e.doc.renewed == nil {
			continue
		}
		if err := replace(m, e.Digest.String(), e.Size, e.doc.renewed, "manifests", i); err != nil {
			return r.g.blobError("index", d.blob, err)
		}
	}
	if d == r.g.index {
		d.renewed = r.add(d.file, m.Bytes(), d.file)
	} else {
		d.renewed = r.add(d.file, m.Bytes(), "")
	}
	return nil
}

// newName returns the name of a file that is not that of a blob, and may have a digest
// in it all the same.
func newName(name, old, new string) string {
	if old == "" {
		return name
	}
	dir, base := path.Split(name)
	return dir + strings.Replace(base, old, new, 1)
}

// moved returns where a file of the old store lies in the new one, if it lies elsewhere.
func (r *renewal) moved(file string) (string, bool) {
	if n := r.parts[file]; len(n) > 0 && n[0].file != file {
		return n[0].file, true
	}
	return "", false
}

// docker makes manifest.json anew.
func (r *renewal) docker() error {
	if len(r.g.pickDk) == 0 {
		return nil
	}
	m, err := document.Parse(r.g.rawDkr)
	if err != nil {
		return r.g.blobError("file", dockerFile, err)
	}
	for i, d := range r.g.docker {
		if !r.g.pickDk[i] || d.config.renewed == nil {
			continue
		}
		if err := r.dockerImage(m, i, d); err != nil {
			return r.g.blobError("file", dockerFile, err)
		}
	}
	r.add(dockerFile, m.Bytes(), dockerFile)
	return nil
}

func (r *renewal) dockerImage(m *document.Document, i int, d *doc) error {
	// What is named by a link keeps that name.
	if clean(d.config.name) == d.config.file {
		if err := m.Replace(d.config.name, d.config.renewed.file, i, "Config"); err != nil {
			return err
		}
	}
	for j, l := range d.layers {
		if l.renewed == nil {
			continue
		}
		if clean(d.names[j]) == l.file {
			if err := m.Replace(d.names[j], l.renewed.file, i, "Layers", j); err != nil {
				return err
			}
		}
		old := l.diffID.String()
		if m.Has(i, "LayerSources", old) {
			if err := m.Put(l.renewed.digest.String(), i, "LayerSources", old, "digest"); err != nil {
				return err
			}
			if err := m.Put(l.renewed.size, i, "LayerSources", old, "size"); err != nil {
				return err
			}
			m.Rename(l.renewed.diffID.String(), i, "LayerSources", old)
		}
	}
	return nil
}

// live returns the files that the documents name once they are made anew.
func (r *renewal) live() map[string]bool {
	files := make(map[string]bool)
	seen := make(map[*doc]bool)
	var old func(d *doc)
	old = func(d *doc) {
		if seen[d] {
			return
		}
		seen[d] = true
		files[d.file], files[d.config.file] = true, true
		for _, f := range d.refs {
			files[f] = true
		}
		for _, l := range d.layers {
			if l != nil {
				files[l.file] = true
			}
		}
		for _, e := range d.entries {
			old(e.doc)
		}
	}
	var new func(d *doc, picked func(int) bool)
	new = func(d *doc, picked func(int) bool) {
		if d.kind != isIndex || d.renewed == nil {
			r.liveImage(files, d, old)
			return
		}
		for i, e := range d.entries {
			if picked(i) {
				new(e.doc, func(int) bool { return true })
			} else {
				old(e.doc)
			}
		}
	}
	if r.g.index != nil {
		new(r.g.index, func(i int) bool { return r.g.picked[i] })
	}
	for i, d := range r.g.docker {
		if r.g.pickDk[i] {
			r.liveImage(files, d, old)
		} else {
			old(d)
		}
	}
	return files
}

// liveImage adds the files of an image that may be made anew.
func (r *renewal) liveImage(files map[string]bool, d *doc, old func(*doc)) {
	if d.config.renewed == nil {
		old(d)
		return
	}
	for _, f := range d.refs {
		files[f] = true
	}
	for _, l := range d.layers {
		if l != nil && l.renewed == nil {
			files[l.file] = true
		}
	}
}

// retag gives the image that is chosen a tag.
func (g *graph) retag(r *renewal, tag string) (*renewal, error) {
	for i, e := range g.index.entries {
		if !g.picked[i] || len(images(e.doc)) == 0 || e.Annotations[tagName] == tag {
			continue
		}
		if r == nil {
			r = &renewal{g: g, parts: make(map[string][]*renewed)}
		}
		raw, err := g.read(indexFile, v1.Hash{}, 0)
		if err != nil {
			return nil, g.blobError("file", indexFile, err)
		}
		if g.index.renewed != nil {
			raw = g.index.renewed.raw
		}
		d, err := document.Parse(raw)
		if err == nil && d.Has("manifests", i, "annotations") {
			err = d.Put(tag, "manifests", i, "annotations", tagName)
		} else if err == nil {
			err = d.Put(map[string]string{tagName: tag}, "manifests", i, "annotations")
		}
		if err != nil {
			return nil, g.blobError("file", indexFile, err)
		}
		r.parts[indexFile] = nil
		g.index.renewed = r.add(indexFile, d.Bytes(), indexFile)
	}
	return r, nil
}
