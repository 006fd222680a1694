package cli

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"imaseal/internal/denials"
	"imaseal/internal/page"
	"imaseal/internal/report"
	"imaseal/internal/stream"
)

// reads are the files that the request names to be read.
func (r denialsRequest) reads() []string {
	return slices.Concat(r.logs, r.judge.keys, []string{r.judge.evmKey, r.judge.policy.name})
}

// newDenialsPage begins a page of a report.
func newDenialsPage(found denials.Report, r *logReader) *page.Denials {
	d := &page.Denials{Looked: !r.request.elsewhere, Lost: found.Lost.Any(), Failed: r.failed, Empty: r.lines == 0}
	for _, g := range found.Groups {
		if g.First.IsZero() {
			continue
		}
		if d.Span.First.IsZero() || g.First.Before(d.Span.First) {
			d.Span.First = g.First.Local()
		}
		if g.Last.After(d.Span.Last) {
			d.Span.Last = g.Last.Local()
		}
	}
	return d
}

// addToPage adds a group to the page, if there is one.
func (t *denialTeller) addToPage(g *denials.Group, told toldGroup) {
	if t.page == nil {
		return
	}
	one := page.DeniedGroup{
		Title: title(g), Cause: cmp.Or(cause(g), "without a cause"), Program: g.Program, Directory: g.Directory, When: span(g.First, g.Last), Rest: g.Rest,
		Harmless: g.Kind == denials.Violation || g.Kind == denials.Unmeasured,
		Count:    g.Count, Open: told.open, Now: told.now, Advice: told.lines,
	}
	if g.Node != "" && !t.looker.isHere(g.Node) {
		one.Node = g.Node
	}
	for i, f := range g.Files[:min(len(g.Files), shownFiles)] {
		one.Files = append(one.Files, page.DeniedFile{Name: shownFileName(f, g, told.looks[i]), Count: f.Count})
	}
	for _, m := range g.Times {
		one.Times = append(one.Times, page.Moment{Start: m.Start.Local(), Count: m.Count})
	}
	t.page.Add(one)
}

// writePage writes the page.
func (t *denialTeller) writePage(out *stream.Out, status int) error {
	var logs []string
	for _, name := range t.request.logs {
		switch name {
		case "":
			name = "those of this machine"
		case "-":
			name = "standard input"
		default:
			name = report.Quote(name)
		}
		logs = append(logs, name)
	}
	facts := []page.Fact{{Name: "Logs", Value: strings.Join(logs, ", ")}}
	if since := t.request.read.Since; !since.IsZero() {
		facts = append(facts, page.Fact{Name: "Since", Value: since.Local().Format(time.DateTime)})
	}
	if t.request.boot {
		facts = append(facts, page.Fact{Name: "Only of", Value: "this boot"})
	}
	facts = append(facts, t.looker.facts()...)
	f := t.program.frame(status, facts)
	if t.request.elsewhere { // it has nothing to do with the page
		f.Host = ""
	}
	f.Summary = strings.Split(strings.TrimSuffix(t.summaryText(), "\n"), "\n")
	t.page.Kinds = t.kindsText()
	return t.page.Write(out, f)
}

// facts are what the files were judged by now.
func (l *looker) facts() []page.Fact {
	switch {
	case l.request.elsewhere:
		return []page.Fact{{Name: "Files", Value: "not looked at: the logs are another machine’s"}}
	case l.judge == nil:
		return []page.Fact{{Name: "Files", Value: "none that could be looked at"}}
	}
	keys := strings.Join(l.request.judge.keys, ", ")
	if keys == "" {
		keys = "none named: those in the running kernel’s keyrings count, as far as they are seen"
	}
	return []page.Fact{{Name: "Kernel", Value: l.kernel}, {Name: "Policy", Value: report.Quote(l.policy)}, {Name: "Keys", Value: keys}}
}
