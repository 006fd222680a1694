package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/advice"
	"imaseal/internal/keyring"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// keysListOptions are the options of imaseal keys list.
type keysListOptions struct{ json bool }

func (o *keysListOptions) flags() []urfave.Flag {
	return []urfave.Flag{jsonFlag(&o.json, "print one JSON object per keyring")}
}

// A keysListRequest is what keys list is asked for.
type keysListRequest struct {
	keyrings []string // none for all those of kernelKeyrings
	json     bool
}

func (o *keysListOptions) plan(keyrings []string) (keysListRequest, error) {
	if slices.Contains(keyrings, "") {
		return keysListRequest{}, conflict("the name of a keyring is empty", "a variable of the shell may not be set")
	}
	return keysListRequest{keyrings, o.json}, nil
}

// kernelKeyrings are those with which kernels check labels, modules and one
// another: security/integrity/digsig.c, certs/system_keyring.c.
var kernelKeyrings = []string{
	".ima", "_ima", ".evm", "_evm", ".platform", ".machine", ".secondary_trusted_keys", ".builtin_trusted_keys",
}

func (p Program) keysListCommand() *urfave.Command {
	o := new(keysListOptions)
	return &urfave.Command{
		Name:      "list",
		Usage:     "print what keyrings of the running kernel hold",
		ArgsUsage: "[KEYRING...]",
		Description: `Prints the keys in each KEYRING, a name or a number: the id by which labels name
the key, the number that the kernel gave it, and its subject. ima stands for .ima
or _ima, evm likewise. Without KEYRING it prints those with which kernels check
labels and those that these trust, as far as there are any: .ima, _ima, .evm,
_evm, .platform, .machine, .secondary_trusted_keys and .builtin_trusted_keys.

   imaseal keys list
   imaseal keys list --json ima | jq -r '.keys[].keyid'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysList),
	}
}

// A shownRing is what keys list says of a keyring. Its JSON fields only ever grow.
type shownRing struct {
	Keyring string     `json:"keyring"`
	Number  keyring.ID `json:"number"`
	Keys    []shownKey `json:"keys"`
}

func (p Program) keysList(_ context.Context, r keysListRequest) error {
	rings, err := chooseRings(r.keyrings)
	if err != nil {
		return err
	}
	for _, of := range rings {
		keys, err := keyring.List(of.id)
		if err != nil {
			return fmt.Errorf("keyring %s: %w", of.name, err)
		}
		shown := shownRing{Keyring: of.name, Number: of.id, Keys: []shownKey{}}
		for _, k := range keys {
			shown.Keys = append(shown.Keys, showKey(k))
		}
		if r.json {
			err = p.printJSON(shown)
		} else {
			err = p.print(shown.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chooseRings finds the keyrings of the names; without names those of
// kernelKeyrings that there are.
func chooseRings(names []string) ([]ring, error) {
	var chosen []ring
	for _, name := range names {
		found, err := findKeyring(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, found)
	}
	if len(names) > 0 {
		return chosen, nil
	}
	all, err := keyring.Rings()
	if err != nil {
		return nil, err
	}
	for _, name := range kernelKeyrings {
		for _, r := range all {
			if r.Name == name {
				chosen = append(chosen, ring{r.ID, r.Name})
			}
		}
	}
	if chosen == nil && os.Geteuid() != 0 {
		return nil, errRingsHidden
	}
	return chosen, nil
}

// errRingsHidden says that kernels show their keyrings to root.
var errRingsHidden = &advisedError{err: errors.New("no keyring of the kernel is to be seen"), code: reason.NotPermitted, advice: advice.Root}

// text prints a keyring and its keys, a line each.
func (s shownRing) text() string {
	switch len(s.Keys) {
	case 0:
		return fmt.Sprintf("%s: empty\n", report.Quote(s.Keyring))
	case 1:
		return fmt.Sprintf("%s: 1 key\n  %s\n", report.Quote(s.Keyring), s.Keys[0].text())
	}
	text := fmt.Sprintf("%s: %d keys\n", report.Quote(s.Keyring), len(s.Keys))
	for _, k := range s.Keys {
		text += "  " + k.text() + "\n"
	}
	return text
}
