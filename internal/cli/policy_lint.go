package cli

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/policy"
	"imaseal/internal/policy/lint"
	"imaseal/internal/report"
	"imaseal/internal/target"
)

// policyLintOptions are the options of imaseal policy lint.
type policyLintOptions struct{ onePolicyOptions }

func (p Program) policyLintCommand() *urfave.Command {
	o := new(policyLintOptions)
	return &urfave.Command{
		Name:      "lint",
		Usage:     "find what is wrong or unwise about a policy",
		ArgsUsage: "NAME|FILE|running",
		Description: `Prints what a kernel would refuse, rules that can never match, rules that
would lock out the host's own programs, and file systems that should be
excluded. The exit status is 4 if there is an error among them: the kernel
refuses the policy, or the host would not work under it.

   imaseal policy lint /etc/ima/ima-policy
   imaseal policy lint --kernel-config config-6.12 new-policy`,
		Flags:  o.flags(),
		Action: action(o.plan, p.policyLint),
	}
}

func (p Program) policyLint(_ context.Context, r onePolicyRequest) error {
	t, err := p.openTarget(r.target, true)
	if err != nil {
		return err
	}
	findings, rules, err := lintPolicy(r.name, t)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&text, "%s%s: %s: %s\n", report.Quote(r.name), place(f, rules), f.Severity, printableText(f.Message))
		if f.Advice != "" {
			text.WriteString("   " + printableText(f.Advice) + "\n")
		}
	}
	if err := p.print(p.fit(text.String())); err != nil {
		return err
	}
	if slices.ContainsFunc(findings, func(f lint.Finding) bool { return f.Severity == lint.Error }) {
		return &verdictError{status: exitVerdict}
	}
	return nil
}

// lintPolicy returns what is wrong with a policy, and its rules where findings are
// about those; of a file they are about its lines.
func lintPolicy(name string, t *target.Target) ([]lint.Finding, []policy.Rule, error) {
	if !target.IsPolicyFile(name) {
		pol, err := openPolicy(t, name)
		return lint.Policy(pol.Policy, t.Kernel), pol.Rules, err
	}
	text, err := target.ReadPolicy(name)
	if err != nil {
		return nil, nil, policyError(name, err)
	}
	if _, err := policy.Parse(text, t.Kernel); err != nil && strings.Contains(text, "\x00") {
		return nil, nil, &fs.PathError{Op: "read", Path: name, Err: err} // no text at all
	}
	return lint.Text(text, t.Kernel), nil, nil
}

// place tells where a finding is: the line and column of a text, or a rule without
// one.
func place(f lint.Finding, rules []policy.Rule) string {
	switch {
	case f.Column > 0:
		return fmt.Sprintf(":%d:%d", f.Line, f.Column)
	case f.Line > 0:
		return fmt.Sprintf(":%d", f.Line)
	case f.Rule >= 0 && f.Rule < len(rules):
		return fmt.Sprintf(": %q", rules[f.Rule].String())
	}
	return ""
}
