// Package merge joins reports in JSON, as runs on the parts of a tree have printed
// them, into one report.
//
// A report is the objects of files, a line each, and a summary behind them; a file
// may hold several, one after the other. Nothing is counted twice and nothing is
// made up: what counts is the summaries, and a report whose objects are not as many
// as its summary says is none. A report of nothing but its summary is one, too.
// Lines that are no objects do not count: a queue may have written standard error
// into the same file.
//
// Memory does not grow with the reports, but for four bytes for each shard.
package merge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"imaseal/internal/reason"
	"imaseal/internal/report"
)

const (
	// maxLine bounds an object: a path and two labels of the greatest size that
	// attributes have are far shorter.
	maxLine = 16 << 20
	// maxNotes bounds the notes of all runs, and maxCodes the kinds of what they
	// count: there are fewer.
	maxNotes = 1000
	maxCodes = 1000
)

// A Problem is why reports are not the whole of what they should be.
type Problem struct {
	Name string // of the file; empty for all
	Line int    // 0 for all of it
	What string
}

func (e *Problem) Error() string { return e.What }

// A Merger reads reports. Results is told of each object of a file, and of the bytes
// that it was, without the end of the line, which are only lent; nil tells nobody.
type Merger struct {
	Result func(r report.Result, line []byte) error
	// Warn is told of what does not keep reports from being joined.
	Warn func(name, what string)

	sum      report.Summary
	merged   report.Merged
	have     []int32 // where each shard was found: 1 and its place in names
	names    []string
	first    *report.Summary
	problems []*Problem
	labels   []string // files that labels were written to
}

// fewFiles bounds the files that a summary names.
const fewFiles = 100

// problem notes a problem.
func (m *Merger) problem(name string, line int, format string, args ...any) {
	m.problems = append(m.problems, &Problem{name, line, fmt.Sprintf(format, args...)})
}

// A partial is the report that is being read.
type partial struct {
	lines   int // objects of files
	summary report.Summary
}

// Read reads the reports in a file. What is wrong with them is for Finish to say; an
// error is that of reading, of Result, or the cause of ctx.
func (m *Merger) Read(ctx context.Context, name string, in io.Reader) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	var p partial
	p.reset()
	var long []byte
	number, others, reports := 0, 0, 0
	for ended := false; !ended; {
		if number%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line, err := readLine(lines, &long)
		switch {
		case errors.Is(err, errLong):
			m.problem(name, number+1, "a line of more than %d bytes: this is no report", maxLine)
			return nil
		case err == io.EOF:
			ended = true
		case err != nil:
			return err
		}
		if number++; len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if line[0] != '{' {
			others++
			continue
		}
		l, err := report.Decode(line)
		switch {
		case err != nil && ended:
			m.problem(name, number, "is cut: it ends in the middle of a line")
			return nil
		case err != nil:
			m.problem(name, number, "is damaged: %v", err)
			return nil
		case l.Result != nil:
			p.lines++
			p.summary.Add(*l.Result)
			if m.Result != nil {
				if err := m.Result(*l.Result, line); err != nil {
					return err
				}
			}
		case l.Summary != nil:
			reports++
			m.add(name, number, &p, l.Summary)
			p.reset()
		}
	}
	switch {
	case p.lines > 0:
		m.problem(name, 0, "is cut: it ends without a summary, behind %d objects", p.lines)
	case reports == 0:
		m.problem(name, 0, "is no report: there is no summary in it")
	case others > 0 && m.Warn != nil:
		m.Warn(name, fmt.Sprintf("%d lines are none of the report, and do not count", others))
	}
	return nil
}

// errLong says that a line is longer than any object.
var errLong = errors.New("too long")

// readLine returns a line without its end, valid until the next call. At the end of
// the input it returns what is left and io.EOF.
func readLine(in *bufio.Reader, long *[]byte) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		*long = append((*long)[:0], line...)
		for err == bufio.ErrBufferFull {
			line, err = in.ReadSlice('\n')
			if *long = append(*long, line...); len(*long) > maxLine {
				return nil, errLong
			}
		}
		line = *long
	}
	return bytes.TrimRight(line, "\r\n"), err
}

func (p *partial) reset() {
	*p = partial{summary: report.NewSummary(report.Header{})}
}

// add counts a report that is whole.
func (m *Merger) add(name string, number int, p *partial, s *report.Summary) {
	if p.lines > 0 && !agree(p.summary, *s) {
		m.problem(name, number, "is damaged: the summary counts %d files and hard links, and there are objects of %d", s.Selected()+s.HardLinks, p.summary.Selected()+p.summary.HardLinks)
		return
	}
	if m.first == nil {
		m.first = s
		m.sum = report.NewSummary(s.Header)
		m.sum.Jobs = 0
	}
	if what := differ(m.first, s); what != "" {
		m.problem(name, number, "does not belong to the others: %s", what)
		return
	}
	if !m.shards(name, number, s) {
		return
	}
	if s.Interrupted {
		m.problem(name, number, "the run was interrupted: %s", again(s))
	}
	m.count(name, number, s)
}

// again says which run is to be done again.
func again(s *report.Summary) string {
	if s.Shard.IsGiven() {
		return fmt.Sprintf("--shard %s is to be run again", s.Shard)
	}
	return "it is to be run again"
}

// agree reports whether the objects of a report are those that its summary counts.
func agree(lines, s report.Summary) bool {
	return maps.EqualFunc(nonzero(lines.Count), nonzero(s.Count), func(a, b int) bool { return a == b }) && lines.HardLinks == s.HardLinks
}

func nonzero(count map[report.Outcome]int) map[report.Outcome]int {
	all := maps.Clone(count)
	maps.DeleteFunc(all, func(_ report.Outcome, n int) bool { return n == 0 })
	return all
}

// differ says why two summaries are not of parts of one run.
func differ(a, b *report.Summary) string {
	switch {
	case a.Command != b.Command:
		return fmt.Sprintf("it is of imaseal %s, and they are of %s", b.Command, a.Command)
	case a.Algo != b.Algo:
		return fmt.Sprintf("its labels are %s, and theirs %s", b.Algo, a.Algo)
	case a.DryRun != b.DryRun:
		return "dry runs write nothing, and others do"
	case (a.LabelsTo == "") != (b.LabelsTo == ""):
		return "some runs have written their labels to files, others to trees"
	case shards(a) != shards(b):
		return fmt.Sprintf("%s, and %s", ofShards(b, "it is"), ofShards(a, "they are"))
	}
	return ""
}

// shards is how many shards a summary says there are, 0 for none.
func shards(s *report.Summary) int {
	if s.Merged != nil {
		return s.Merged.Shards
	}
	return s.Shard.Count
}

func ofShards(s *report.Summary, who string) string {
	if n := shards(s); n > 0 {
		return fmt.Sprintf("%s of %d shards", who, n)
	}
	return who + " of no shard"
}

// count adds the counts of a summary.
func (m *Merger) count(name string, number int, s *report.Summary) {
	sum := &m.sum
	for o, n := range s.Count {
		sum.Count[o] += n
	}
	for c, n := range s.Skipped {
		if c == reason.OtherShard {
			continue // they are in theirs
		}
		sum.Skipped[c] += n
	}
	for c, n := range s.Warned {
		sum.Warned[c] += n
	}
	if len(sum.Skipped) > maxCodes || len(sum.Warned) > maxCodes {
		m.problem(name, number, "is damaged: there are not so many reasons")
		clear(sum.Skipped)
		clear(sum.Warned)
	}
	if s.Store != nil {
		if sum.Store == nil {
			sum.Store = new(report.Store)
		}
		sum.Store.Add(s.Store)
	}
	if s.LabelsTo != "" && len(m.labels) < fewFiles && !slices.Contains(m.labels, s.LabelsTo) {
		m.labels = append(m.labels, s.LabelsTo)
	}
	sum.HardLinks += s.HardLinks
	sum.Warnings += s.Warnings
	sum.Bytes += s.Bytes
	sum.Signatures += s.Signatures
	sum.Jobs += s.Jobs
	sum.Interrupted = sum.Interrupted || s.Interrupted
	sum.Elapsed = max(sum.Elapsed, s.Elapsed)
	for _, n := range s.Notes {
		if len(sum.Notes) < maxNotes && !slices.Contains(sum.Notes, n) {
			sum.Notes = append(sum.Notes, n)
		}
	}
	if s.Merged != nil {
		m.merged.Reports += s.Merged.Reports
		m.merged.Seconds += s.Merged.Seconds
	} else {
		m.merged.Reports++
		m.merged.Seconds += s.Elapsed.Round(time.Microsecond).Seconds()
	}
}

// fewShards is how many bytes of the names of shards fit into a message.
const fewShards = 200

// few shortens a list of shards.
func few(list string) string {
	if len(list) <= fewShards {
		return list
	}
	return list[:strings.LastIndexByte(list[:fewShards], ',')] + " and more"
}

// Finish returns the one summary, and what keeps it from being that of the whole.
func (m *Merger) Finish() (report.Summary, []*Problem) {
	if m.first == nil {
		if len(m.problems) == 0 {
			m.problem("", 0, "there is no report")
		}
		m.sum = report.NewSummary(report.Header{})
	}
	m.sum.Shard.Index, m.sum.Shard.Count = 0, 0
	if m.have != nil {
		m.merged.Shards = len(m.have)
		if m.merged.Missing = m.missing(); m.merged.Missing != "" {
			m.problem("", 0, "no report of shard %s of %d", few(m.merged.Missing), len(m.have))
		}
	}
	m.sum.LabelsTo = strings.Join(m.labels, ", ")
	m.sum.Merged = &m.merged
	return m.sum, m.problems
}
