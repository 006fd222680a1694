package denials

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"
)

// Report returns what was collected so far.
func (c *Collector) Report() Report {
	r := c.report
	r.Piece = time.Duration(c.pieces.seconds) * time.Second
	for k, g := range c.groups {
		r.Groups = append(r.Groups, c.told(k, g))
	}
	for k, g := range c.rest {
		told := c.told(k, g)
		told.Rest = true
		r.Groups = append(r.Groups, told)
	}
	slices.SortFunc(r.Groups, compareGroups)
	return r
}

// told returns a group as it is told.
func (c *Collector) told(k key, g *group) Group {
	told := Group{
		Node: k.node, Kind: k.kind, Mode: k.mode, Op: k.op, Cause: k.cause, Program: k.program, Directory: k.directory,
		Count: g.count, First: g.first, Last: g.last, Unnamed: g.unnamed, Times: c.pieces.told(g.pieces),
	}
	for _, f := range g.files {
		told.Files = append(told.Files, File{
			Path: c.pathOf(f.file), Dev: f.dev, Inode: f.number, Count: f.count, First: f.first, Last: f.last,
		})
	}
	slices.SortFunc(told.Files, func(a, b File) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), strings.Compare(a.Path, b.Path), strings.Compare(a.Dev, b.Dev), cmp.Compare(a.Inode, b.Inode))
	})
	return told
}

// pathOf returns the path of a file, from another record if its own do not have
// it.
func (c *Collector) pathOf(f file) string {
	if known, ok := c.paths[f.inode]; ok && f.number != 0 && !path.IsAbs(f.name) && (f.name == "" || path.Base(known) == f.name) {
		return known
	}
	return f.name
}

func compareGroups(a, b Group) int {
	rest := func(g Group) int {
		if g.Rest {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(rest(a), rest(b)), -cmp.Compare(a.Count, b.Count),
		strings.Compare(a.Node, b.Node), strings.Compare(a.Cause, b.Cause), strings.Compare(a.Op, b.Op),
		strings.Compare(a.Program, b.Program), strings.Compare(a.Directory, b.Directory), cmp.Compare(a.Mode, b.Mode),
	)
}
