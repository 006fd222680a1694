package cli

import (
	"context"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// policyShowOptions are the options of imaseal policy show.
type policyShowOptions struct{ onePolicyOptions }

func (p Program) policyShowCommand() *urfave.Command {
	o := new(policyShowOptions)
	return &urfave.Command{
		Name:      "show",
		Usage:     "print the rules of a policy",
		ArgsUsage: "NAME|FILE|running",
		Description: `Prints a policy as its kernel has it, one rule a line, in the order and
spelling that the kernel uses. Built-in policies differ between versions and
configurations of kernels.

   imaseal policy show appraise_tcb
   imaseal policy show --kernel-version 7.2 'tcb|secure_boot'
   imaseal policy show running`,
		Flags:  o.flags(),
		Action: action(o.plan, p.policyShow),
	}
}

func (p Program) policyShow(ctx context.Context, r onePolicyRequest) error {
	t, err := p.openTarget(ctx, r.target, true)
	if err != nil {
		return err
	}
	pol, err := openPolicy(ctx, t, r.name)
	if err != nil {
		return err
	}
	shown := pol.Policy
	if pol.IsFile {
		if more := len(pol.Rules) - len(pol.Own.Rules); more > 0 {
			p.warn(reason.BuildRules, "%s keeps %d rules of its own in front of these: those of its architecture and build", describe(t), more)
		}
		shown = pol.Own
	}
	if len(shown.Rules) == 0 {
		p.warn(reason.NoRules, "%s has no rules on %s: nothing is appraised", report.Quote(r.name), describe(t))
	}
	text := shown.String()
	if shown.FailSecurely {
		text = "# fail_securely: appraised files on file systems whose changes the kernel cannot see, such as FUSE, are denied\n" + text
	}
	return p.print(text)
}
