package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself what could come next, with the words so
// far; where it has nothing to say the shell completes names of files.
var completionScripts = map[string]string{
	"bash": `_imaseal() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$(imaseal __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$cur"))
}
complete -o default -o bashdefault -F _imaseal imaseal
`,
	"zsh": `#compdef imaseal
_imaseal() {
	local -a found
	found=("${(@f)$(imaseal __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		compadd -- "${found[@]}"
	else
		_files
	fi
}
if [[ "$funcstack[1]" = _imaseal ]]; then
	_imaseal "$@"
else
	compdef _imaseal imaseal
fi
`,
	"fish": `function __imaseal_complete
	set -l words (commandline -opc) (commandline -ct)
	imaseal __complete -- $words[2..-1] 2>/dev/null
end
complete -c imaseal -a '(__imaseal_complete)'
`,
}

func (p Program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Once for all users, as root:
   imaseal completion bash > /etc/bash_completion.d/imaseal
   imaseal completion zsh > /usr/local/share/zsh/site-functions/_imaseal
   imaseal completion fish > /etc/fish/completions/imaseal.fish`,
		Action: func(c *cli.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok || c.Args().Len() != 1 {
				return &usageError{err: errors.New("completion takes the name of a shell"), advice: "bash, zsh or fish"}
			}
			return p.print(script)
		},
	}
}

// completeCommand is what the scripts call.
const completeCommand = "__complete"

// complete prints what could stand in place of the last word, one a line.
func (p Program) complete(app *cli.App, words []string) int {
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
	for _, s := range candidates(app, before) {
		if strings.HasPrefix(s, last) && (last != "" || !isFlag(s)) {
			fmt.Fprintln(p.Stdout, prefix+s)
		}
	}
	return exitOK
}

// candidates are the words that could come behind those before.
func candidates(app *cli.App, before []string) []string {
	commands, flags, command := app.Commands, []cli.Flag{cli.VersionFlag}, ""
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
			if words, ok := enumerated[f.Names()[0]]; ok {
				return words()
			}
			return nil
		}
		if prev == "completion" {
			return slices.Sorted(maps.Keys(completionScripts))
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
