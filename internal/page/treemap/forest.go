// Package treemap counts files by directory, in memory that does not grow with them, and
// lays the directories out as nested areas, each as large as the number of its files.
//
// A [Forest] is given paths, and an [Atlas] is made of it: a map of each directory that
// has others below it, of which the caller draws the cells. The layout is done here, in
// percent, so that a page can show it without a script.
package treemap

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"imaseal/internal/report"
)

const (
	// keptNodes bounds the directories that are told apart while a run goes on,
	// drawnNodes those on the page.
	keptNodes, drawnNodes = 16384, 360
	// deepest and longest bound what is told of one path: archives can have names
	// of any length.
	deepest, longest = 64, 255
	// badWeight is what a file weighs that is not allowed, where an allowed one
	// weighs 1: its directory is merged with the one above it later than others.
	badWeight = 16
)

// A Verdict is an outcome that the map shows.
type Verdict int

// The verdicts, the worst last: a place is shown as the worst that is in it.
const (
	Allowed Verdict = iota
	Failed
	Undecided
	Denied
	verdicts // how many there are
)

// VerdictOf returns the verdict of a result, and false for one that the run does not
// answer for.
func VerdictOf(o report.Outcome) (Verdict, bool) {
	switch o {
	case report.Allowed:
		return Allowed, true
	case report.Denied:
		return Denied, true
	case report.Undecided:
		return Undecided, true
	case report.Failed:
		return Failed, true
	}
	return 0, false
}

// String is the word that reports have for it.
func (v Verdict) String() string {
	return string([...]report.Outcome{report.Allowed, report.Failed, report.Undecided, report.Denied}[v])
}

// A Count counts files by verdict.
type Count [verdicts]int

func (c *Count) add(o Count) {
	for v, n := range o {
		c[v] += n
	}
}

// Files is how many there are.
func (c Count) Files() int {
	n := 0
	for _, of := range c {
		n += of
	}
	return n
}

func (c Count) weight() int { return c[Allowed] + badWeight*(c.Files()-c[Allowed]) }

// Worst is the worst verdict of them.
func (c Count) Worst() Verdict {
	for v := Denied; v > Allowed; v-- {
		if c[v] > 0 {
			return v
		}
	}
	return Allowed
}

// A directory counts files.
type directory struct {
	name  string
	below map[string]*directory
	// own are the files in it, and in those below that were merged with it.
	own    Count
	merged bool // there were some
}

// A Forest counts files by directory. What it takes in memory does not grow with
// them: where there are too many directories, the smallest are merged with those
// that they are in.
type Forest struct {
	// Archive is what the paths of files in an archive begin with: its name and a
	// colon.
	Archive string
	root    directory
	nodes   int
	// last is the directory of the file before, which most often is that of the
	// next one, too.
	last     *directory
	lastPath string
}

// Add counts the file of a path.
func (f *Forest) Add(path string, v Verdict) {
	end := strings.LastIndexByte(path, '/') + 1
	if strings.HasPrefix(path, f.Archive) {
		end = max(end, len(f.Archive))
	}
	path = path[:end] // all but the name of the file
	if f.last == nil || path != f.lastPath {
		if f.nodes >= keptNodes-deepest {
			f.shrink(keptNodes / 2)
		}
		f.last, f.lastPath = f.find(path), strings.Clone(path)
	}
	f.last.own[v]++
}

// find returns the directory of a path.
func (f *Forest) find(path string) *directory {
	d := &f.root
	if in, ok := strings.CutPrefix(path, f.Archive); ok && f.Archive != "" {
		d, path = f.child(d, strings.TrimSuffix(f.Archive, ":")), in
	}
	if strings.HasPrefix(path, "/") {
		d = f.child(d, "/")
	}
	depth := 0
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if depth++; depth == deepest {
			d.merged = true
			break
		}
		d = f.child(d, name)
	}
	return d
}

func (f *Forest) child(d *directory, name string) *directory {
	if len(name) > longest {
		name = name[:longest]
	}
	c := d.below[name]
	if c == nil {
		c = &directory{name: strings.Clone(name)}
		if d.below == nil {
			d.below = make(map[string]*directory)
		}
		d.below[c.name] = c
		f.nodes++
	}
	return c
}

// A ranked is a directory that may have to be merged with the one that it is in.
type ranked struct {
	*directory
	weight, depth int
}

// shrink merges the smallest directories with those that they are in, so that there are
// at most n.
func (f *Forest) shrink(n int) {
	f.last = nil
	if f.nodes <= n {
		return
	}
	var all []ranked
	rank(&f.root, 0, &all)
	// A directory weighs no less than what is in it, and stays if that does.
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.depth, b.depth)) })
	stay := make(map[*directory]bool, n)
	for _, r := range all[:n] {
		stay[r.directory] = true
	}
	f.root.merge(stay)
	f.nodes = n
}

// rank adds the directories below d, and returns what d weighs.
func rank(d *directory, depth int, to *[]ranked) int {
	weight := d.own.weight()
	for _, name := range slices.Sorted(maps.Keys(d.below)) { // not as the map has them: of equal ones the same stay
		c := d.below[name]
		w := rank(c, depth+1, to)
		*to = append(*to, ranked{c, w, depth})
		weight += w
	}
	return weight
}

// merge merges the directories below d with d, but for those that stay.
func (d *directory) merge(stay map[*directory]bool) {
	for name, c := range d.below {
		c.merge(stay)
		if !stay[c] { // then nothing is below it any more
			d.own.add(c.own)
			d.merged = true
			delete(d.below, name)
		}
	}
}

// total counts all files below d.
func (d *directory) total() Count {
	c := d.own
	for _, b := range d.below {
		c.add(b.total())
	}
	return c
}

// Total counts all files.
func (f *Forest) Total() Count { return f.root.total() }
