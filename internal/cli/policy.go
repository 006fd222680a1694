package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/report"
)

func (p Program) policyCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "policy",
		Usage: "print, check and explain IMA policies",
		Description: `A policy is the name of built-in ones, as ima_policy= takes them (tcb,
appraise_tcb, secure_boot, fail_securely, critical_data, and the old words
ima_tcb and ima_appraise_tcb), the word running for that of the running
kernel, or a file. A file of such a name is written ./tcb.`,
		Subcommands: []*urfave.Command{p.policyShowCommand(), p.policyLintCommand(), p.policyExplainCommand()},
	}
}

func (p Program) policyShowCommand() *urfave.Command {
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
		Flags:  append([]urfave.Flag{kernelConfigFlag()}, targetFlags()...),
		Action: p.policyShow,
	}
}

// onePolicy returns the policy that is the command's only argument, and the kernel
// that it is for.
func (p Program) onePolicy(c *urfave.Context) (string, target, error) {
	switch {
	case c.Args().Len() == 0:
		return "", target{}, conflict("no policy is named", "the name of a built-in one, such as appraise_tcb, a file, or running")
	case c.Args().Len() > 1:
		return "", target{}, conflict(fmt.Sprintf("%q: one policy at a time", c.Args().Get(1)), "several built-in ones are one argument: 'tcb|appraise_tcb'")
	case c.Args().First() == "":
		return "", target{}, conflict("the name of the policy is empty", "a variable of the shell may not be set")
	}
	t, err := p.target(c)
	return c.Args().First(), t, err
}

func (p Program) policyShow(c *urfave.Context) error {
	name, t, err := p.onePolicy(c)
	if err != nil {
		return err
	}
	n, err := p.openPolicy(name, t)
	if err != nil {
		return err
	}
	shown := n.Policy
	if n.isFile {
		if more := len(n.Rules) - len(n.own.Rules); more > 0 {
			p.warn("%s keeps %d rules of its own in front of these: those of its architecture and build", t.describe(c), more)
		}
		shown = n.own
	}
	if len(shown.Rules) == 0 {
		p.warn("%s has no rules on %s: nothing is appraised", report.Quote(name), t.describe(c))
	}
	text := shown.String()
	if shown.FailSecurely {
		text = "# fail_securely: appraised files on file systems whose changes the kernel cannot see, such as FUSE, are denied\n" + text
	}
	return p.print(text)
}
