package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/merge"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

func (p Program) reportCommand() *urfave.Command {
	return &urfave.Command{
		Name:        "report",
		Usage:       "join the reports of several runs",
		Description: `A report is what --json prints on standard output.`,
		Subcommands: []*urfave.Command{p.reportMergeCommand()},
	}
}

// mergeOptions are the options of imaseal report merge.
type mergeOptions struct{ json, verbose, quiet bool }

func (o *mergeOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		jsonFlag(&o.json, "print the objects of all reports, then one summary object"),
		verboseFlag(&o.verbose), quietFlag(&o.quiet),
	}
}

// A mergeRequest is what report merge is asked for.
type mergeRequest struct {
	output outputOptions
	files  []string // "-" is standard input
}

func (o *mergeOptions) plan(files []string) (mergeRequest, error) {
	r := mergeRequest{outputOptions{json: o.json, verbose: o.verbose, quiet: o.quiet, progress: "never", jobs: 1}, files}
	if len(files) == 0 {
		return r, conflict("no report is named", "imaseal report merge FILE...; - is standard input")
	}
	seen := make(map[string]bool)
	for _, name := range files {
		switch {
		case name == "":
			return r, conflict("the name of a report is empty", "a shell variable may be unset")
		case seen[name]:
			return r, conflict(fmt.Sprintf("%s is named twice", report.Quote(name)), "a report counts once")
		}
		seen[name] = true
	}
	return r, r.output.check()
}

func (p Program) reportMergeCommand() *urfave.Command {
	o := new(mergeOptions)
	return &urfave.Command{
		Name:      "merge",
		Usage:     "join reports of the parts of a tree into one",
		ArgsUsage: "FILE...",
		Description: `Reads reports that runs have printed with --json, prints what one run would
have printed, and has its exit status. With --shard, all parts must be there,
each once. A report that is missing, cut, or of an interrupted run is an error,
and the exit status 1. A FILE may hold several reports, one behind the other.

   imaseal verify --key keys --json --shard 1/2 /srv >part-1.json
   imaseal verify --key keys --json --shard 2/2 /srv >part-2.json
   imaseal report merge part-*.json`,
		Flags:  o.flags(),
		Action: action(o.plan, p.reportMerge),
	}
}

func (p Program) reportMerge(ctx context.Context, r mergeRequest) error {
	out := newMerged(p, r.output)
	m := &merge.Merger{Result: out.result, Warn: func(name, what string) {
		p.warn(reason.OtherLines, "%s: %s", report.Quote(name), what)
	}}
	failed, hinted := false, make(map[string]bool)
	for _, name := range r.files {
		in, err := p.openInput(ctx, name)
		if err == nil {
			err = m.Read(ctx, name, in)
			in.Close()
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errUnread), is[*advisedError](err): // of writing
			return err
		default:
			failed = true
			p.complain(&os.PathError{Op: "read", Path: name, Err: pathless(err)}, hinted)
		}
	}
	sum, problems := m.Finish()
	for _, problem := range problems {
		p.complain(mergeError(problem), hinted)
	}
	if sum.Command == "" { // none could be read
		return &verdictError{status: exitFailure}
	}
	if failed = failed || len(problems) > 0; !failed && sum.Selected() == 0 {
		sum.Notes = append(sum.Notes, reason.New(reason.NothingSelected, "no file was selected by any of the runs"))
	}
	sum.Notes = append(p.notes(), sum.Notes...)
	sum.Said = len(p.notes())
	if err := out.finish(sum); err != nil {
		return err
	}
	if failed {
		return &verdictError{status: exitFailure}
	}
	return status(sum)
}

// mergeError is a problem with its place, as users read it.
func mergeError(problem *merge.Problem) error {
	advised := &advisedError{err: problem, code: reason.NoReport, advice: "give the reports of all shards, each once, as --json has printed them to the end"}
	switch {
	case problem.Line > 0:
		advised.err = fmt.Errorf("%s: line %d: %w", report.Quote(problem.Name), problem.Line, problem)
	case problem.Name != "":
		advised.err = fmt.Errorf("%s: %w", report.Quote(problem.Name), problem)
	}
	return advised
}

// A merged prints what reports have in them.
type merged struct {
	text *report.Text // nil for JSON
	json *report.JSON
	out  *bufio.Writer // of lines of JSON
}

func newMerged(p Program, o outputOptions) *merged {
	m := &merged{out: bufio.NewWriterSize(p.Stdout, 64<<10)}
	if o.json {
		m.json = &report.JSON{Out: m.out}
		m.json.Start(report.Header{}) // writes nothing
		return m
	}
	m.text = &report.Text{Out: p.Stdout, Err: p.Stderr, Verbose: o.verbose, Quiet: o.quiet, Hint: report.RecordedHint, Groups: new(report.Groups)}
	m.text.Start(report.Header{})
	return m
}

// result prints what one run would have printed: not that a file is in another shard.
func (m *merged) result(r report.Result, line []byte) error {
	switch {
	case r.Outcome == report.Skipped && r.Code == reason.OtherShard:
		return nil
	case m.text != nil:
		return unwritten(m.text.Result(r))
	}
	_, err := m.out.Write(append(bytes.TrimSpace(line), '\n'))
	return unwritten(err)
}

func (m *merged) finish(sum report.Summary) error {
	if m.text != nil {
		return unwritten(m.text.Finish(sum))
	}
	err := m.json.Finish(sum)
	if err == nil {
		err = m.out.Flush()
	}
	return unwritten(err)
}
