package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/target"
)

func (p Program) policyCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "policy",
		Usage: "print, check and explain IMA policies",
		Description: `A policy is the name of built-in ones, as ima_policy= takes them (tcb,
appraise_tcb, secure_boot, fail_securely, critical_data, and the old words
ima_tcb and ima_appraise_tcb), the word running for that of the running
kernel, or a file. A file of such a name is written ./tcb.`,
		Subcommands: []*urfave.Command{p.policyShowCommand(), p.policyLintCommand(), p.policyExplainCommand(), p.policyFromListCommand()},
	}
}

// onePolicyOptions are the options of commands about one policy, which is their
// argument, and the kernel that it is for.
type onePolicyOptions struct{ kernel kernelOptions }

func (o *onePolicyOptions) flags() []urfave.Flag {
	return append(o.kernel.flags(), o.kernel.secureBootFlag())
}

// A onePolicyRequest names a policy and describes a kernel.
type onePolicyRequest struct {
	name   string
	target target.Options
}

func (o *onePolicyOptions) plan(args []string) (onePolicyRequest, error) {
	switch {
	case len(args) == 0:
		return onePolicyRequest{}, conflict("no policy is named", "the name of a built-in one, such as appraise_tcb, a file, or running")
	case len(args) > 1:
		return onePolicyRequest{}, conflict(fmt.Sprintf("%q: one policy at a time", args[1]), "several built-in ones are one argument: 'tcb|appraise_tcb'")
	case args[0] == "":
		return onePolicyRequest{}, conflict("the name of the policy is empty", "a variable of the shell may not be set")
	}
	t, err := o.kernel.plan()
	return onePolicyRequest{args[0], t}, firstError(err, t.Check())
}
