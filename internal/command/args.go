package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts arguments into the order and spelling that the flag parser
// takes: flags of the command before its paths, combined short flags apart, a
// value behind its flag. What looks like a flag and is none is refused with
// the name that comes nearest; "--" ends the flags.
func arrange(app *cli.App, args []string) ([]string, error) {
	var name string
	for i, arg := range args {
		if isFlag(arg) {
			if err := known(app.Flags, arg, "imaseal"); err != nil {
				return nil, err
			}
			continue
		}
		name, args = arg, slices.Delete(slices.Clone(args), i, i+1)
		break
	}
	if name == "" {
		return args, nil
	}
	if name == "help" {
		return append(args, "--help"), nil
	}
	cmd := app.Command(name)
	if cmd == nil {
		return nil, &usageError{
			err:    fmt.Errorf("there is no command %q", name),
			advice: didYouMean(nearestCommand(app.Commands, name), "imaseal --help lists the commands"),
		}
	}
	return arrangeCommand(cmd, cmd.Name, args)
}

func arrangeCommand(cmd *cli.Command, path string, args []string) ([]string, error) {
	if len(cmd.Subcommands) > 0 {
		i := slices.IndexFunc(args, func(a string) bool { return !isFlag(a) })
		if i < 0 {
			return append(strings.Fields(path), args...), nil
		}
		sub := cmd.Command(args[i])
		if sub == nil {
			return nil, &usageError{
				err:    fmt.Errorf("there is no command %q", path+" "+args[i]),
				advice: didYouMean(nearestCommand(cmd.Subcommands, args[i]), "imaseal "+path+" --help lists the commands"),
			}
		}
		return arrangeCommand(sub, path+" "+sub.Name, slices.Delete(slices.Clone(args), i, i+1))
	}
	flags, paths, err := split(cmd.Flags, path, args)
	if err != nil {
		return nil, err
	}
	out := append(strings.Fields(path), flags...)
	return append(append(out, "--"), paths...), nil
}

// split tells flags from paths.
func split(defined []cli.Flag, path string, args []string) (flags, paths []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			return flags, append(paths, args...), nil
		}
		if !isFlag(arg) {
			paths = append(paths, arg)
			continue
		}
		for _, one := range separate(defined, arg) {
			if err := known(defined, one, "imaseal "+path); err != nil {
				return nil, nil, err
			}
			flags = append(flags, one)
			if !takesValue(find(defined, one)) || strings.Contains(one, "=") {
				continue
			}
			if len(args) == 0 {
				return nil, nil, &usageError{err: fmt.Errorf("%s needs a value", one), advice: "imaseal " + path + " --help explains it"}
			}
			flags, args = append(flags, args[0]), args[1:]
		}
	}
	return flags, paths, nil
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

// find returns the flag that an argument names, or nil. One dash is for short
// names, two for long ones.
func find(defined []cli.Flag, arg string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	long := strings.HasPrefix(arg, "--")
	for _, f := range append(slices.Clone(defined), cli.HelpFlag, cli.VersionFlag) {
		if slices.Contains(f.Names(), name) && long == (len(name) > 1) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func known(defined []cli.Flag, arg, path string) error {
	if find(defined, arg) != nil {
		return nil
	}
	name, _, _ := strings.Cut(arg, "=")
	advice := path + " --help lists the options; -- ends them"
	if near := cli.SuggestFlag(defined, strings.TrimLeft(name, "-"), false); near != "" {
		advice = didYouMean(near, advice)
	}
	return &usageError{err: fmt.Errorf("there is no option %s", name), advice: advice}
}

func nearestCommand(commands []*cli.Command, name string) string {
	var flags []cli.Flag // the parser's own measure of likeness, applied to names of commands
	for _, c := range commands {
		if !c.Hidden {
			flags = append(flags, &cli.BoolFlag{Name: c.Name})
		}
	}
	return strings.TrimLeft(cli.SuggestFlag(flags, name, true), "-")
}

func didYouMean(near, otherwise string) string {
	if near == "" {
		return otherwise
	}
	return "did you mean " + near + "? " + otherwise
}
