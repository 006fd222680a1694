package cli

import (
	"context"
	"errors"
	"maps"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
)

// completionScripts ask the program itself what could come next, with the words so
// far (see cmdline.Grammar.Complete); where it has nothing to say the shell completes names of files.
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

func (p Program) completionCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Once for all users, as root:
   imaseal completion bash > /etc/bash_completion.d/imaseal
   imaseal completion zsh > /usr/local/share/zsh/site-functions/_imaseal
   imaseal completion fish > /etc/fish/completions/imaseal.fish`,
		Action: action(planCompletion, func(_ context.Context, script string) error { return p.print(script) }),
	}
}

// planCompletion returns the script of the shell that is named.
func planCompletion(args []string) (string, error) {
	if len(args) == 1 {
		if script, ok := completionScripts[args[0]]; ok {
			return script, nil
		}
	}
	return "", &cmdline.UsageError{Err: errors.New("completion takes the name of a shell"), Advice: "bash, zsh or fish"}
}

// completeCommand is what the scripts call.
const completeCommand = "__complete"

func completionShells() []string { return slices.Sorted(maps.Keys(completionScripts)) }
