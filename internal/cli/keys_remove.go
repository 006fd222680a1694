package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// keysRemoveOptions are the options of imaseal keys remove.
type keysRemoveOptions struct{ keyrings []string }

func (o *keysRemoveOptions) flags() []urfave.Flag { return []urfave.Flag{keyringFlag(&o.keyrings)} }

// A keysRemoveRequest is what keys remove is asked for.
type keysRemoveRequest struct{ keys, keyrings []string }

func (o *keysRemoveOptions) plan(keys []string) (keysRemoveRequest, error) {
	if len(keys) == 0 {
		return keysRemoveRequest{}, conflict("no KEY is given", "the id, the number or the subject of a key, as imaseal keys list prints them")
	}
	if slices.Contains(keys, "") {
		return keysRemoveRequest{}, conflict("a KEY is empty", "a variable of the shell may not be set")
	}
	return keysRemoveRequest{keys, o.keyrings}, nil
}

func (p Program) keysRemoveCommand() *urfave.Command {
	o := new(keysRemoveOptions)
	return &urfave.Command{
		Name:      "remove",
		Usage:     "remove keys from keyrings of the running kernel",
		ArgsUsage: "KEY...",
		Description: `Removes keys from a keyring, each by the id that labels name it by, by the number
that the kernel gave it, or by its subject or whole description, as keys list
prints them. Where a KEY is none of the keyring's, or may be several, nothing is
removed. Other keyrings that have the key keep it.

Files that the kernel has let be used stay so until they change, or their file
system is mounted anew.

   imaseal keys remove 6bca908e
   imaseal keys remove --keyring ima --keyring evm 6bca908e`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysRemove),
	}
}

// A removal is a key that is to be removed from a keyring.
type removal struct {
	from ring
	key  keyring.Key
}

func (p Program) keysRemove(_ context.Context, r keysRemoveRequest) error {
	var removals []removal
	for _, name := range r.keyrings {
		from, err := findKeyring(name)
		if err != nil {
			return err
		}
		held, err := keyring.List(from.id)
		if err != nil {
			return fmt.Errorf("keyring %s: %w", from.name, err)
		}
		for _, named := range r.keys {
			key, err := chooseKey(held, named)
			if err != nil {
				return fmt.Errorf("keyring %s: %w", from.name, err)
			}
			one := removal{from, key}
			if !slices.Contains(removals, one) { // named twice
				removals = append(removals, one)
			}
		}
	}
	for _, one := range removals {
		if err := keyring.Remove(one.from.id, one.key.ID); err != nil {
			return fmt.Errorf("keyring %s: %w", one.from.name, err)
		}
		if err := p.print(fmt.Sprintf("%s: removed  %s\n", report.Quote(one.from.name), showKey(one.key).text())); err != nil {
			return err
		}
	}
	return nil
}

// chooseKey returns the one key that is meant by an id, a number, a subject or a
// description.
func chooseKey(held []keyring.Key, named string) (keyring.Key, error) {
	var meant []keyring.Key
	for _, k := range held {
		s := showKey(k)
		if strings.EqualFold(named, s.KeyID) || named == k.ID.String() || named == s.Subject || named == k.Description {
			meant = append(meant, k)
		}
	}
	switch len(meant) {
	case 0:
		return keyring.Key{}, &advisedError{err: fmt.Errorf("no key %s", report.Quote(named)), code: "no-such-key", advice: "imaseal keys list prints those that there are"}
	case 1:
		return meant[0], nil
	}
	var lines []string
	for _, k := range meant {
		lines = append(lines, k.ID.String())
	}
	return keyring.Key{}, &advisedError{
		err:  fmt.Errorf("%s may be %d keys: numbers %s", report.Quote(named), len(meant), strings.Join(lines, ", ")),
		code: reason.AmbiguousKey, advice: "give the number of the one that is meant",
	}
}
