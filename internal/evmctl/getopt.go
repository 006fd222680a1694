package evmctl

import (
	"fmt"
	"slices"
	"strings"
)

// An argument says whether an option has one.
type argument uint8

const (
	none argument = iota
	required
	optional // behind the letter, or behind "=", and nowhere else
)

// An option has a letter, a name, or both.
type option struct {
	name   string
	letter byte
	arg    argument
	// set is called for each time that the option is given; isGiven says whether
	// there is an argument. It returns what is wrong with that.
	set func(o *Options, value string, isGiven bool) error
}

// A UsageError says that the arguments are wrong, as getopt_long(3) words it.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

func usageError(format string, args ...any) error {
	return &UsageError{What: fmt.Sprintf(format, args...)}
}

// errEnough ends the reading of options: that of one says all.
var errEnough = fmt.Errorf("enough")

// getopt reads options as getopt_long(3) does: they stand among the other words,
// which are returned in their order, "--" ends them, names can be shortened as long as
// they are one option's, and letters can stand together.
func getopt(args []string, to *Options) (words []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(words, args...), nil
		case strings.HasPrefix(arg, "--"):
			args, err = long(arg[2:], args, to)
		case len(arg) > 1 && arg[0] == '-':
			args, err = letters(arg[1:], args, to)
		default:
			words = append(words, arg)
		}
		if err != nil {
			return words, err
		}
	}
	return words, nil
}

// long reads an option by its name, and returns the arguments that are left.
func long(text string, args []string, to *Options) ([]string, error) {
	name, value, isGiven := strings.Cut(text, "=")
	o, err := find(name)
	switch {
	case err != nil:
		return nil, err
	case o.arg == none && isGiven:
		return nil, usageError("option '--%s' doesn't allow an argument", o.name)
	case o.arg == required && !isGiven && len(args) == 0:
		return nil, usageError("option '--%s' requires an argument", o.name)
	case o.arg == required && !isGiven:
		value, isGiven, args = args[0], true, args[1:]
	}
	return args, o.set(to, value, isGiven)
}

// find returns the option that a name, or the beginning of one, stands for.
func find(name string) (*option, error) {
	var found []*option
	for i := range options {
		o := &options[i]
		switch {
		case o.name == "" || !strings.HasPrefix(o.name, name):
		case o.name == name:
			return o, nil
		default:
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return nil, usageError("unrecognized option '--%s'", name)
	case 1:
		return found[0], nil
	}
	var all strings.Builder
	for _, o := range found {
		fmt.Fprintf(&all, " '--%s'", o.name)
	}
	return nil, usageError("option '--%s' is ambiguous; possibilities:%s", name, all.String())
}

// letters reads options by their letters.
func letters(text string, args []string, to *Options) ([]string, error) {
	for text != "" {
		letter := text[0]
		text = text[1:]
		i := slices.IndexFunc(options, func(o option) bool { return o.letter == letter })
		if i < 0 {
			return nil, usageError("invalid option -- '%c'", letter)
		}
		o := &options[i]
		value, isGiven := "", false
		if o.arg != none && text != "" {
			value, isGiven, text = text, true, ""
		}
		switch {
		case o.arg == required && !isGiven && len(args) == 0:
			return nil, usageError("option requires an argument -- '%c'", letter)
		case o.arg == required && !isGiven:
			value, isGiven, args = args[0], true, args[1:]
		}
		if err := o.set(to, value, isGiven); err != nil {
			return nil, err
		}
	}
	return args, nil
}
