package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/internal/target"
	"imaseal/keys/cert"
)

// Categories of options in the help. Commands define theirs in this order.
const (
	logCategory     = "Logs"
	listCategory    = "List"
	tpmCategory     = "TPM"
	policyCategory  = "Policy"
	selecting       = "Selecting files"
	labels          = "Labels"
	evmCategory     = "EVM"
	kernelCategory  = "Kernel"
	writing         = "Writing"
	archiveCategory = "Archives"
	output          = "Output"
)

// action is the action of a command. plan turns what was given into a request,
// and refuses what is wrong with it: all wrong usage that can be told without
// opening anything is told by plan, which opens nothing. do carries the request
// out.
func action[R any](plan func(paths []string) (R, error), do func(context.Context, R) error) urfave.ActionFunc {
	return func(c *urfave.Context) error {
		request, err := plan(c.Args().Slice())
		if err != nil || c.App.Metadata[planOnly] != nil {
			return asUsage(err)
		}
		return asUsage(do(c.Context, request))
	}
}

// planOnly is the key of metadata by which commands end with their plan.
const planOnly = "plan-only"

// asUsage makes an error of wrong usage of what the packages below say about
// options.
func asUsage(err error) error {
	if conflict, ok := errors.AsType[*plan.ConflictError](err); ok {
		return &cmdline.UsageError{Err: err, Advice: conflict.Advice}
	}
	if option, ok := errors.AsType[*target.OptionError](err); ok {
		return &cmdline.UsageError{Err: err, Advice: option.Advice}
	}
	return err
}

// into is the action of a flag that sets a field if it is given.
func into[T any](field *T) func(*urfave.Context, T) error {
	return func(_ *urfave.Context, value T) error { *field = value; return nil }
}

// noted is the action of a flag of which the field must tell whether it is given:
// it is nil if it is not.
func noted[T any](field **T) func(*urfave.Context, T) error {
	return func(_ *urfave.Context, value T) error { *field = &value; return nil }
}

// enumerated are the options that take one of a few words.
var enumerated = map[string]func() []string{
	"labels-format": func() []string { return []string{"json", "setfattr", "squashfs"} },
	"immutable":     func() []string { return []string{"fail", "lift"} },
	"compress":      compressions,
	"namespace":     func() []string { return []string{"security", "user"} },
	"progress":      func() []string { return []string{"auto", "never"} },
	"label":         func() []string { return []string{"all", "ima", "evm"} },
	"type":          cert.Kinds,
	"format":        func() []string { return append(blobFormats(), keylimeFormat) },
	"algo":          hash.Names,
	"secure-boot":   func() []string { return []string{"on", "off"} },
	"operation":     operationNames,
	"target-arch":   target.Arches,
	"bank":          bankNames,
	"byte-order":    func() []string { return []string{"little", "big"} },
}

// checkWord refuses a value that is none of the words of an enumerated option.
func checkWord(name, value string) error { return oneOf(name, value, enumerated[name]()) }

// oneOf refuses a value that is none of the words.
func oneOf(name, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	list := words[last]
	if last > 0 {
		list = strings.Join(words[:last], ", ") + " or " + list
	}
	return &cmdline.UsageError{
		Err:    fmt.Errorf("--%s %q is not %s", name, value, list),
		Advice: cmdline.DidYouMean(cmdline.Nearest(value, words), ""),
	}
}

func conflict(what, advice string) error {
	return &cmdline.UsageError{Err: errors.New(what), Advice: advice}
}

// A given is an option, and whether it was given.
type given struct {
	name string
	is   bool
}

// refuseUnused refuses options that only count with another one.
func refuseUnused(without string, options ...given) error {
	for _, o := range options {
		if o.is {
			return conflict(fmt.Sprintf("--%s is given without %s", o.name, without), "leave it out, or add "+without)
		}
	}
	return nil
}

// refuseWith refuses options that contradict another one.
func refuseWith(with string, options ...given) error {
	for _, o := range options {
		if o.is {
			return conflict(fmt.Sprintf("--%s is of no use with --%s", o.name, with), "leave out one of them")
		}
	}
	return nil
}

// firstError returns the first error that there is: of checks in the order in
// which users are told.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func parseAlgo(name string) (hash.Algorithm, error) {
	a, err := hash.Parse(name)
	if err == nil && !a.Computable() {
		err = &hash.NotComputableError{Algorithm: a}
	}
	if err != nil {
		return 0, &cmdline.UsageError{Err: err, Advice: cmdline.DidYouMean(cmdline.Nearest(name, hash.Names()), "")}
	}
	return a, nil
}

// parseUser returns the number of a user by number or name, nil for any. What is a
// number is no name, and asks no directory of users.
func parseUser(option, name string) (*uint32, error) {
	if name == "any" {
		return nil, nil
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		var u *user.User
		if u, err = user.Lookup(name); err == nil {
			n, err = strconv.ParseUint(u.Uid, 10, 32)
		}
	}
	if err != nil {
		return nil, &cmdline.UsageError{
			Err:    fmt.Errorf("--%s %q: no such user", option, name),
			Advice: "give the number of the user, its name on this machine, or any",
		}
	}
	uid := uint32(n)
	return &uid, nil
}
