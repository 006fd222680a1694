package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/plan"
	"imaseal/internal/relabel"
)

func (p Program) relabelCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "algo", Category: labels, DefaultText: "sha256, or another that the policy allows", Usage: "digest `ALGORITHM`"},
		&urfave.BoolFlag{Name: "sigfile", Category: labels, Usage: "write each signature to PATH.sig too, as evmctl does"},
		&urfave.StringFlag{Name: "rules", Category: labels, Usage: "`FILE` of rules that say which files to sign, to hash and to skip"},
	}
	selection := slices.DeleteFunc(selectionFlags(), func(f urfave.Flag) bool { return f.Names()[0] == "owner" })
	return &urfave.Command{
		Name:      "relabel",
		Usage:     "label what a policy appraises, each file by its class",
		ArgsUsage: "PATH...",
		Description: `Labels every file below each PATH that a rule of the policy can take, and
no other. With a key, modules, firmware and executables are signed and the
rest is hashed, or as --rules say; without one all are hashed. What the
policy wants signed is signed whatever the rules say.

The running host, for ima_policy=appraise_tcb:
   imaseal relabel /

The tree of an image, with programs signed and EVM signatures:
   imaseal relabel --key signing.key --cert signing.der --evm portable root

For a policy of one's own; what would be done:
   imaseal relabel -nv --policy ima-policy /mnt/root

A tree in a tmpfs that will be on ext4:
   imaseal relabel --target-fs ext4 /tmp/root`,
		Flags:  slices.Concat(policyFlags(), selection, keyFlags(), own, rewriteFlags("where the class is hash"), evmFlags(), targetFlags(), writingFlags(), outputFlags()),
		Action: p.relabel,
	}
}

func (p Program) relabel(c *urfave.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	request.Owner = nil // the policy decides
	if request, err = validate(request); err != nil {
		return err
	}
	rules := plan.DefaultRules(c.String("key") != "")
	if file := c.String("rules"); file != "" {
		if rules, err = openRules(file); err != nil {
			return err
		}
	}
	chosen, err := p.choosePolicy(c)
	if err != nil {
		return err
	}
	if c.String("key") == "" {
		if err := chosen.CheckKey(); err != nil {
			return err
		}
	}
	if c.IsSet("algo") {
		request.Algo, err = parseAlgo(c.String("algo"))
	} else {
		request.Algo, err = chosen.Algorithm()
	}
	if err != nil {
		return err
	}
	return p.label(c, request, rules, chosen)
}

// choosePolicy opens the policy that the options name.
func (p Program) choosePolicy(c *urfave.Context) (*relabel.Policy, error) {
	files, err := inspector(c)
	if err != nil {
		return nil, err
	}
	t, err := p.target(c)
	if err != nil {
		return nil, err
	}
	n, err := p.openPolicy(c.String("policy"), t)
	if err != nil {
		return nil, err
	}
	return &relabel.Policy{Policy: n.Policy, Kernel: t.Kernel, Inspector: files}, nil
}

// isOfPolicy reports whether an option says something of the target that
// policies look at, besides what EVM does with it.
func isOfPolicy(c *urfave.Context, option string) bool {
	ofPolicy := c.Command.Name == "relabel" || c.Command.Name == "check"
	return ofPolicy && (option == "kernel-config" || option == "evm-uuid")
}
