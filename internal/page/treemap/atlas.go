package treemap

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"imaseal/internal/page/words"
)

const (
	// drawnItems are the most places in one directory; the smallest of more are one.
	drawnItems = 48
	// drawnLevels are how far down a map shows directories in one another.
	drawnLevels = 3
	// glyph, line and header are about what a letter and a line of a label take, and
	// what the label of a directory takes whose contents are drawn.
	glyph, line, header = 7.8, 17.0, 24.0
	// openW and openH are how large a directory has to be so that its contents are
	// drawn.
	openW, openH = 120.0, 90.0
)

// An Atlas is what the page shows of a forest: a map of each directory with others
// below it, the first of all of them.
type Atlas struct {
	Maps   []*Place
	Merged bool // some directories are counted with the ones above them
}

// A Place is a directory, or what is in one of them besides others.
type Place struct {
	Name   string
	ID     string // of its own map, "" for none
	Crumbs []*Place
	Count  Count
	Items  []*Place // in it, the largest first
}

// New makes maps of a forest, which it shrinks.
func New(f *Forest) Atlas {
	f.shrink(drawnNodes)
	var a Atlas
	top, name := skip(&f.root, "")
	a.add(top, cmp.Or(name, "all files"), nil)
	if len(a.Maps) == 0 { // there is one directory
		top := &Place{Name: words.Shown(cmp.Or(name, "all files")), ID: "map0", Count: f.root.total()}
		top.Items = []*Place{{Name: "files in it", Count: top.Count}}
		a.Maps = append(a.Maps, top)
	}
	return a
}

// skip goes down while there is one directory and no file besides.
func skip(d *directory, name string) (*directory, string) {
	for len(d.below) == 1 && d.own.Files() == 0 {
		for below, c := range d.below {
			d, name = c, join(name, below)
		}
	}
	return d, name
}

func join(dir, name string) string {
	if dir == "" || dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

// add adds a directory, with the maps of it and of those below it.
func (a *Atlas) add(d *directory, name string, crumbs []*Place) *Place {
	p := &Place{Name: words.Shown(name), Crumbs: crumbs, Count: d.total()}
	a.Merged = a.Merged || d.merged
	if len(d.below) == 0 {
		return p
	}
	p.ID = fmt.Sprintf("map%d", len(a.Maps))
	a.Maps = append(a.Maps, p)
	crumbs = append(slices.Clone(crumbs), p)
	for _, below := range slices.Sorted(maps.Keys(d.below)) {
		to, name := skip(d.below[below], below)
		p.Items = append(p.Items, a.add(to, name, crumbs))
	}
	if d.own.Files() > 0 {
		name := "files in it"
		if d.merged {
			name = "files in it and in small directories"
		}
		p.Items = append(p.Items, &Place{Name: name, Count: d.own})
	}
	slices.SortStableFunc(p.Items, func(x, y *Place) int { return cmp.Compare(y.Count.Files(), x.Count.Files()) })
	p.Items = fewer(p.Items)
	return p
}

// fewer makes one of the smallest items, unless something is wrong in them or they have
// maps of their own, which are not to be out of reach.
func fewer(items []*Place) []*Place {
	if len(items) <= drawnItems {
		return items
	}
	n, rest := 0, new(Place)
	kept := items[:drawnItems:drawnItems]
	for _, i := range items[drawnItems:] {
		if i.ID != "" || i.Count.Worst() != Allowed {
			kept = append(kept, i)
			continue
		}
		n++
		rest.Count.add(i.Count)
	}
	if n == 0 {
		return kept
	}
	rest.Name = fmt.Sprintf("%s more directories", words.Number(n))
	kept = append(kept, rest)
	slices.SortStableFunc(kept, func(x, y *Place) int { return cmp.Compare(y.Count.Files(), x.Count.Files()) })
	return kept
}

// A Layout is a drawing of a map for a size in pixels. Across, it stretches to others.
type Layout struct {
	Name          string
	Width, Height float64
}

// Layouts are for a desk and for a telephone. The style sheet has their heights.
var Layouts = []Layout{{"wide", 1080, 520}, {"tall", 340, 560}}

// A Cell is a Place as it is drawn.
type Cell struct {
	Box
	*Place
	Parts []part // nil where there are cells in it
	Inner *Box   // where these are
	Cells []Cell
	Lines []string // of its label
}

// A part of a cell has files of one verdict.
type part struct {
	Box
	Verdict Verdict
}

// Cells draws what is in a place.
func (l Layout) Cells(p *Place) []Cell { return cells(p.Items, l.Width, l.Height, drawnLevels) }

// cells lays items out in an area of a size in pixels.
func cells(items []*Place, width, height float64, levels int) []Cell {
	if width <= 0 || height <= 0 {
		return nil
	}
	sizes := make([]int, len(items))
	for i, it := range items {
		sizes[i] = it.Count.Files()
	}
	var all []Cell
	for i, b := range squarify(sizes, width/height) {
		c := Cell{Box: b, Place: items[i]}
		w, h := b.W*width/100, b.H*height/100
		if levels > 1 && len(c.Items) > 0 && w >= openW && h >= openH {
			const margin = 3
			in := Box{100 * margin / w, 100 * header / h, 100 * (w - 2*margin) / w, 100 * (h - header - margin) / h}
			c.Inner, c.Lines = &in, []string{heading(c.Place, w)}
			c.Cells = cells(c.Items, w-2*margin, h-header-margin, levels-1)
		} else {
			c.Parts, c.Lines = parts(c.Count, w > h), label(c.Place, w, h)
		}
		all = append(all, c)
	}
	return all
}

// parts divides a cell by verdict, along its longer side.
func parts(of Count, across bool) []part {
	var all []part
	at := 0.0
	for v := Allowed; v < verdicts; v++ {
		if of[v] == 0 {
			continue
		}
		share := 100 * float64(of[v]) / float64(of.Files())
		b := Box{0, at, 100, share}
		if across {
			b = Box{at, 0, share, 100}
		}
		all = append(all, part{b, v})
		at += share
	}
	return all
}

// heading is the label of a place whose contents are drawn.
func heading(p *Place, w float64) string {
	letters := max(3, int((w-14)/glyph))
	text := p.Name + " – " + p.about()
	if utf8.RuneCountInString(text) > letters {
		text = p.Name
	}
	return words.Cut(text, letters)
}

// label is what fits in a cell of a size in pixels.
func label(p *Place, w, h float64) []string {
	letters := int((w - 12) / glyph)
	if letters < 3 || h < line+6 {
		return nil
	}
	lines := []string{words.Cut(p.Name, letters)}
	if about := p.about(); h >= 2*line+8 && letters >= utf8.RuneCountInString(about) {
		lines = append(lines, about)
	}
	return lines
}

// about says how many files are not allowed, or that all are.
func (p *Place) about() string {
	var parts []string
	for v := Denied; v > Allowed; v-- {
		if n := p.Count[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", words.Number(n), v))
		}
	}
	if parts == nil {
		return words.Plural(p.Count.Files(), "file")
	}
	return strings.Join(parts, ", ")
}

// Words are what a pointer or a screen reader is told of a place.
func (p *Place) Words() string {
	text := p.Name + ": " + words.Plural(p.Count.Files(), "file")
	if p.Count.Worst() != Allowed {
		text += ", " + p.about()
	}
	return text
}
