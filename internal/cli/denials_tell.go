package cli

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"imaseal/internal/advice"
	"imaseal/internal/denials"
	"imaseal/internal/locate"
	"imaseal/internal/page"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// A denialTeller prints what was found in logs.
type denialTeller struct {
	program   Program
	request   denialsRequest
	looker    *looker
	looks     map[fileKey]look
	found     denials.Report
	damaged   int64
	damagedAt string
	hinted    map[string]bool // lines of advice that were printed
	page      *page.Denials   // nil for none

	unmended uint64 // denials that are not known to be mended
}

const (
	// shownGroups and shownFiles are printed unless users want all.
	shownGroups, shownFiles = 25, 8
	// namedFiles are named in a command; with more it is about their directory.
	namedFiles = 8
)

// print prints a report of logs that were read to their end.
func (t *denialTeller) print() error {
	t.hinted = make(map[string]bool)
	o := t.request.output
	t.warnLost()
	for i := range t.found.Groups {
		g := &t.found.Groups[i]
		told := t.group(g)
		t.addToPage(g, told)
		var err error
		switch {
		case o.json:
			err = t.program.printJSON(showGroup(g, told))
		case o.quiet, i >= shownGroups && !o.verbose:
		default:
			err = t.program.print(t.text(g, told))
		}
		if err != nil {
			return err
		}
	}
	switch {
	case o.json:
		return t.program.printJSON(t.summary())
	case o.quiet:
		return nil
	}
	if err := t.program.print(t.summaryText()); err != nil {
		return err
	}
	if t.unmended > 0 && t.looker.mode == denials.Enforce {
		fmt.Fprintf(t.program.Stderr, "imaseal: hint: %s; a file that is written anew, as by a package, gets its label from the kernel\n", advice.Enforced)
	}
	return nil
}

// A toldGroup is a group with what its files are like now.
type toldGroup struct {
	looks []look // one for each file
	now   []string
	lines []string // of advice
	open  uint64   // of its denials, how many are not known to be mended
}

// group finds out what is to be said of a group.
func (t *denialTeller) group(g *denials.Group) toldGroup {
	told := toldGroup{open: g.Unnamed}
	count := make(map[string]uint64)
	var order []string
	for _, f := range g.Files {
		l := t.looks[keyOf(f)]
		told.looks = append(told.looks, l)
		if !l.mends() {
			told.open += f.Count
		}
		word := l.word()
		if word == "" {
			continue
		}
		if count[word] == 0 {
			order = append(order, word)
		}
		count[word]++
	}
	if len(g.Files) == 0 {
		told.open = g.Count
	}
	for _, word := range order {
		told.now = append(told.now, fmt.Sprintf("%d %s", count[word], word))
	}
	if g.Kind == denials.Violation || g.Kind == denials.Unmeasured {
		told.open = 0
	}
	t.unmended += told.open
	told.lines = t.advice(g, told)
	return told
}

// mends reports whether a denial would not happen again.
func (l look) mends() bool {
	return l.outcome == report.Allowed || l.outcome == report.Skipped || l.state == locate.Gone
}

// word says what a file is like now.
func (l look) word() string {
	switch l.outcome {
	case report.Denied:
		return "would still be denied"
	case report.Allowed:
		return "would be let through now"
	case report.Skipped:
		return "not appraised any more"
	case report.Undecided:
		return "undecided"
	}
	switch l.state {
	case locate.Gone:
		return "gone"
	case locate.Elsewhere:
		return "not of this host's file systems, as of a container"
	case locate.Pathless:
		return "without a path"
	case locate.Unreachable:
		return "not to be looked at"
	}
	return ""
}

// advice says what to do about a group, once for each that needs the same.
func (t *denialTeller) advice(g *denials.Group, told toldGroup) []string {
	if g.Rest {
		return nil
	}
	if text := advice.OfRecord(g.Op, g.Cause); text != "" {
		return []string{text}
	}
	if g.Kind != denials.Refused && g.Kind != denials.Advised {
		return nil
	}
	var groups []*report.Group
	for i, f := range g.Files {
		l := told.looks[i]
		if l.mends() {
			continue
		}
		next := report.Group{Outcome: l.outcome, Why: l.why}
		if l.outcome == "" || l.asRecorded {
			next.Outcome, next.Why = report.Denied, report.Why{Causes: []string{g.Cause}}
		}
		at := slices.IndexFunc(groups, func(o *report.Group) bool {
			return o.Outcome == next.Outcome && slices.Equal(o.Causes, next.Causes) && o.Reasons.String() == next.Reasons.String()
		})
		if at < 0 {
			groups = append(groups, &next)
			at = len(groups) - 1
		}
		groups[at].Files++
		groups[at].Places = append(groups[at].Places, l.place(f))
	}
	var lines []string
	if line := t.search(g, told); line != "" {
		lines = append(lines, line)
	}
	for _, of := range groups {
		if slices.Contains(of.Places, "") || of.Files > namedFiles {
			of.Places = directories(of.Places)
		}
		if len(of.Places) == 0 {
			of.Places = []string{"PATH"}
		}
		lines = append(lines, t.looker.remedy.Lines(*of)...)
	}
	return lines
}

// search is how to find files of which no record has a path, "" where there are none
// or nothing is known of their file system.
func (t *denialTeller) search(g *denials.Group, told toldGroup) string {
	var numbers []string
	where := ""
	for i, f := range g.Files {
		if told.looks[i].state != locate.Pathless || f.Inode == 0 || len(numbers) == namedFiles {
			continue
		}
		if point, ok := t.looker.finder.Mounted(f.Dev); ok && (where == "" || where == point) {
			where = point
			numbers = append(numbers, fmt.Sprintf("-inum %d", f.Inode))
		}
	}
	if numbers == nil {
		return ""
	}
	return fmt.Sprintf("their records have no path, which find %s -xdev %s prints:", where, strings.Join(numbers, " -o "))
}

// place is the path to name in a command, "" where there is none.
func (l look) place(f denials.File) string {
	switch {
	case l.path != "":
		return l.path
	case path.IsAbs(f.Path):
		return f.Path
	}
	return ""
}

// directories are those of the files that have a path.
func directories(files []string) []string {
	var dirs []string
	for _, name := range files {
		if name != "" {
			dirs = append(dirs, path.Dir(name))
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// printOne prints what the one record says that was just made.
func (t *denialTeller) printOne(at time.Time) error {
	for i := range t.found.Groups {
		g := &t.found.Groups[i]
		told := t.group(g)
		if t.request.output.json {
			return t.program.printJSON(showGroup(g, told))
		}
		name := g.Directory
		var l look
		if len(g.Files) > 0 {
			name, l = g.Files[0].Path, told.looks[0]
		}
		line := fmt.Sprintf("%s  %s: %s, %s, %s", at.Local().Format(time.DateTime), title(g), cause(g), report.Quote(g.Program), report.Quote(name))
		if word := l.word(); word != "" {
			line += ": " + word
		}
		if err := t.program.print(line + "\n" + t.adviceText(told.lines)); err != nil {
			return err
		}
	}
	return nil
}

// warnLost says what is missing in the logs.
func (t *denialTeller) warnLost() {
	p, lost := t.program, t.found.Lost
	if lost.Dropped > 0 || lost.More {
		number := "some"
		if lost.Dropped > 0 {
			number = fmt.Sprint(lost.Dropped)
		}
		p.warn(reason.LostRecords, "records that are lost, since the kernel's queue was full or a rate limit was passed: %s (audit_backlog_limit=8192 on its command line helps, and auditctl -r 0)", number)
	}
	if lost.Suppressed > 0 {
		p.warn(reason.LostRecords, "audit records, of any kind, that the kernel did not print, since there were too many at once: %d (auditd has them, if it runs)", lost.Suppressed)
	}
	if lost.Missed > 0 {
		p.warn(reason.LostRecords, "messages of the kernel that were overwritten before they were read, and may have been records: %d (log_buf_len=16M on its command line keeps more)", lost.Missed)
	}
	if t.damaged > 0 {
		p.warn(reason.DamagedRecords, "records that are damaged, and not counted: %d, the first in %s", t.damaged, t.damagedAt)
	}
	if n := t.found.Undated; n > 0 {
		p.warn(reason.UndatedRecords, "records that have no time, and are not counted: %d (journalctl -o json has it)", n)
	}
}
