package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"imaseal/internal/reason"
)

const (
	// maxPlaces bounds the directories that are told apart, in all groups;
	// with more, those furthest down count for the ones above them.
	maxPlaces = 4096
	// maxGroups bounds the groups, whose reasons may name keys.
	maxGroups = 256
	// shownPlaces are printed of a group, so that they fit on a screen with
	// others; together they hold all its files.
	shownPlaces = 8
)

// Various is the code of the reason of a group that holds what many reasons
// are behind.
const Various reason.Code = "various"

// Groups collects the files that would be denied, or of which nothing certain
// is known, by cause and directory. Its size does not grow with theirs.
type Groups struct {
	// Fix returns what to do about a group, a line each.
	Fix func(g Group) []string

	groups map[groupKey]*group
	places int
}

// A groupKey tells groups apart.
type groupKey struct {
	outcome Outcome
	why     string
}

// A group is a Group that still grows.
type group struct {
	why    Why
	files  int
	places map[string]*place
}

// A Group is a set of files with the same verdict.
type Group struct {
	Outcome Outcome
	Why
	Files int
	// Places are directories that hold all files of the group between them;
	// where it is the only one, the file itself.
	Places []string
	// Each is how many files there are in each of them.
	Each []int
}

// A place is a directory with files of a group.
type place struct {
	files int
	only  string // the first of them
}

// Add counts a result.
func (g *Groups) Add(r Result) {
	if r.Outcome != Denied && r.Outcome != Undecided {
		return
	}
	if g.groups == nil {
		g.groups = make(map[groupKey]*group)
	}
	why := r.Why
	key := groupKey{r.Outcome, why.text(r.Outcome)}
	if g.groups[key] == nil && len(g.groups) >= maxGroups {
		why.Reasons = reason.List{reason.New(Various, "for various reasons, which --verbose and --json name")}
		key.why = why.text(r.Outcome)
	}
	of := g.groups[key]
	if of == nil {
		of = &group{why: why, places: make(map[string]*place)}
		g.groups[key] = of
	}
	of.files++
	dir := filepath.Dir(r.Path)
	if p := of.places[dir]; p != nil {
		p.files++
		return
	}
	of.places[dir] = &place{files: 1, only: r.Path}
	if g.places++; g.places > maxPlaces {
		g.shrink()
	}
}

// shrink leaves half the places or so.
func (g *Groups) shrink() {
	g.places = 0
	for _, of := range g.groups {
		rollUp(of.places, max(1, len(of.places)/2))
		g.places += len(of.places)
	}
}

// rollUp makes the directories that are furthest down part of those above them
// until there are at most n, or nothing is above them.
func rollUp(places map[string]*place, n int) {
	for len(places) > n {
		deepest := 0
		for dir := range places {
			deepest = max(deepest, depth(dir))
		}
		if deepest == 0 {
			return
		}
		for dir, p := range maps.Clone(places) {
			if depth(dir) != deepest {
				continue
			}
			delete(places, dir)
			above := filepath.Dir(dir)
			if at := places[above]; at != nil {
				at.files += p.files
			} else {
				places[above] = p
			}
		}
	}
}

// depth is the number of directories that dir can be counted for.
func depth(dir string) int {
	if dir == "." || dir == "/" || strings.HasSuffix(dir, "..") {
		return 0
	}
	return 1 + strings.Count(strings.Trim(dir, "/"), "/")
}

// List returns the groups, the largest first of those denied, then of those
// undecided.
func (g *Groups) List() []Group {
	keys := slices.SortedFunc(maps.Keys(g.groups), func(a, b groupKey) int {
		return cmp.Or(strings.Compare(string(a.outcome), string(b.outcome)), cmp.Compare(g.groups[b].files, g.groups[a].files),
			strings.Compare(a.why, b.why))
	})
	var all []Group
	for _, key := range keys {
		of := g.groups[key]
		rollUp(of.places, shownPlaces)
		group := Group{Outcome: key.outcome, Why: of.why, Files: of.files}
		for _, dir := range slices.Sorted(maps.Keys(of.places)) {
			name, n := dir, of.places[dir].files
			if n == 1 {
				name = of.places[dir].only
			}
			group.Places, group.Each = append(group.Places, name), append(group.Each, n)
		}
		all = append(all, group)
	}
	return all
}

// Lines are what to do about a group.
func (g *Groups) Lines(of Group) []string {
	if g.Fix == nil {
		return nil
	}
	return g.Fix(of)
}

// write prints the groups.
func (g *Groups) write(w io.Writer) error {
	for _, of := range g.List() {
		text := fmt.Sprintf("%s: %s\n", join(": ", string(of.Outcome), of.Why.text(of.Outcome)), plural(of.Files, "file"))
		for i, name := range of.Places {
			text += fmt.Sprintf("  %7d  %s\n", of.Each[i], Quote(name))
		}
		for _, line := range g.Lines(of) {
			text += "  " + line + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}
