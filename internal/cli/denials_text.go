package cli

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"imaseal/internal/denials"
	"imaseal/internal/locate"
	"imaseal/internal/report"
)

// titles are what a group is called.
var titles = map[denials.Kind]string{
	denials.Refused: "denied", denials.Advised: "advised against", denials.Metadata: "change refused", denials.Policy: "policy refused",
	denials.Violation: "measured in vain", denials.Unmeasured: "not measured",
}

// title is what happened, as far as it is known.
func title(g *denials.Group) string {
	if g.Kind == denials.Refused {
		switch g.Mode {
		case denials.LogOnly, denials.Off:
			return "let through, since the mode is " + g.Mode.String()
		case denials.Fix:
			return "labelled anew, since the mode is fix"
		case denials.ModeUnknown:
			return "denied, if the mode was enforce"
		}
	}
	return titles[g.Kind]
}

// text prints a group for people.
func (t *denialTeller) text(g *denials.Group, told toldGroup) string {
	what := []string{cause(g)}
	if g.Program != "" {
		what = append(what, report.Quote(g.Program))
	}
	if g.Directory != "" {
		what = append(what, "in "+report.Quote(g.Directory))
	}
	if g.Rest {
		what = []string{"of further causes, programs and directories"}
	}
	text := fmt.Sprintf("%s: %s: %s\n", title(g), strings.Join(what, ", "), times(g.Count))
	if g.Node != "" && !t.looker.isHere(g.Node) {
		text += "  on " + report.Quote(g.Node) + "\n"
	}
	if when := span(g.First, g.Last); when != "" {
		text += "  " + when + "\n"
	}
	shown := len(g.Files)
	if !t.request.output.verbose {
		shown = min(shown, shownFiles)
	}
	hidden := g.Unnamed
	for _, f := range g.Files[shown:] {
		hidden += f.Count
	}
	for i, f := range g.Files[:shown] {
		text += fmt.Sprintf("  %7d  %s\n", f.Count, shownFileName(f, g, told.looks[i]))
	}
	if hidden > 0 {
		text += fmt.Sprintf("  %7d  of other files\n", hidden)
	}
	if told.now != nil {
		text += "  now: " + strings.Join(told.now, ", ") + "\n"
	}
	return t.program.fit(text) + t.adviceText(told.lines)
}

// adviceText prints lines of advice, unless they were.
func (t *denialTeller) adviceText(lines []string) string {
	all := strings.Join(lines, "\n")
	if all == "" {
		return ""
	}
	if t.hinted[all] {
		return "  what to do: as above\n"
	}
	t.hinted[all] = true
	text := ""
	for _, line := range t.program.fitProse(lines) {
		text += "  " + line + "\n"
	}
	return text
}

func cause(g *denials.Group) string {
	if g.Cause == "" {
		return printableText(g.Op)
	}
	return printableText(g.Cause)
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// span prints when something happened, "" if that is not known.
func span(first, last time.Time) string {
	if first.IsZero() {
		return ""
	}
	from, to := first.Local().Format(time.DateTime), last.Local().Format(time.DateTime)
	switch {
	case from == to:
		return from
	case from[:len(time.DateOnly)] == to[:len(time.DateOnly)]:
		to = to[len(time.DateOnly)+1:]
	}
	return from + " to " + to
}

// shownFileName is the name of a file, and what became of it.
func shownFileName(f denials.File, g *denials.Group, l look) string {
	name := f.Path
	if g.Directory != "" && path.Dir(f.Path) == g.Directory {
		name = path.Base(f.Path)
	}
	text := report.Quote(name)
	if name == "" {
		text = "a file without a name"
	}
	switch {
	case l.state == locate.Renamed:
		text += ", now " + report.Quote(path.Base(l.path))
	case l.state == locate.Replaced:
		text += ", replaced since"
	case l.state == locate.Pathless && f.Inode != 0 && f.Dev == "":
		text += fmt.Sprintf(" (inode %d)", f.Inode)
	case l.state == locate.Pathless && f.Inode != 0:
		text += fmt.Sprintf(" (inode %d on %s)", f.Inode, report.Quote(f.Dev))
	}
	if word := l.word(); word != "" {
		text += ": " + word
	}
	return text
}

// summaryText is the last lines for people.
func (t *denialTeller) summaryText() string {
	var text strings.Builder
	if n := len(t.found.Groups) - shownGroups; n > 0 && !t.request.output.verbose {
		var count uint64
		for _, g := range t.found.Groups[shownGroups:] {
			count += g.Count
		}
		fmt.Fprintf(&text, "imaseal: %d more groups (%d records), which --verbose and --json have\n", n, count)
	}
	fmt.Fprintf(&text, "imaseal: %s\n", cmp.Or(t.kindsText(), "nothing was denied"))
	files := make(map[string]int)
	for _, l := range t.looks {
		files[l.word()]++
	}
	delete(files, "")
	if len(files) > 0 {
		var now []string
		for word, n := range files {
			now = append(now, fmt.Sprintf("%d %s", n, word))
		}
		slices.SortFunc(now, compareCounts)
		fmt.Fprintf(&text, "imaseal: files now: %s\n", strings.Join(now, ", "))
	}
	return text.String()
}

// kindsText says how many records there are of each kind, "" for none.
func (t *denialTeller) kindsText() string {
	kinds := make(map[string]uint64)
	var order, parts []string
	for i := range t.found.Groups {
		g := &t.found.Groups[i]
		if kinds[title(g)] == 0 {
			order = append(order, title(g))
		}
		kinds[title(g)] += g.Count
	}
	for _, word := range order {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[word], word))
	}
	return strings.Join(parts, "; ")
}

// compareCounts puts the largest number first.
func compareCounts(a, b string) int {
	var m, n int
	fmt.Sscan(a, &m)
	fmt.Sscan(b, &n)
	if m != n {
		return n - m
	}
	return strings.Compare(a, b)
}
