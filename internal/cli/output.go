package cli

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/cmdline"
	"imaseal/internal/report"
)

// outputOptions say how a run is reported, and how many work on it.
type outputOptions struct {
	json, verbose, quiet bool
	progress             string
	jobs                 int
	// inOrder says that one worker was asked for, which keeps the order of names.
	inOrder bool
}

func (o *outputOptions) flags() []urfave.Flag {
	return append(o.reportFlags(),
		&urfave.IntFlag{Name: "jobs", Aliases: []string{"j"}, Destination: &o.jobs, Action: o.noteOrder, Category: output, Value: runtime.GOMAXPROCS(0), DefaultText: "one per processor", Usage: "`NUMBER` of workers; 1 keeps the order of names"})
}

// reportFlags are for commands that have one worker.
func (o *outputOptions) reportFlags() []urfave.Flag {
	o.jobs = 1
	return []urfave.Flag{
		jsonFlag(&o.json, "print one JSON object per file, then a summary object"),
		verboseFlag(&o.verbose), quietFlag(&o.quiet),
		&urfave.StringFlag{Name: "progress", Destination: &o.progress, Category: output, Value: "auto", Usage: "show a progress bar: auto on a terminal only, or never"},
	}
}

func (o *outputOptions) noteOrder(_ *urfave.Context, jobs int) error {
	o.inOrder = jobs == 1
	return nil
}

func verboseFlag(field *bool) urfave.Flag {
	return &urfave.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Destination: field, Category: output, Usage: "print a line per file"}
}

func quietFlag(field *bool) urfave.Flag {
	return &urfave.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Destination: field, Category: output, Usage: "print no summary, only what fails"}
}

func jsonFlag(field *bool, usage string) urfave.Flag {
	return &urfave.BoolFlag{Name: "json", Destination: field, Category: output, Usage: usage}
}

func (o *outputOptions) check() error {
	if err := checkWord("progress", o.progress); err != nil {
		return err
	}
	switch {
	case o.jobs < 1:
		return &cmdline.UsageError{Err: fmt.Errorf("--jobs %d: at least one worker is needed", o.jobs)}
	case o.json && o.quiet:
		return conflict("--json and --quiet: JSON is not printed quietly", "leave out one of them")
	case o.verbose && o.quiet:
		return conflict("--verbose and --quiet contradict each other", "leave out one of them")
	}
	return nil
}

// silent reports whether nothing is said about a run but results and errors.
func (o *outputOptions) silent() bool { return o.quiet || o.json }

// reporter picks how results are printed; bar may be nil.
func (p Program) reporter(o outputOptions, bar *report.Bar) report.Handler {
	if o.json {
		return &report.JSON{Out: p.Stdout, Verbose: o.verbose, Hint: hintOn, Bar: bar}
	}
	return &report.Text{Out: p.Stdout, Err: p.Stderr, Verbose: o.verbose, Quiet: o.quiet, Hint: hintOn, Bar: bar}
}

// bar returns a bar if there is a terminal to show it, to which nothing else
// is written all the time.
func (p Program) bar(s sessionOptions) *report.Bar {
	o := s.output
	f, ok := p.Stderr.(*os.File)
	if !ok || o.progress != "auto" || !isTerminal(f) || p.getenv("TERM") == "dumb" {
		return nil
	}
	if isTerminal(p.Stdout) && (o.json || o.verbose) {
		return nil
	}
	bar := report.NewBar(f, func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			return cmdline.Width
		}
		return width
	}, p.hasUTF8())
	bar.Files, bar.PerFile = s.countFiles, s.perFile
	return bar
}

// hasUTF8 reports whether the locale is one of UTF-8, as setlocale(3) finds
// it. That of a rescue system or a serial console often is not.
func (p Program) hasUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := p.getenv(name); v != "" {
			v = strings.ToLower(strings.ReplaceAll(v, "-", ""))
			return strings.Contains(v, "utf8")
		}
	}
	return false
}
