// Package cmdline reads, explains and completes command lines, where the parser
// of urfave/cli does too little: flags may stand behind paths and combine, what
// looks like a flag and is none is refused with the name that comes nearest, and
// help keeps the order of flags and the width of a terminal. It knows no command
// of the program.
package cmdline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// A Grammar says what arguments there can be. It is not changed, and safe for
// concurrent use.
type Grammar struct {
	App *cli.App
	// Options are the words that options take, by the option's first name,
	// Arguments those that commands take, by the command's name. What is in
	// neither takes anything.
	Options, Arguments map[string]func() []string
}

// An Invocation is what arguments ask for.
type Invocation struct {
	Command *cli.Command // nil for the program itself
	Path    string       // the names that lead to Command, with blanks between
	// Help and Version say that the user wants to read, and nothing is to be
	// done.
	Help, Version bool
	// Args are the arguments in the order and spelling that the flag parser
	// takes: the command, its flags apart and with their values, its paths.
	Args []string

	program string // its name
}

// A UsageError says that the arguments are wrong, and what would be right.
type UsageError struct {
	Err    error
	Advice string // may be empty
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Parse reads the arguments, without the program's name. Flags may stand among
// the paths and combine, "--" ends them. The error is a *UsageError: about what
// looks like a flag and is none, a command that there is not, a value that cannot
// be meant, or a flag with a value that counts once and is given twice, whatever
// names it is given by. A flag without a value says the same twice, and may.
func (g Grammar) Parse(args []string) (Invocation, error) {
	inv := Invocation{program: g.App.Name}
	i := slices.IndexFunc(args, func(arg string) bool { return !isFlag(arg) })
	before := args
	if i >= 0 {
		before = args[:i]
	}
	for _, arg := range before {
		switch find(nil, arg) {
		case cli.HelpFlag:
			inv.Help = true
		case cli.VersionFlag:
			return Invocation{Version: true}, nil
		default:
			return inv, g.misplaced(arg, args[len(before):])
		}
	}
	if i >= 0 && args[i] == "help" {
		return g.Parse(append([]string{"--help"}, args[i+1:]...))
	}
	if i >= 0 && args[i] == "version" && len(args) == i+1 {
		return Invocation{Version: true}, nil
	}
	if i < 0 {
		if !inv.Help {
			return inv, &UsageError{
				Err:    errors.New("no command is given"),
				Advice: strings.Join(commandNames(g.App.Commands), ", ") + "; " + g.App.Name + " --help explains them",
			}
		}
		return inv, nil
	}
	return inv.named(g.App.Commands, args[i:])
}

// named finds the command that args begin with.
func (inv Invocation) named(commands []*cli.Command, args []string) (Invocation, error) {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[0]) })
	if i < 0 {
		return inv, &UsageError{
			Err:    fmt.Errorf("there is no command %q", join(inv.Path, args[0])),
			Advice: DidYouMean(Nearest(args[0], commandNames(commands)), inv.full()+" --help lists the commands"),
		}
	}
	inv.Command = commands[i]
	inv.Path = join(inv.Path, inv.Command.Name)
	inv.Args = append(inv.Args, inv.Command.Name)
	args = args[1:]
	if len(inv.Command.Subcommands) == 0 {
		return inv.split(args)
	}
	for len(args) > 0 && find(nil, args[0]) == cli.HelpFlag {
		inv.Help, args = true, args[1:]
	}
	switch {
	case len(args) > 0 && isFlag(args[0]):
		return inv, inv.unknownFlag(inv.Command.Flags, args[0])
	case len(args) > 0:
		return inv.named(inv.Command.Subcommands, args)
	case !inv.Help:
		return inv, &UsageError{
			Err:    fmt.Errorf("%s needs a command of its own", inv.Path),
			Advice: strings.Join(commandNames(inv.Command.Subcommands), ", ") + "; " + inv.full() + " --help explains them",
		}
	}
	return inv, nil
}

// split tells the flags of the command from its paths.
func (inv Invocation) split(args []string) (Invocation, error) {
	defined := inv.Command.Flags
	seen := make(map[cli.Flag]string) // by which name
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
			return inv, inv.unknownFlag(defined, arg) // -json is not -j son
		}
		for _, one := range separate(defined, arg) {
			f := find(defined, one)
			if f == cli.HelpFlag {
				return Invocation{Command: inv.Command, Path: inv.Path, Help: true}, nil
			}
			if f == nil || f == cli.VersionFlag {
				return inv, inv.unknownFlag(defined, blamed(defined, arg, one))
			}
			inv.Args = append(inv.Args, one)
			if err := checkOnce(seen, f, one); err != nil {
				return inv, err
			}
			rest, err := checkValue(defined, f, one, args)
			if err != nil {
				return inv, err
			}
			inv.Args = append(inv.Args, args[:len(args)-len(rest)]...)
			args = rest
		}
	}
	inv.Args = append(append(inv.Args, "--"), paths...)
	return inv, nil
}

// checkOnce refuses a flag that has a value, and had one before: nobody could say
// which of the two is meant. seen has the names of those before.
func checkOnce(seen map[cli.Flag]string, f cli.Flag, one string) error {
	if _, many := f.(*cli.StringSliceFlag); many || !takesValue(f) {
		return nil
	}
	name, _, _ := strings.Cut(one, "=")
	before, twice := seen[f]
	seen[f] = name
	switch {
	case !twice:
		return nil
	case before != name:
		return &UsageError{Err: fmt.Errorf("%s and %s are the same option, and it counts once", before, name), Advice: "leave out one of them"}
	}
	return &UsageError{Err: fmt.Errorf("%s is given twice, and counts once", name), Advice: "leave out one of them"}
}

// checkValue refuses a value that is missing or cannot be meant, and returns
// the arguments behind it. No option takes an empty value: where one would be
// no option at all, a variable of the shell that is not set would silently
// drop, say, the undo log.
func checkValue(defined []cli.Flag, f cli.Flag, one string, args []string) ([]string, error) {
	name, value, joined := strings.Cut(one, "=")
	switch {
	case !takesValue(f) && joined:
		return nil, &UsageError{Err: fmt.Errorf("%s takes no value", name)}
	case !takesValue(f):
		return args, nil
	case !joined && len(args) == 0:
		return nil, &UsageError{Err: fmt.Errorf("%s needs a value", name)}
	case !joined:
		value, args = args[0], args[1:]
		if value == "--" || isFlag(value) && find(defined, separate(defined, value)[0]) != nil {
			return nil, &UsageError{
				Err:    fmt.Errorf("%s needs a value, and %s is an option", name, value),
				Advice: fmt.Sprintf("if it is meant as the value: %s=%s", name, value),
			}
		}
	}
	if value == "" {
		return nil, &UsageError{Err: fmt.Errorf("the value of %s is empty", name), Advice: "a variable of the shell may not be set"}
	}
	return args, checkKind(f, name, value)
}

// checkKind refuses a value that is not of the flag's kind.
func checkKind(f cli.Flag, name, value string) error {
	switch f.(type) {
	case *cli.IntFlag:
		if _, err := strconv.Atoi(value); err != nil {
			return &UsageError{Err: fmt.Errorf("%s %q is not a number", name, value)}
		}
	case *cli.DurationFlag:
		if _, err := time.ParseDuration(value); err != nil {
			return &UsageError{Err: fmt.Errorf("%s %q is not a time", name, value), Advice: "a number and its unit, such as 90s or 5m"}
		}
	}
	return nil
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// separate takes combined short flags apart: -nv becomes -n -v, and -nj4
// becomes -n -j=4. What begins with an unknown letter stays as it is, as a long
// name with one dash may; a later one becomes a flag of its own, -z of -nz, and
// nothing is told of what is behind it.
func separate(defined []cli.Flag, arg string) []string {
	if strings.HasPrefix(arg, "--") || len(arg) == 2 || arg[2] == '=' {
		return []string{arg}
	}
	var out []string
	for i, letter := range arg[1:] {
		_, size := utf8.DecodeRuneInString(arg[1+i:])
		rest := arg[1+i+size:]
		f := find(defined, "-"+string(letter))
		switch {
		case letter == '=' && out != nil:
			out[len(out)-1] += "=" + rest
			return out
		case f == nil && (out == nil || !unicode.IsLetter(letter) && !unicode.IsDigit(letter)):
			return []string{arg}
		case f == nil:
			return append(out, "-"+string(letter))
		case takesValue(f) && rest != "":
			return append(out, "-"+string(letter)+"="+strings.TrimPrefix(rest, "="))
		}
		out = append(out, "-"+string(letter))
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

// blamed is what is wrong about an argument, of which one is a part: that, unless
// the whole is nearly a long name.
func blamed(defined []cli.Flag, arg, one string) string {
	if Nearest("-"+arg, longNames(defined)) != "" {
		return arg
	}
	return one
}

// misplaced is about a flag in front of the command, with which rest begins.
func (g Grammar) misplaced(arg string, rest []string) error {
	name, _, _ := strings.Cut(arg, "=")
	isMeant := func(c *cli.Command) bool { return len(rest) > 0 && c.HasName(rest[0]) }
	commands := slices.Clone(g.App.Commands)
	if i := slices.IndexFunc(commands, isMeant); i > 0 {
		commands[0], commands[i] = commands[i], commands[0]
	}
	for _, c := range commands {
		if find(c.Flags, separate(c.Flags, arg)[0]) != nil {
			return &UsageError{
				Err:    fmt.Errorf("%s stands in front of the command", name),
				Advice: fmt.Sprintf("options of a command stand behind it: %s %s %s", g.App.Name, c.Name, name),
			}
		}
	}
	return unknownFlag(nil, arg, g.App.Name)
}

// unknownFlag is about an argument that names none of the flags of the command. It
// may be what the command takes without a flag, and others with one.
func (inv Invocation) unknownFlag(defined []cli.Flag, arg string) error {
	name, _, _ := strings.Cut(arg, "=")
	operand := strings.ToUpper(strings.TrimLeft(name, "-"))
	if len(operand) > 1 && slices.Contains(strings.FieldsFunc(inv.Command.ArgsUsage, isNoLetter), operand) {
		return &UsageError{
			Err:    fmt.Errorf("there is no option %s", name),
			Advice: fmt.Sprintf("%s %s takes the %s without one", inv.full(), inv.Command.ArgsUsage, operand),
		}
	}
	if first, _, below := strings.Cut(inv.Path, " "); below && name == "--"+first && strings.Contains(inv.Command.ArgsUsage, "FILE") && len(operand) > 1 {
		return &UsageError{
			Err:    fmt.Errorf("there is no option %s", name),
			Advice: fmt.Sprintf("%s %s takes the %s without one", inv.full(), inv.Command.ArgsUsage, first),
		}
	}
	return unknownFlag(defined, arg, inv.full())
}

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// unknownFlag is about an argument that names none of the flags of the command,
// whose full name is given.
func unknownFlag(defined []cli.Flag, arg, command string) error {
	name, _, _ := strings.Cut(arg, "=")
	near := ""
	if len(name) > 2 { // of short ones all are equally near
		name, names := "--"+strings.TrimLeft(name, "-"), longNames(defined)
		near = cmp.Or(Nearest(name, names), containing(name, names))
	}
	return &UsageError{
		Err:    fmt.Errorf("there is no option %s", name),
		Advice: DidYouMean(near, command+" --help lists the options; -- ends them"),
	}
}

// maxContaining are as many options as are named of those that contain what was typed.
const maxContaining = 6

// containing names the options that have a name as a part of theirs, if they are few.
func containing(name string, names []string) string {
	part := strings.Trim(name, "-")
	if len(part) < 3 {
		return ""
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.Contains(n, part) })
	if len(names) > maxContaining {
		return ""
	}
	return strings.Join(names, " or ")
}

// longNames are the names of flags that are written with two dashes.
func longNames(defined []cli.Flag) []string {
	var names []string
	for _, f := range append(slices.Clone(defined), cli.HelpFlag) {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	return names
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

// full is the name of the command with that of the program.
func (inv Invocation) full() string { return join(inv.program, inv.Path) }

func join(path, name string) string { return strings.TrimSpace(path + " " + name) }
