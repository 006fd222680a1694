package oci

import (
	"context"
	"fmt"

	"imaseal/internal/tarfile"
	"imaseal/internal/tree"
	"imaseal/internal/tree/oci/flat"
	"imaseal/internal/tree/tarball"
)

// walkFlat walks what is there of each image when it is unpacked.
func (im *Image) walkFlat(ctx context.Context, visit func(tree.Found) error) error {
	var all []*doc
	seen := make(map[string]bool)
	for _, d := range im.graph.chosen {
		if !seen[d.config.file] { // else it is the same, in an archive with two manifests
			all = append(all, d)
		}
		seen[d.config.file] = true
	}
	for _, d := range all {
		there, err := im.flatten(ctx, d)
		if err != nil {
			return err
		}
		name := im.ref.Path
		if len(all) > 1 {
			name += "[" + d.platform + "]"
		}
		if err := im.walkImage(ctx, d, there, name, visit); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) walkImage(ctx context.Context, d *doc, there *flat.Tree, name string, visit func(tree.Found) error) error {
	for i, l := range d.layers {
		if l == nil {
			continue
		}
		cfg := im.layerConfig()
		cfg.At = func(number int, rel string) (string, bool) { return there.At(i, number, rel) }
		if err := im.walkLayer(ctx, l, name, cfg, visit); err != nil {
			return err
		}
	}
	return nil
}

// kinds of entries, as package flat knows them.
var kinds = map[tarfile.Kind]flat.Kind{
	tarfile.File: flat.File, tarfile.HardLink: flat.HardLink, tarfile.Symlink: flat.Symlink,
	tarfile.Directory: flat.Directory, tarfile.Special: flat.Special, tarfile.Unknown: flat.Special,
}

// flatten finds out what is there of an image when it is unpacked.
func (im *Image) flatten(ctx context.Context, d *doc) (*flat.Tree, error) {
	t := flat.New()
	defer t.Close()
	for _, l := range d.layers {
		if err := t.Next(); err != nil {
			return nil, im.graph.blobError("manifest", d.blob, err)
		}
		if l == nil {
			continue
		}
		err := im.withLayer(l, im.nameOf(l), tarball.Config{TempDir: im.cfg.TempDir}, func(a *tarball.Archive, _ *part) error {
			return a.Each(ctx, func(number int, e *tarfile.Entry) error {
				kind, ok := kinds[e.Kind]
				if !ok || e.AfterEnd {
					return nil
				}
				if err := t.Add(number, kind, e.Name, e.Link); err != nil {
					return fmt.Errorf("entry %d: %w", number, err)
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	t.Done()
	return t, nil
}
