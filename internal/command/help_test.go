package command

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// leaves visits the program's commands that do something.
func leaves(app *cli.App, visit func(path string, inv invocation)) {
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			if p := join(path, c.Name); len(c.Subcommands) > 0 {
				walk(p, c.Subcommands)
			} else {
				visit(p, invocation{command: c, path: p})
			}
		}
	}
	walk("", app.Commands)
}

func TestHelpTeaches(t *testing.T) {
	app := Program{}.app()
	leaves(app, func(path string, inv invocation) {
		text := help(app, inv)
		if !strings.Contains(text, "\n      imaseal "+path) {
			t.Errorf("%s --help has no example", path)
		}
		for _, f := range inv.command.Flags {
			if !strings.Contains(text, flagSyntax(f)+" ") && !strings.Contains(text, flagSyntax(f)+"\n") {
				t.Errorf("%s --help lacks %s", path, flagSyntax(f))
			}
			if _, usage := placeholder(f); usage == "" {
				t.Errorf("%s: %s is not explained", path, flagSyntax(f))
			}
			if value, _ := placeholder(f); takesValue(f) && value == "VALUE" {
				t.Errorf("%s: the value of %s has no name", path, flagSyntax(f))
			}
		}
		for line := range strings.SplitSeq(text, "\n") {
			if utf8.RuneCountInString(line) > helpWidth || strings.TrimRight(line, " ") != line {
				t.Errorf("%s --help: line too long, or blank at its end: %q", path, line)
			}
		}
	})
}

// TestCategoriesInOrder keeps the help of all commands alike.
func TestCategoriesInOrder(t *testing.T) {
	app := Program{}.app()
	leaves(app, func(path string, inv invocation) {
		text, last := help(app, inv), 0
		for _, category := range []string{selecting, labels, writing, output} {
			at := strings.Index(text, "\n"+strings.ToUpper(category)+":\n")
			if at >= 0 && at < last {
				t.Errorf("%s --help: %q comes too early", path, category)
			}
			last = max(last, at)
		}
	})
}

func TestWrap(t *testing.T) {
	tests := []struct {
		in   string
		want string
	}{
		{"", ""}, {"a", "a"}, {"a b", "a b"}, {"aaa bbb", "aaa|bbb"}, {"aa  bb c", "aa bb|c"},
		{"overlong a", "overlong|a"}, {"ää öö", "ää öö"},
	}
	for _, tt := range tests {
		if got := strings.Join(wrap(tt.in, 5), "|"); got != tt.want {
			t.Errorf("%q is wrapped as %q, want %q", tt.in, got, tt.want)
		}
	}
}
