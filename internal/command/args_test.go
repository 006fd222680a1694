package command

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	app := Program{}.app()
	tests := []struct{ in, want string }{
		{"hash /x", "hash -- /x"},
		{"hash /x -n", "hash -n -- /x"},
		{"hash -nv /x", "hash -n -v -- /x"},
		{"hash -nj4 /x", "hash -n -j=4 -- /x"},
		{"hash -j 4 /x", "hash -j 4 -- /x"},
		{"hash -j=4 /x", "hash -j=4 -- /x"},
		{"hash --owner any /x --algo=sha1 /y", "hash --owner any --algo=sha1 -- /x /y"},
		{"hash -0n --files-from -", "hash -0 -n --files-from - --"},
		{"hash -- -n -- x", "hash -- -n -- x"},
		{"hash - /x", "hash -- - /x"},
		{"verify help h version", "verify -- help h version"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			inv, err := arrange(app, strings.Fields(tt.in))
			if got := strings.Join(inv.args, " "); err != nil || got != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestSubcommands(t *testing.T) {
	app := &cli.App{Commands: []*cli.Command{{
		Name: "keys",
		Subcommands: []*cli.Command{
			{Name: "id", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}},
			{Name: "generate"},
		},
	}}}
	tests := []struct {
		in, args, path, err string
		help                bool
	}{
		{in: "keys id f --json", path: "keys id", args: "keys id --json -- f"},
		{in: "keys --help", path: "keys", args: "keys", help: true},
		{in: "keys --help id", path: "keys id", args: "keys id --", help: true},
		{in: "keys id --help", path: "keys id", help: true},
		{in: "help keys id", path: "keys id", args: "keys id --", help: true},
		{in: "keys", err: "keys needs a command of its own"},
		{in: "keys --json id", err: "there is no option --json"},
		{in: "keys ids", err: `there is no command "keys ids"`},
		{in: "keys id --jsno", err: "there is no option --jsno"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			inv, err := arrange(app, strings.Fields(tt.in))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || inv.path != tt.path || inv.help != tt.help || strings.Join(inv.args, " ") != tt.args {
				t.Errorf("%q %v %q, %v", inv.path, inv.help, inv.args, err)
			}
		})
	}
}

func TestParserGetsOnlyKnownFlags(t *testing.T) {
	app := Program{}.app()
	for _, arg := range []string{"-", "--", "---", "-=", "--=", "-n=", "-n=1", "--dry-run=", "-nn", "-n-n", "--=x", "-\x00", "-é"} {
		inv, err := arrange(app, []string{"hash", arg, "/x"})
		if err != nil {
			continue
		}
		for _, a := range inv.args[1:] {
			if a == "--" {
				break
			}
			if find(inv.command.Flags, a) == nil {
				t.Errorf("%q: %q is handed on", arg, inv.args)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"hash", "verify", "show", "clear", "--undo-log", "--json", "sha1", "sha256", "sha512"}
	tests := []struct{ typed, want string }{
		{"hsah", "hash"}, {"has", "hash"}, {"hashh", "hash"},
		{"verfy", "verify"}, {"clera", "clear"}, {"sha265", "sha256"},
		{"--undo", "--undo-log"}, {"--jsn", "--json"}, {"--json-lines", "--json"},
		{"sha", "sha1"}, {"xyzzy", ""}, {"", ""}, {"-", ""}, {"--", ""}, {"unrelated", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.typed, words); got != tt.want {
			t.Errorf("nearest(%q) is %q, want %q", tt.typed, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"kitten", "sitting", 3},
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
