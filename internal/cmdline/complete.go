package cmdline

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Complete returns what could stand in place of the last of words, which are the
// arguments so far; where it has nothing to say the shell completes names of
// files. A leading "--" does not count.
func (g Grammar) Complete(words []string) []string {
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	prefix := ""                       // of the last word, before the part that is completed
	if n := len(before); last == "=" { // bash makes a word of it
		last = ""
	} else if n > 0 && before[n-1] == "=" {
		before = before[:n-1]
	} else if name, value, ok := strings.Cut(last, "="); ok && isFlag(name) {
		prefix, before, last = name+"=", append(slices.Clone(before), name), value
	}
	var found []string
	for _, s := range g.candidates(before) {
		if strings.HasPrefix(s, last) && (last != "" || !isFlag(s)) {
			found = append(found, prefix+s)
		}
	}
	return found
}

// candidates are the words that could come behind those before.
func (g Grammar) candidates(before []string) []string {
	commands, flags, command := g.App.Commands, []cli.Flag{cli.VersionFlag}, ""
	for _, word := range before {
		if word == "--" {
			return nil // only paths come behind it
		}
		for _, c := range commands {
			if c.HasName(word) {
				commands, flags, command = c.Subcommands, c.Flags, c.Name
				break
			}
		}
	}
	if len(before) > 0 {
		prev := before[len(before)-1]
		if f := find(flags, prev); isFlag(prev) && takesValue(f) {
			if words, ok := g.Options[f.Names()[0]]; ok {
				return words()
			}
			return nil
		}
		if words, ok := g.Arguments[prev]; ok {
			return words()
		}
	}
	var found []string
	for _, c := range commands {
		if !c.Hidden {
			found = append(found, c.Name)
		}
	}
	if command == "" {
		found = append(found, "help")
	}
	for _, f := range append(slices.Clone(flags), cli.HelpFlag) {
		for _, name := range f.Names() {
			if len(name) > 1 {
				found = append(found, "--"+name)
			}
		}
	}
	return found
}
