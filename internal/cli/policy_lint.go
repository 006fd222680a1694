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
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/target"
)

// policyLintOptions are the options of imaseal policy lint.
type policyLintOptions struct {
	onePolicyOptions
	json, verbose bool
}

func (o *policyLintOptions) flags() []urfave.Flag {
	return append(o.onePolicyOptions.flags(),
		jsonFlag(&o.json, "print one JSON object per finding, then a summary object"),
		&urfave.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Destination: &o.verbose, Category: output, Usage: "print all findings of each kind, not only the first few"})
}

// A policyLintRequest is what policy lint is asked for.
type policyLintRequest struct {
	onePolicyRequest
	json, verbose bool
}

func (o *policyLintOptions) plan(args []string) (policyLintRequest, error) {
	one, err := o.onePolicyOptions.plan(args)
	return policyLintRequest{one, o.json, o.verbose}, err
}

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
   imaseal policy lint --kernel-config config-6.12 new-policy
   imaseal policy lint --json new-policy | jq -r 'select(.line)|.line'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.policyLint),
	}
}

func (p Program) policyLint(ctx context.Context, r policyLintRequest) error {
	t, err := p.openTarget(ctx, r.target, true)
	if err != nil {
		return err
	}
	findings, _, err := lintPolicy(ctx, r.name, t)
	if err != nil {
		return err
	}
	if r.json {
		err = p.printFindings(r.name, findings)
	} else {
		err = p.print(p.fit(findingsText(r.name, findings, r.verbose)))
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(findings, func(f lint.Finding) bool { return f.Severity == lint.Error }) {
		return &verdictError{status: exitVerdict}
	}
	return nil
}

// findingsText prints findings for people. Errors are printed all, of the other
// kinds the first few if not verbose.
func findingsText(name string, findings []lint.Finding, verbose bool) string {
	type kind struct {
		severity lint.Severity
		code     reason.Code
	}
	var order []kind // of those that are not printed all
	count := make(map[kind]int)
	var text strings.Builder
	for _, f := range findings {
		k := kind{f.Severity, f.Code}
		if count[k]++; !verbose && f.Severity != lint.Error && count[k] > report.FirstFew {
			if count[k] == report.FirstFew+1 {
				order = append(order, k)
			}
			continue
		}
		fmt.Fprintf(&text, "%s%s: %s: %s\n", report.Quote(name), place(f), f.Severity, printableText(f.Message))
		if f.Advice != "" {
			text.WriteString("   " + printableText(f.Advice) + "\n")
		}
	}
	for _, k := range order {
		fmt.Fprintf(&text, "%s: %s: %s\n", report.Quote(name), k.severity, report.More(count[k]-report.FirstFew, k.code.Words()))
	}
	return text.String()
}

// A shownFinding is a finding as JSON has it. Its fields only ever grow.
type shownFinding struct {
	Policy   string      `json:"policy"`
	Line     int         `json:"line,omitempty"`
	Column   int         `json:"column,omitempty"`
	Rule     string      `json:"rule,omitempty"`
	Severity string      `json:"severity"`
	Code     reason.Code `json:"code"`
	Reason   string      `json:"reason"`
	Hint     string      `json:"hint,omitempty"`
}

// printFindings prints findings for programs: all of them, and how many there are.
func (p Program) printFindings(name string, findings []lint.Finding) error {
	count := map[string]int{lint.Error.String(): 0, lint.Warning.String(): 0, lint.Note.String(): 0}
	for _, f := range findings {
		count[f.Severity.String()]++
		err := p.printJSON(shownFinding{
			Policy: name, Line: f.Line, Column: f.Column, Rule: f.Text, Severity: f.Severity.String(), Code: f.Code, Reason: f.Message, Hint: f.Advice,
		})
		if err != nil {
			return err
		}
	}
	return p.printSummary(shownSummary{Command: "policy lint", Findings: count})
}

// lintPolicy returns what is wrong with a policy, and how many rules it has as far as
// they can be read. A file is read once: it may be a pipe.
func lintPolicy(ctx context.Context, name string, t *target.Target) (found []lint.Finding, rules int, err error) {
	if !target.IsPolicyFile(name) {
		pol, err := openPolicy(ctx, t, name)
		return lint.Policy(pol.Policy, t.Kernel), len(pol.Policy.Rules), err
	}
	text, err := awaitFile(ctx, name, target.ReadPolicy)
	if err != nil {
		return nil, 0, policyError(name, err)
	}
	pol, err := policy.Parse(text, t.Kernel)
	if err != nil && strings.Contains(text, "\x00") {
		return nil, 0, &fs.PathError{Op: "read", Path: name, Err: err} // no text at all
	}
	return lint.Text(text, t.Kernel), len(pol.Rules), nil
}

// place tells where a finding is: the line and column of a text, or a rule without
// one.
func place(f lint.Finding) string {
	switch {
	case f.Column > 0:
		return fmt.Sprintf(":%d:%d", f.Line, f.Column)
	case f.Line > 0:
		return fmt.Sprintf(":%d", f.Line)
	case f.Text != "":
		return fmt.Sprintf(": %q", f.Text)
	}
	return ""
}
