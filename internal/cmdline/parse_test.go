package cmdline

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// example is a grammar with flags of all kinds.
func example() Grammar {
	files := []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Category: "Writing", Usage: "write nothing"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Category: "Output", Usage: "print a line per file"},
		&cli.BoolFlag{Name: "json", Category: "Output", Usage: "print objects"},
		&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Category: "Output", DefaultText: "many", Usage: "`NUMBER` of workers"},
		&cli.StringFlag{Name: "progress", Category: "Output", Value: "auto", Usage: "show a bar"},
		&cli.StringFlag{Name: "owner", Category: "Selecting", Usage: "files of this `USER`"},
		&cli.StringFlag{Name: "files-from", Category: "Selecting", Usage: "the files that `FILE` lists"},
		&cli.BoolFlag{Name: "0", Category: "Selecting", Usage: "zero bytes end the names"},
	}
	algo := &cli.StringSliceFlag{Name: "algo", Category: "Labels", Usage: "of digests (`ALGORITHM`)"}
	return Grammar{
		App: &cli.App{Name: "program", Usage: "do things", Commands: []*cli.Command{
			{Name: "hash", Usage: "label", ArgsUsage: "PATH...", Flags: append(files, algo)},
			{Name: "verify", Flags: files},
			{Name: "completion"},
			{Name: "secret", Hidden: true},
		}},
		Options:   map[string]func() []string{"progress": func() []string { return []string{"auto", "never"} }},
		Arguments: map[string]func() []string{"completion": func() []string { return []string{"bash", "zsh"} }},
	}
}

func TestParse(t *testing.T) {
	g := example()
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
			inv, err := g.Parse(strings.Fields(tt.in))
			if got := strings.Join(inv.Args, " "); err != nil || got != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestSubcommands(t *testing.T) {
	g := Grammar{App: &cli.App{Commands: []*cli.Command{{
		Name: "keys",
		Subcommands: []*cli.Command{
			{Name: "id", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}},
			{Name: "generate"},
		},
	}}}}
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
			inv, err := g.Parse(strings.Fields(tt.in))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || inv.Path != tt.path || inv.Help != tt.help || strings.Join(inv.Args, " ") != tt.args {
				t.Errorf("%q %v %q, %v", inv.Path, inv.Help, inv.Args, err)
			}
		})
	}
}

// What counts once is not given twice, whatever it is called. What says the same
// twice may.
func TestGivenTwice(t *testing.T) {
	g := example()
	tests := []struct{ in, err string }{
		{"hash --owner 1 --owner 2", "--owner is given twice, and counts once"},
		{"hash --owner=1 --owner=1", "--owner is given twice, and counts once"},
		{"hash -j 2 --jobs 3", "-j and --jobs are the same option, and it counts once"},
		{"hash --jobs=3 x -nj2", "--jobs and -j are the same option, and it counts once"},
		{"hash -j2 -j3", "-j is given twice, and counts once"},
		{"hash --files-from a x --files-from b", "--files-from is given twice, and counts once"},
		{"hash -n -n --dry-run -nv", ""},
		{"hash --algo sha1 --algo sha1 --algo x", ""},
		{"hash --owner 1 -- --owner 2", ""},
	}
	for _, tt := range tests {
		_, err := g.Parse(strings.Fields(tt.in))
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: %v, want %q", tt.in, err, tt.err)
		}
		if usage, ok := err.(*UsageError); tt.err != "" && (!ok || usage.Advice == "") {
			t.Errorf("%s: %T without advice", tt.in, err)
		}
	}
}

// The letter that is wrong is the one that is told, unless the whole is a long
// name with one dash.
func TestBlame(t *testing.T) {
	g := example()
	for arg, want := range map[string]string{
		"-nz": "there is no option -z", "-nvzx": "there is no option -z", "-zn": "there is no option -zn", "-né": "there is no option -é",
		"-vxyzzy": "there is no option -x", "-nv=1": "-v takes no value", "-n-n": "there is no option -n-n", "-n\xff": "there is no option -n\xff",
		"-verbos": "there is no option -verbos", "-json": "there is no option -json", "-nz=4": "there is no option -z",
	} {
		if _, err := g.Parse([]string{"hash", arg}); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", arg, err, want)
		}
	}
}

func TestParserGetsOnlyKnownFlags(t *testing.T) {
	g := example()
	for _, arg := range []string{"-", "--", "---", "-=", "--=", "-n=", "-n=1", "--dry-run=", "-nn", "-n-n", "--=x", "-\x00", "-é"} {
		checkArgs(t, g, []string{"hash", arg, "/x"})
	}
}

// FuzzParse: whatever is typed, the flag parser gets only flags that there are.
func FuzzParse(f *testing.F) {
	for _, words := range []string{"hash -nj4 x --owner=any", "verify -v=1 -nz", "help hash", "hash -- -n", "hash -n\xff"} {
		f.Add(words)
	}
	f.Fuzz(func(t *testing.T, words string) {
		checkArgs(t, example(), strings.Split(words, " "))
	})
}

func checkArgs(t *testing.T, g Grammar, args []string) {
	inv, err := g.Parse(args)
	if err != nil || inv.Command == nil {
		return
	}
	takes := false
	for _, a := range inv.Args[min(1, len(inv.Args)):] {
		if a == "--" {
			break
		}
		f := find(inv.Command.Flags, a)
		if f == nil && !takes {
			t.Errorf("%q: %q is handed on", args, inv.Args)
		}
		takes = !takes && f != nil && takesValue(f) && !strings.Contains(a, "=")
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
		if got := Nearest(tt.typed, words); got != tt.want {
			t.Errorf("Nearest(%q) is %q, want %q", tt.typed, got, tt.want)
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
