package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/undo"
)

// undoOptions are the options of imaseal undo. One worker keeps the order of the
// log, so there is no --jobs, and the log says what namespace it is about.
type undoOptions struct {
	writing writingOptions
	output  outputOptions
}

func (o *undoOptions) flags() []urfave.Flag {
	own := []urfave.Flag{o.writing.dryRunFlag("write nothing, report the same"), o.writing.immutableFlag()}
	return slices.Concat(own, o.output.reportFlags())
}

// An undoRequest is what undo is asked for.
type undoRequest struct {
	log     string
	writing plan.Writing // without the namespace
	output  outputOptions
}

func (o *undoOptions) plan(args []string) (undoRequest, error) {
	r := undoRequest{writing: plan.Writing{DryRun: o.writing.dryRun, LiftImmutable: o.writing.immutable == "lift"}, output: o.output}
	if err := firstError(checkWord("immutable", o.writing.immutable), o.output.check()); err != nil {
		return r, err
	}
	if len(args) != 1 || args[0] == "" {
		return r, &cmdline.UsageError{Err: errors.New("undo takes one LOG"), Advice: "the file that --undo-log named"}
	}
	r.log = args[0]
	return r, nil
}

func (p Program) undoCommand() *urfave.Command {
	o := new(undoOptions)
	return &urfave.Command{
		Name:      "undo",
		Usage:     "put back what a run replaced",
		ArgsUsage: "LOG",
		Description: `Reads a log that --undo-log made, and gives every file the labels that it
had before that run. A file whose label is no longer the one that the run
wrote is left alone. The log stays.

   imaseal hash --undo-log /root/labels.undo /mnt/root
   imaseal undo /root/labels.undo`,
		Flags:  o.flags(),
		Action: action(o.plan, p.undo),
	}
}

func (p Program) undo(ctx context.Context, r undoRequest) error {
	log, err := undo.Open(r.log)
	if err != nil {
		return err
	}
	defer log.Close()
	request := plan.Plan{Command: "undo", Jobs: 1, Writing: r.writing}
	request.Namespace = log.Header.Namespace
	if err := p.privileged(request); err != nil {
		return err
	}
	s := p.session(request, sessionOptions{output: r.output, countFiles: true, writers: run.Ignore})
	defer s.close()
	if s.bar != nil {
		for range log.Len() {
			s.bar.Expect(0)
		}
		s.bar.Counted()
	}
	if log.Torn {
		p.warn(reason.TornLog, "%s ends in the middle of a line, as where a run was killed: what the lines behind it would tell is not undone", report.Quote(r.log))
	}
	if s.tree, err = mounted.Open(nil, mounted.Config{}); err != nil {
		return err
	}
	s.source = &undo.Source{Log: log, Name: r.log, Open: s.tree.OpenFile}
	if s.isRenamed() {
		s.source = userNamespace.Source(s.source)
	}
	s.sink = s.newSink()
	sum, err := s.run(ctx, undo.Job{})
	if err != nil {
		return err
	}
	if n := sum.Count[report.Vanished]; n > 0 && n == sum.Selected() {
		return &advisedError{
			err:    fmt.Errorf("%s: none of its files is where it was", report.Quote(r.log)),
			advice: "mount the file system where it was mounted then, or move the tree back; imaseal undo -nv LOG tells the paths",
		}
	}
	return status(sum)
}
