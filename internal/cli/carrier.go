package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/compress"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/internal/tree/tarball"
)

// archiveOptions say how a command goes about an archive.
type archiveOptions struct{ plan.Archiving }

// flags are for commands that write.
func (o *archiveOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "output", Destination: &o.Output, Category: archiveCategory, Usage: "write the new archive to `FILE`; - is standard output"},
		&urfave.BoolFlag{Name: "in-place", Destination: &o.InPlace, Category: archiveCategory, Usage: "replace the archive, in one step when all is done"},
		&urfave.StringFlag{Name: "compress", Destination: &o.Compression, Category: archiveCategory, DefaultText: "as the old archive", Usage: "the new archive: none, gzip or zstd"},
		o.tempDirFlag(),
	}
}

// tempDirFlag is for all commands that read contents.
func (o *archiveOptions) tempDirFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "tmpdir", Destination: &o.TempDir, Category: archiveCategory, DefaultText: "TMPDIR, or /tmp", Usage: "`DIRECTORY` for large files of archives that are compressed or come through a pipe"}
}

func (o *archiveOptions) check() error {
	if o.Compression == "" {
		return nil
	}
	return checkWord("compress", o.Compression)
}

// compressions are the words of --compress.
func compressions() []string {
	return []string{compress.None.String(), compress.Gzip.String(), compress.Zstd.String()}
}

// refuseForArchive refuses what cannot be in an archive, or need not be said of
// one.
func refuseForArchive(s plan.Selection, o ...given) error {
	_, ok := s.Archive()
	for _, g := range o {
		if ok && g.is {
			return conflict("--"+g.name+" is of no use with an archive", "leave it out")
		}
	}
	return nil
}

// checkArchiveOutput refuses a report where the archive goes.
func checkArchiveOutput(r plan.Plan, o outputOptions) error {
	if r.Output == "-" && o.json {
		return conflict("--json and the archive both go to standard output", "--output FILE")
	}
	return nil
}

// openArchive opens an archive, and what is written.
func (s *session) openArchive(ctx context.Context, file string) error {
	cfg := tarball.Config{Jobs: max(s.plan.Jobs, s.options.inFlight), Leave: s.options.leave, TempDir: s.plan.TempDir}
	w := s.walking()
	cfg.Owner, cfg.Include, cfg.Exclude = w.Owner, w.Include, w.Exclude
	if s.options.oneFinder {
		cfg.Jobs = 1
	}
	var err error
	if s.archive, err = tarball.Open(file, s.program.Stdin, cfg); err != nil || !s.plan.Writes() {
		return err
	}
	o := tarball.Output{Path: s.plan.Output, InPlace: s.plan.InPlace}
	if s.plan.Compression != "" {
		f, err := compress.Parse(s.plan.Compression)
		if err != nil {
			return err
		}
		o.Compression = &f
	}
	if o.Path == "-" {
		stdout, ok := s.program.Stdout.(*os.File)
		if !ok || isTerminal(stdout) {
			return errTerminal
		}
		o.Stdout = stdout
	}
	s.written, err = s.archive.NewSink(ctx, o)
	return err
}

// errTerminal says that an archive would go to a terminal.
var errTerminal = &advisedError{err: errors.New("standard output is a terminal, and an archive is nothing to look at"), code: "terminal", advice: "--output FILE, or a pipe"}

// each prints what is to be said of files: what file returns of each name, and
// entry of each file of an archive, in the archive's order. Errors, which name the
// file, are printed too, and end nothing; what is wrong with an archive ends only
// what is said of that.
func (p Program) each(ctx context.Context, names []string, file func(name string) (string, error), entry func(tree.File) (string, error)) error {
	failed, hinted := false, make(map[string]bool)
	say := func(text string, err error) error {
		if err != nil {
			failed = true
			p.complain(err, hinted)
			return nil
		}
		return p.print(text)
	}
	of := func(f tree.Found) error {
		switch {
		case f.Err != nil:
			return say("", fmt.Errorf("%s: %w", report.Quote(f.Path), f.Err))
		case f.File == nil:
			return nil
		}
		defer f.File.Close()
		return say(entry(f.File))
	}
	for _, name := range names {
		archive, ok := plan.IsArchive(name)
		if !ok {
			if err := say(file(name)); err != nil {
				return err
			}
			continue
		}
		var unsaid error
		err := p.eachEntry(ctx, archive, func(f tree.Found) error { unsaid = of(f); return unsaid })
		switch {
		case unsaid != nil:
			return unsaid
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			say("", err)
		}
	}
	if failed {
		return &verdictError{status: exitFiles}
	}
	return nil
}

func (p Program) eachEntry(ctx context.Context, archive string, visit func(tree.Found) error) error {
	a, err := tarball.Open(archive, p.Stdin, tarball.Config{Jobs: 1})
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Walk(ctx, visit)
}
