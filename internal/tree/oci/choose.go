package oci

import (
	"slices"
	"strings"
)

// choose picks the images that a tag names, or, without one, all of them, if they
// are one image: of several platforms, perhaps.
func (g *graph) choose(kind Kind, tag string) error {
	g.picked, g.pickDk = make(map[int]bool), make(map[int]bool)
	var err error
	if kind == Docker {
		if g.docker == nil {
			return &ImageError{g.image, ErrNoDocker}
		}
		err = g.chooseDocker(tag)
	} else {
		if g.index == nil {
			return &ImageError{g.image, ErrNoLayout}
		}
		err = g.chooseIndex(tag)
	}
	if err != nil {
		return &ImageError{g.image, err}
	}
	// An archive may have both manifests, of the same images.
	for i, d := range g.docker {
		if kind != Docker && g.hasChosen(d.config.file) {
			g.pickDk[i] = true
			g.chosen = append(g.chosen, d)
		}
	}
	if kind == Docker && g.index != nil {
		for i, r := range g.index.entries {
			if slices.ContainsFunc(images(r.doc), func(d *doc) bool { return g.hasChosen(d.config.file) }) {
				g.picked[i] = true
				g.pick(r.doc)
			}
		}
	}
	return nil
}

// hasChosen reports whether the image of a configuration is chosen.
func (g *graph) hasChosen(config string) bool {
	return slices.ContainsFunc(g.chosen, func(d *doc) bool { return d.config.file == config })
}

// pick adds images that are not chosen yet.
func (g *graph) pick(d *doc) {
	for _, image := range images(d) {
		if !slices.Contains(g.chosen, image) {
			g.chosen = append(g.chosen, image)
		}
	}
}

// images returns the images that a document is, or names.
func images(d *doc) []*doc {
	var all []*doc
	seen := make(map[*doc]bool)
	var add func(*doc)
	add = func(d *doc) {
		if seen[d] {
			return
		}
		seen[d] = true
		if d.kind == isImage {
			all = append(all, d)
		}
		for _, e := range d.entries {
			add(e.doc)
		}
	}
	add(d)
	return all
}

func (g *graph) chooseIndex(tag string) error {
	var tags []string
	named := make(map[*doc]bool) // what the tag names
	groups := make(map[string]bool)
	for i, r := range g.index.entries {
		if len(images(r.doc)) == 0 {
			continue
		}
		name := r.Annotations[tagName]
		if name != "" && !slices.Contains(tags, name) {
			tags = append(tags, name)
		}
		if tag != "" && name != tag {
			continue
		}
		g.picked[i] = true
		if !named[r.doc] { // else it is another name of the same
			groups[name] = true
		}
		named[r.doc] = true
		g.pick(r.doc)
	}
	slices.Sort(tags)
	switch {
	case tag != "" && len(named) == 0:
		return &TagError{Tag: tag, Tags: tags}
	case tag != "" && len(named) > 1:
		return &TagError{Tag: tag, Many: true, Tags: tags}
	case len(groups) > 1:
		return &TagError{Tags: tags}
	case len(g.chosen) == 0:
		return ErrNoImage
	}
	if tag == "" { // what is no image comes along
		for i := range g.index.entries {
			g.picked[i] = true
		}
	}
	return nil
}

func (g *graph) chooseDocker(tag string) error {
	var tags []string
	configs := make(map[string]bool)
	for i, d := range g.docker {
		has := tag == ""
		for _, t := range g.tags[i] {
			tags = append(tags, t)
			has = has || familiar(t) == familiar(tag)
		}
		if has {
			g.pickDk[i] = true
			g.chosen = append(g.chosen, d)
			configs[d.config.file] = true
		}
	}
	slices.Sort(tags)
	switch {
	case len(g.docker) == 0:
		return ErrNoImage
	case len(configs) == 0:
		return &TagError{Tag: tag, Tags: tags}
	case len(configs) > 1:
		return &TagError{Tag: tag, Many: tag != "", Tags: tags}
	}
	return nil
}

// familiar returns a name of an image as people write it, with the tag: some
// programs write more of it than others.
func familiar(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
	if !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		name += ":latest"
	}
	return name
}
