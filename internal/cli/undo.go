package cli

import (
	"errors"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
	"imaseal/internal/undo"
)

func (p Program) undoCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Category: writing, Usage: "write nothing, report the same"},
		&urfave.StringFlag{Name: "immutable", Category: writing, Value: "fail", Usage: "chattr +i files: fail, or lift the flag and put it back"},
	}
	// One worker keeps the order of the log, so there is no --jobs.
	out := slices.DeleteFunc(outputFlags(), func(f urfave.Flag) bool { return f.Names()[0] == "jobs" })
	return &urfave.Command{
		Name:      "undo",
		Usage:     "put back what a run replaced",
		ArgsUsage: "LOG",
		Description: `Reads a log that --undo-log made, and gives every file the labels that it
had before that run. A file whose label is no longer the one that the run
wrote is left alone. The log stays.

   imaseal hash --undo-log /root/labels.undo /mnt/root
   imaseal undo /root/labels.undo`,
		Flags:  slices.Concat(own, out),
		Action: p.undo,
	}
}

func (p Program) undo(c *urfave.Context) error {
	if err := checkFlags(c); err != nil {
		return err
	}
	name := c.Args().First()
	if c.Args().Len() != 1 || name == "" {
		return &cmdline.UsageError{Err: errors.New("undo takes one LOG"), Advice: "the file that --undo-log named"}
	}
	log, err := undo.Open(name)
	if err != nil {
		return err
	}
	defer log.Close()
	request := plan.Plan{Command: "undo", Jobs: 1, Writing: plan.Writing{
		DryRun: c.Bool("dry-run"), LiftImmutable: c.String("immutable") == "lift", Namespace: log.Header.Namespace,
	}}
	if err := p.privileged(request); err != nil {
		return err
	}
	r := &session{program: p, plan: request, bar: p.bar(c)}
	r.report = p.reporter(c, r.bar)
	if r.bar != nil {
		for range log.Len() {
			r.bar.Expect(0)
		}
		r.bar.Counted()
	}
	if log.Torn {
		p.warn("%s ends in the middle of a line, as where a run was killed: what the lines behind it would tell is not undone", report.Quote(name))
	}
	undoer := &relabel.Undoer{Log: log, Name: name, Writer: r.writer()}
	r.source = undoer.Source
	r.header = report.Header{Command: "undo", Jobs: 1, DryRun: request.DryRun}
	sum, err := r.run(c.Context, undoer.Undo)
	if err != nil {
		return err
	}
	if n := sum.Count[report.Vanished]; n > 0 && n == sum.Selected() {
		return &advisedError{
			err:    fmt.Errorf("%s: none of its files is where it was", report.Quote(name)),
			advice: "mount the file system where it was mounted then, or move the tree back; imaseal undo -nv tells the paths",
		}
	}
	return status(sum)
}
