package oci

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// readDocker reads the manifest of docker save.
func (g *graph) readDocker(ctx context.Context) error {
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := decode(g.rawDkr, &images); err != nil {
		return g.blobError("file", dockerFile, err)
	}
	if len(images) > maxDocuments {
		return g.blobError("file", dockerFile, &LimitError{"images", int64(len(images)), maxDocuments})
	}
	for i, m := range images {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(m.Layers) > maxLayers {
			return g.blobError("file", dockerFile, &LimitError{"layers of an image", int64(len(m.Layers)), maxLayers})
		}
		d := &doc{kind: isImage, file: fmt.Sprintf("%s[%d]", dockerFile, i), blob: fmt.Sprintf("%s[%d]", dockerFile, i), names: m.Layers}
		d.config.file, d.config.name = g.store.resolve(clean(m.Config)), m.Config
		raw, err := g.read(d.config.file, v1.Hash{}, 0)
		if err != nil {
			return g.blobError("configuration", m.Config, err)
		}
		if err := g.readConfig(d, raw, m.Config, len(m.Layers)); err != nil {
			return err
		}
		for j, name := range m.Layers {
			l, err := g.addLayer(layer{file: g.store.resolve(clean(name)), blob: name, size: -1, diffID: d.config.diffIDs[j]})
			if err != nil {
				return err
			}
			d.layers = append(d.layers, l)
		}
		g.docker = append(g.docker, d)
		g.tags = append(g.tags, m.RepoTags)
	}
	return nil
}
