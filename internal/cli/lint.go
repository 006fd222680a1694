package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/policy"
	"imaseal/internal/policy/lint"
	"imaseal/internal/report"
)

func (p Program) policyLintCommand() *urfave.Command {
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
		Flags:  append([]urfave.Flag{kernelConfigFlag()}, targetFlags()...),
		Action: p.policyLint,
	}
}

func (p Program) policyLint(c *urfave.Context) error {
	name, t, err := p.onePolicy(c)
	if err != nil {
		return err
	}
	var findings []lint.Finding
	var rules []policy.Rule
	if name != running && policyWords(name) == nil {
		text, err := readPolicy(name)
		if err != nil {
			return err
		}
		if _, err := policy.Parse(text, t.Kernel); err != nil && strings.Contains(text, "\x00") {
			return &policyError{name: name, err: err} // no text at all
		}
		findings = lint.Text(text, t.Kernel)
	} else {
		n, err := p.openPolicy(name, t)
		if err != nil {
			return err
		}
		findings, rules = lint.Policy(n.Policy, t.Kernel), n.Rules
	}
	var text strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&text, "%s%s: %s: %s\n", report.Quote(name), place(f, rules), f.Severity, printableText(f.Message))
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
