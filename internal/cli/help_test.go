package cli

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
)

// leaves visits the program's commands that do something.
func leaves(app *urfave.App, visit func(path string, inv cmdline.Invocation)) {
	var walk func(path string, commands []*urfave.Command)
	walk = func(path string, commands []*urfave.Command) {
		for _, c := range commands {
			if p := strings.TrimSpace(path + " " + c.Name); len(c.Subcommands) > 0 {
				walk(p, c.Subcommands)
			} else {
				visit(p, cmdline.Invocation{Command: c, Path: p})
			}
		}
	}
	walk("", app.Commands)
}

func TestHelpTeaches(t *testing.T) {
	g := Program{}.grammar()
	leaves(g.App, func(path string, inv cmdline.Invocation) {
		text := g.Help(inv)
		if !strings.Contains(text, "\n      imaseal "+path) {
			t.Errorf("%s --help has no example", path)
		}
		for _, f := range inv.Command.Flags {
			if !regexp.MustCompile(`\n   (-\w, )? *--?` + f.Names()[0] + `[ \n]`).MatchString(text) {
				t.Errorf("%s --help lacks %s", path, f.Names()[0])
			}
			if f.(urfave.DocGenerationFlag).GetUsage() == "" {
				t.Errorf("%s: %s is not explained", path, f.Names()[0])
			}
			if strings.Contains(text, f.Names()[0]+" VALUE") {
				t.Errorf("%s: the value of %s has no name", path, f.Names()[0])
			}
		}
		for line := range strings.SplitSeq(text, "\n") {
			if utf8.RuneCountInString(line) > cmdline.Width || strings.TrimRight(line, " ") != line {
				t.Errorf("%s --help: line too long, or blank at its end: %q", path, line)
			}
		}
	})
}

// TestCategoriesInOrder keeps the help of all commands alike.
func TestCategoriesInOrder(t *testing.T) {
	g := Program{}.grammar()
	leaves(g.App, func(path string, inv cmdline.Invocation) {
		text, last := g.Help(inv), 0
		for _, category := range []string{selecting, labels, writing, output} {
			at := strings.Index(text, "\n"+strings.ToUpper(category)+":\n")
			if at >= 0 && at < last {
				t.Errorf("%s --help: %q comes too early", path, category)
			}
			last = max(last, at)
		}
	})
}
