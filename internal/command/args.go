package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// An invocation is what the arguments ask for.
type invocation struct {
	command *cli.Command // nil for the program itself
	path    string       // of the command's names
	help    bool
	version bool
	// args are the arguments in the order and spelling that the flag parser
	// takes: the command, its flags apart and with their values, its paths.
	args []string
}

// arrange reads the arguments. Flags may stand among the paths and combine,
// "--" ends them. What looks like a flag and is none is refused with the name
// that comes nearest, and so is a value that cannot be meant.
func arrange(app *cli.App, args []string) (invocation, error) {
	var inv invocation
	i := slices.IndexFunc(args, func(arg string) bool { return !isFlag(arg) })
	before := args
	if i >= 0 {
		before = args[:i]
	}
	for _, arg := range before {
		switch find(nil, arg) {
		case cli.HelpFlag:
			inv.help = true
		case cli.VersionFlag:
			return invocation{version: true}, nil
		default:
			return inv, misplaced(app, arg)
		}
	}
	if i >= 0 && args[i] == "help" {
		return arrange(app, append([]string{"--help"}, args[i+1:]...))
	}
	if i < 0 {
		if !inv.help {
			return inv, &usageError{err: errors.New("no command is given"), advice: "imaseal --help lists the commands"}
		}
		return inv, nil
	}
	return inv.named(app.Commands, args[i:])
}

// named finds the command that args begin with.
func (inv invocation) named(commands []*cli.Command, args []string) (invocation, error) {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[0]) })
	if i < 0 {
		return inv, &usageError{
			err:    fmt.Errorf("there is no command %q", join(inv.path, args[0])),
			advice: didYouMean(nearest(args[0], commandNames(commands)), join("imaseal", inv.path)+" --help lists the commands"),
		}
	}
	inv.command = commands[i]
	inv.path = join(inv.path, inv.command.Name)
	inv.args = append(inv.args, inv.command.Name)
	args = args[1:]
	if len(inv.command.Subcommands) == 0 {
		return inv.split(args)
	}
	for len(args) > 0 && find(nil, args[0]) == cli.HelpFlag {
		inv.help, args = true, args[1:]
	}
	switch {
	case len(args) > 0 && isFlag(args[0]):
		return inv, unknownFlag(inv.command.Flags, args[0], inv.path)
	case len(args) > 0:
		return inv.named(inv.command.Subcommands, args)
	case !inv.help:
		return inv, &usageError{
			err:    fmt.Errorf("%s needs a command of its own", inv.path),
			advice: "imaseal " + inv.path + " --help lists them",
		}
	}
	return inv, nil
}

// split tells the flags of the command from its paths.
func (inv invocation) split(args []string) (invocation, error) {
	defined := inv.command.Flags
	var paths []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			paths = append(paths, args...)
			break
		}
		if !isFlag(arg) {
			paths = append(paths, arg)
			continue
		}
		if len(arg) > 2 && find(defined, arg) == nil && find(defined, "-"+arg) != nil {
			return inv, unknownFlag(defined, arg, inv.path) // -json is not -j son
		}
		for _, one := range separate(defined, arg) {
			f := find(defined, one)
			if f == cli.HelpFlag {
				return invocation{command: inv.command, path: inv.path, help: true}, nil
			}
			if f == nil || f == cli.VersionFlag {
				return inv, unknownFlag(defined, one, inv.path)
			}
			inv.args = append(inv.args, one)
			rest, err := checkValue(defined, f, one, args)
			if err != nil {
				return inv, err
			}
			inv.args = append(inv.args, args[:len(args)-len(rest)]...)
			args = rest
		}
	}
	inv.args = append(append(inv.args, "--"), paths...)
	return inv, nil
}

// checkValue refuses a value that is missing or cannot be meant, and returns
// the arguments behind it. No option takes an empty value: where one would be
// no option at all, a variable of the shell that is not set would silently
// drop, say, the undo log.
func checkValue(defined []cli.Flag, f cli.Flag, one string, args []string) ([]string, error) {
	name, value, joined := strings.Cut(one, "=")
	switch {
	case !takesValue(f) && joined:
		return nil, &usageError{err: fmt.Errorf("%s takes no value", name)}
	case !takesValue(f):
		return args, nil
	case !joined && len(args) == 0:
		return nil, &usageError{err: fmt.Errorf("%s needs a value", name)}
	case !joined:
		value, args = args[0], args[1:]
		if value == "--" || isFlag(value) && find(defined, separate(defined, value)[0]) != nil {
			return nil, &usageError{
				err:    fmt.Errorf("%s needs a value, and %s is an option", name, value),
				advice: fmt.Sprintf("if it is meant as the value: %s=%s", name, value),
			}
		}
	}
	if value == "" {
		return nil, &usageError{err: fmt.Errorf("the value of %s is empty", name), advice: "a variable of the shell may not be set"}
	}
	if _, ok := f.(*cli.IntFlag); ok {
		if _, err := strconv.Atoi(value); err != nil {
			return nil, &usageError{err: fmt.Errorf("%s %q is not a number", name, value)}
		}
	}
	return args, nil
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// separate takes combined short flags apart: -nv becomes -n -v, and -nj4
// becomes -n -j=4. What contains an unknown letter stays as it is.
func separate(defined []cli.Flag, arg string) []string {
	if strings.HasPrefix(arg, "--") || len(arg) == 2 || arg[2] == '=' {
		return []string{arg}
	}
	var out []string
	for i := 1; i < len(arg); i++ {
		f := find(defined, "-"+arg[i:i+1])
		if f == nil {
			return []string{arg}
		}
		if takesValue(f) && i+1 < len(arg) {
			return append(out, "-"+arg[i:i+1]+"="+strings.TrimPrefix(arg[i+1:], "="))
		}
		out = append(out, "-"+arg[i:i+1])
	}
	return out
}

// find returns the flag that an argument names, the parser's own ones for help
// and version among them, or nil. One dash is for short names, two for long
// ones; -v is no version, since commands are verbose with it.
func find(defined []cli.Flag, arg string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	long := strings.HasPrefix(arg, "--")
	for _, f := range append(slices.Clone(defined), cli.HelpFlag) {
		if slices.Contains(f.Names(), name) && long == (len(name) > 1) {
			return f
		}
	}
	if arg == "--version" {
		return cli.VersionFlag
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// misplaced is about a flag in front of the command.
func misplaced(app *cli.App, arg string) error {
	name, _, _ := strings.Cut(arg, "=")
	for _, c := range app.Commands {
		if find(c.Flags, separate(c.Flags, arg)[0]) != nil {
			return &usageError{
				err:    fmt.Errorf("%s stands in front of the command", name),
				advice: fmt.Sprintf("options of a command stand behind it: imaseal %s %s", c.Name, name),
			}
		}
	}
	return unknownFlag(nil, arg, "")
}

func unknownFlag(defined []cli.Flag, arg, path string) error {
	name, _, _ := strings.Cut(arg, "=")
	var names []string
	for _, f := range append(slices.Clone(defined), cli.HelpFlag) {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	near := ""
	if len(name) > 2 { // of short ones all are equally near
		near = nearest("--"+strings.TrimLeft(name, "-"), names)
	}
	return &usageError{
		err:    fmt.Errorf("there is no option %s", printableText(name)),
		advice: didYouMean(near, join("imaseal", path)+" --help lists the options; -- ends them"),
	}
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	return names
}

func join(path, name string) string { return strings.TrimSpace(path + " " + name) }
