package cli

import (
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"imaseal/internal/cmdline"
	"imaseal/internal/report"
)

// reporter picks how results are printed; bar may be nil.
func (p Program) reporter(c *urfave.Context, bar *report.Bar) report.Handler {
	if c.Bool("json") {
		return &report.JSON{Out: p.Stdout, Verbose: c.Bool("verbose"), Hint: hint, Bar: bar}
	}
	return &report.Text{Out: p.Stdout, Err: p.Stderr, Verbose: c.Bool("verbose"), Quiet: c.Bool("quiet"), Hint: hint, Bar: bar}
}

// bar returns a bar if there is a terminal to show it, to which nothing else
// is written all the time.
func (p Program) bar(c *urfave.Context) *report.Bar {
	f, ok := p.Stderr.(*os.File)
	if !ok || c.String("progress") != "auto" || !isTerminal(f) || p.getenv("TERM") == "dumb" {
		return nil
	}
	if isTerminal(p.Stdout) && (c.Bool("json") || c.Bool("verbose")) {
		return nil
	}
	bar := report.NewBar(f, func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			return cmdline.Width
		}
		return width
	}, p.hasUTF8())
	bar.Files = c.Command.Name == "clear" || c.Command.Name == "undo"
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
