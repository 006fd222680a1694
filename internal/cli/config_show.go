package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/config"
	"imaseal/internal/report"
)

func (p Program) configShowCommand() *urfave.Command {
	json := new(bool)
	return &urfave.Command{
		Name:      "show",
		Usage:     "print the options that hooks use, and those that there could be",
		ArgsUsage: "[FILE]",
		Description: `Prints what the file sets, ` + configFile + ` if none is named, and as comments
what it could set. So it makes a file to begin with, too:

   imaseal config show >new-config`,
		Flags:  []urfave.Flag{jsonFlag(json, "print one JSON object per option that is set, then a summary object")},
		Action: action(planConfig(json), p.configShow),
	}
}

func (p Program) configShow(_ context.Context, r configRequest) error {
	settings, err := p.settings(r.file)
	missing := errors.Is(err, fs.ErrNotExist) && !r.chosen
	if err != nil && !missing {
		return err
	}
	if r.json {
		return p.printSettings(settings)
	}
	var b strings.Builder
	if missing {
		fmt.Fprintf(&b, "# What %s can have, each without its # once it is wanted:\n", report.Quote(r.file))
	} else {
		fmt.Fprintf(&b, "# From %s:\n", report.Quote(r.file))
	}
	set := make(map[string]config.Setting)
	for _, s := range settings {
		set[s.Name] = s
	}
	for _, o := range configOptions {
		line := "# " + o.name + " = " + o.example
		if s, ok := set[o.name]; ok {
			line = s.String()
		}
		fmt.Fprintf(&b, "\n# %s\n%s\n", o.use, line)
	}
	return p.print(b.String())
}

// A shownSetting is an option of a file as JSON has it. Its fields only ever grow.
type shownSetting struct {
	Option string   `json:"option"`
	Values []string `json:"values"`
	Line   int      `json:"line"`
}

func (p Program) printSettings(settings []config.Setting) error {
	for _, s := range settings {
		if err := p.printJSON(shownSetting{s.Name, s.Values, s.Line}); err != nil {
			return err
		}
	}
	return p.printSummary(shownSummary{Command: "config show"})
}
