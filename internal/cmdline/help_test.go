package cmdline

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestHelp(t *testing.T) {
	g := example()
	const want = `NAME:
   program hash - label

USAGE:
   program hash [OPTIONS] PATH...

WRITING:
   -n, --dry-run              write nothing

OUTPUT:
   -v, --verbose              print a line per file
       --json                 print objects
   -j, --jobs NUMBER          NUMBER of workers (default: many)
       --progress auto|never  show a bar (default: auto)

SELECTING:
       --owner USER           files of this USER
       --files-from FILE      the files that FILE lists
   -0                         zero bytes end the names

LABELS:
       --algo ALGORITHM       of digests (may be repeated)
   -h, --help                 show this help
`
	if got := g.Help(Invocation{Command: g.App.Commands[0], Path: "hash"}); got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}

func TestSyntax(t *testing.T) {
	g := example()
	tests := []struct {
		flag cli.Flag
		want string
	}{
		{&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}}, "-n, --dry-run"},
		{&cli.BoolFlag{Name: "0"}, "-0"},
		{&cli.BoolFlag{Name: "json"}, "    --json"},
		{&cli.StringFlag{Name: "owner", Usage: "of `USER`"}, "    --owner USER"},
		{&cli.StringFlag{Name: "progress"}, "    --progress auto|never"},
		{&cli.StringFlag{Name: "other"}, "    --other VALUE"},
	}
	for _, tt := range tests {
		if got := g.syntax(tt.flag); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestComplete(t *testing.T) {
	g := example()
	tests := []struct{ in, want string }{
		{"", "hash verify completion help"},
		{"ha", "hash"},
		{"--", "hash verify completion help"},
		{"-- ve", "verify"},
		{"hash --pro", "--progress"},
		{"hash --progress ", "auto never"},
		{"hash --progress n", "never"},
		{"hash --progress=n", "--progress=never"},
		{"hash --progress = n", "never"},
		{"hash --progress =", "auto never"},
		{"hash --owner ", ""},
		{"hash /x --dry", "--dry-run"},
		{"hash -- --dry", ""},
		{"completion ", "bash zsh"},
	}
	for _, tt := range tests {
		if got := g.Complete(strings.Split(tt.in, " ")); !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%q: %q, want %s", tt.in, got, tt.want)
		}
	}
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
		if got := strings.Join(Wrap(tt.in, 5), "|"); got != tt.want {
			t.Errorf("%q is wrapped as %q, want %q", tt.in, got, tt.want)
		}
	}
}
