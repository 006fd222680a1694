package page

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"imaseal/internal/page/treemap"
	"imaseal/internal/page/words"
)

const (
	// shownDenials and shownFiles are listed, with so many in all.
	shownDenials, shownFiles = 80, 8
	// maxNames bounds the programs and the directories that are told apart.
	maxNames = 4096
)

// A mended says what is known of denials now.
type mended int

// What is known.
const (
	open   mended = iota // nothing is known that would keep them from happening again
	partly               // in part
	whole                // they would not happen again
	states
)

// String is the word for it.
func (m mended) String() string { return [...]string{"not mended", "partly mended", "mended"}[m] }

// Class is the verdict that has the same colour and pattern.
func (m mended) Class() treemap.Verdict {
	return [...]treemap.Verdict{treemap.Denied, treemap.Undecided, treemap.Allowed}[m]
}

// A DeniedGroup is a group of package denials, in the words of imaseal denials.
type DeniedGroup struct {
	Title   string // what happened
	Cause   string
	Program string
	// Directory is that of the files, Node the machine, if it is another.
	Directory, Node string
	When            string
	Rest            bool // it is what was left over
	// Harmless says that nothing was denied, nor would be.
	Harmless    bool
	Count, Open uint64
	Files       []DeniedFile
	Now         []string // what the files are like, and how many
	Advice      []string
	Times       []Moment
}

// A DeniedFile is a file of a group.
type DeniedFile struct {
	Name  string // with what became of it
	Count uint64
}

// Denials collects what imaseal denials found.
type Denials struct {
	// Span is when the first and the last record were made.
	Span Span
	// Kinds are what happened, and how often, in words.
	Kinds string
	// Looked says that the files were looked at, Lost that records are lost, Failed
	// that a log could not be read to its end, and Empty that nothing is in the logs.
	Looked, Lost, Failed, Empty bool

	groups      []DeniedGroup
	more        int
	moreCount   uint64
	count       [states]uint64
	harmless    uint64
	causes      map[string]*tallied
	programs    map[string]*tallied
	directories map[string]*tallied
	histogram   histogram
}

// A tallied is how many denials there are of a name.
type tallied struct {
	name        string
	count, open uint64
}

// Add adds a group, in the order in which they are to be shown.
func (d *Denials) Add(g DeniedGroup) {
	if d.causes == nil {
		d.causes, d.programs, d.directories = make(map[string]*tallied), make(map[string]*tallied), make(map[string]*tallied)
		d.histogram = newHistogram(d.Span)
	}
	if g.Harmless {
		d.harmless += g.Count
	} else {
		d.count[open] += g.Open
		d.count[whole] += g.Count - g.Open
		name(d.causes, g.Cause, g)
		name(d.programs, g.Program, g)
		name(d.directories, g.Directory, g)
		d.histogram.add(g.Times, stateOf(g))
	}
	if len(d.groups) >= shownDenials {
		d.more++
		d.moreCount += g.Count
		return
	}
	d.groups = append(d.groups, g)
}

func stateOf(g DeniedGroup) mended {
	switch g.Open {
	case 0:
		return whole
	case g.Count:
		return open
	}
	return partly
}

// name counts the denials of a group for a name of theirs.
func name(to map[string]*tallied, name string, g DeniedGroup) {
	if to[name] == nil && len(to) >= maxNames {
		name = "others"
	}
	if g.Rest || name == "" {
		name = "not known"
	}
	t := to[name]
	if t == nil {
		t = &tallied{name: name}
		to[name] = t
	}
	t.count += g.Count
	t.open += g.Open
}

// A deniedView is a Denials as its page shows it.
type deniedView struct {
	Open, Mended, Harmless uint64
	Looked                 bool
	Histogram              *histogram // nil where no record has a time
	Groups                 []deniedGroupView
	More                   int
	MoreCount              uint64
	By                     []byView
}

type byView struct {
	What string
	Rows []tallyView
	More int // that are not shown
}

type tallyView struct {
	Name        string
	Count, Open uint64
}

type deniedGroupView struct {
	DeniedGroup
	State  mended
	Word   string // what is said first of the group, "" for nothing
	About  string // the rest of it
	Lines  []advised
	Shown  []DeniedFile
	Hidden uint64 // denials of other files
	Chart  *histogram
}

// Write writes the page. It may be called once, when all is collected.
func (d *Denials) Write(w io.Writer, f Frame) error {
	return document{Frame: f, Command: "denials", Answer: d.answer(f.Status), Denied: d.view()}.write(w)
}

func (d *Denials) view() *deniedView {
	v := &deniedView{Open: d.count[open], Mended: d.count[whole], Harmless: d.harmless, Looked: d.Looked, More: d.more, MoreCount: d.moreCount}
	if !d.histogram.isEmpty() {
		v.Histogram = &d.histogram
	}
	v.By = []byView{by("Cause", d.causes), by("Program", d.programs), by("Directory", d.directories)}
	for _, g := range d.groups {
		one := deniedGroupView{DeniedGroup: g, State: stateOf(g), Lines: advice(g.Advice), Hidden: g.Count}
		about := []string{g.Title}
		switch {
		case g.Harmless:
		case d.Looked:
			one.Word = one.State.String()
		default:
			one.Word, about = g.Title, nil
		}
		if g.Node != "" {
			about = append(about, "on "+words.Shown(g.Node))
		}
		if g.When != "" {
			about = append(about, words.Clip(g.When))
		}
		one.About = strings.Join(about, ", ")
		for _, f := range g.Files[:min(len(g.Files), shownFiles)] {
			one.Shown = append(one.Shown, DeniedFile{words.Clip(f.Name), f.Count})
			one.Hidden -= min(one.Hidden, f.Count)
		}
		h := newHistogram(d.Span)
		if h.add(g.Times, one.State); !h.isEmpty() && len(h.Bars) > 1 {
			one.Chart = &h
		}
		v.Groups = append(v.Groups, one)
	}
	return v
}

// by lists names, the most frequent first.
func by(what string, of map[string]*tallied) byView {
	const shownNames = 12
	v := byView{What: what}
	for _, t := range slices.SortedFunc(maps.Values(of), func(a, b *tallied) int {
		return cmp.Or(cmp.Compare(b.open, a.open), cmp.Compare(b.count, a.count), strings.Compare(a.name, b.name))
	}) {
		if len(v.Rows) == shownNames {
			v.More++
			continue
		}
		v.Rows = append(v.Rows, tallyView{words.Shown(t.name), t.count, t.open})
	}
	return v
}

// answer is what the page says first.
func (d *Denials) answer(status int) answer {
	all := d.count[open] + d.count[whole]
	kinds := ""
	if d.Kinds != "" {
		kinds = " The records: " + d.Kinds + "."
	}
	switch {
	case d.count[open] > 0 && !d.Looked:
		return answer{bad, "Something was denied", fmt.Sprintf("What the files are like now is not known: they were not looked at.%s", kinds)}
	case d.count[open] > 0:
		return answer{bad, "Not mended yet", fmt.Sprintf("Of %s, %s would happen again, as far as is known.%s", records(all), words.Number(d.count[open]), kinds)}
	case d.Failed:
		return answer{unclear, "Not certain", "Nothing is known that would be denied again, but not every log could be read." + kinds}
	case d.Lost:
		return answer{unclear, "Not certain", "Nothing is known that would be denied again, but records are lost, and may have been of denials." + kinds}
	case d.Empty:
		return answer{unclear, "Nothing was read", "There is nothing in the logs, so that this page says nothing about denials."}
	case all > 0:
		return answer{good, "All is mended", fmt.Sprintf("Of %s, none would happen again.%s", records(all), kinds)}
	case status != 0:
		return answer{unclear, "Not certain", "Not everything could be read." + kinds}
	}
	return answer{good, "Nothing was denied", "The logs have no record of a denial." + kinds}
}

func records(n uint64) string {
	if n == 1 {
		return "1 record"
	}
	return words.Number(n) + " records"
}
