package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"imaseal/internal/cmdline"
	"imaseal/internal/config"
	"imaseal/internal/report"
)

// configCommands are those that take options from a file, with what else they need.
var configCommands = [][]string{
	{"relabel", "/"}, {"sign", "/"}, {"check", "/"}, {"verify", "/"}, {"denials"},
}

// checkValues has the commands look at the values, as if they were given to them. A
// value that is wrong is left out then, and told with the last line without which
// nothing would be wrong.
func (c *configChecker) checkValues(ctx context.Context) error {
	for _, command := range configCommands {
		left, err := c.tryAll(ctx, command, c.settings)
		if err != nil {
			return err
		}
		c.settings = left
	}
	if _, ok := c.value("key"); ok {
		return nil
	}
	// What is about a key is left aside without one, and must be right all the same.
	key := config.Setting{Name: "key", Kind: config.Text, Values: []string{"/key"}}
	if _, ok := c.value("tpm"); ok {
		key.Values = []string{"tpm:0x81000001"}
	}
	about := []config.Setting{key}
	for _, s := range c.settings {
		if slices.Contains(aboutKeys, s.Name) {
			about = append(about, s)
		}
	}
	left, err := c.tryAll(ctx, []string{"sign", "/"}, about)
	c.settings = slices.DeleteFunc(c.settings, func(s config.Setting) bool {
		isSame := func(other config.Setting) bool { return other.Name == s.Name }
		return slices.ContainsFunc(about, isSame) && !slices.ContainsFunc(left, isSame)
	})
	return err
}

// tryAll has a command look at settings, and returns those with which nothing is wrong.
func (c *configChecker) tryAll(ctx context.Context, command []string, settings []config.Setting) ([]config.Setting, error) {
	settings = slices.Clone(settings)
	for {
		wrong := c.tryPlan(ctx, command, settings)
		if wrong == nil {
			return settings, nil
		}
		if ctx.Err() != nil {
			return settings, context.Cause(ctx)
		}
		culprit := -1
		for i := range settings {
			if err := c.tryPlan(ctx, command, slices.Delete(slices.Clone(settings), i, i+1)); settings[i].Line > 0 && (err == nil || err.Error() != wrong.Error()) {
				culprit = i
			}
		}
		if culprit < 0 {
			return settings, nil // it is not for the file, as a key that sign needs
		}
		c.add(settings[culprit].Line, codeOption, wrong)
		settings = slices.Delete(settings, culprit, culprit+1)
	}
}

// tryPlan returns what a command says to options before it opens anything.
func (c *configChecker) tryPlan(ctx context.Context, command []string, settings []config.Setting) error {
	p := c.p
	p.preset = append(make([]config.Setting, 0, 1), settings...)
	app := p.app()
	app.Metadata = map[string]any{planOnly: true}
	err := app.RunContext(ctx, slices.Concat([]string{app.Name, command[0], "--config", c.file, "--"}, command[1:]))
	if usage, ok := errors.AsType[*cmdline.UsageError](err); ok {
		advice, _, _ := strings.Cut(usage.Advice, report.Quote(c.file)+" has ")
		return &cmdline.UsageError{Err: usage.Err, Advice: strings.TrimSuffix(advice, "; ")}
	}
	return err
}
