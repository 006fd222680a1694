package cli

import (
	"os"
	"strings"

	"golang.org/x/term"

	"imaseal/internal/cmdline"
)

// lines breaks a text for a terminal. What goes elsewhere is one line.
func lines(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	return cmdline.Wrap(text, width)
}

// fit breaks the lines of a text for the terminal that standard output may be;
// what follows is set in a little further.
func (p Program) fit(text string) string {
	const further = 2
	width := p.width()
	if width == 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		for i, part := range lines(line, width-indent-further) {
			if i == 1 {
				indent += further
			}
			b.WriteString(strings.Repeat(" ", indent) + part + "\n")
		}
	}
	return b.String()
}

// fitProse breaks lines that are no commands, and stand two columns in, for the
// terminal that standard output may be. Commands stay whole to be copied.
func (p Program) fitProse(all []string) []string {
	const indent = 2
	var fitted []string
	for _, line := range all {
		if strings.HasPrefix(line, "imaseal ") {
			fitted = append(fitted, line)
		} else {
			fitted = append(fitted, lines(line, p.width()-indent)...)
		}
	}
	return fitted
}

// width is that of the terminal that standard output is, or 0.
func (p Program) width() int {
	f, ok := p.Stdout.(*os.File)
	if !ok || !isTerminal(f) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < cmdline.Width {
		return cmdline.Width
	}
	return width
}

// isTerminal reports whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
