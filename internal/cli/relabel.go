package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/plan"
)

// relabelOptions are the options of imaseal relabel.
type relabelOptions struct {
	labelOptions
	policy policyOptions
	algo   string // "" to let the policy choose
}

func (o *relabelOptions) flags() []urfave.Flag {
	algo := &urfave.StringFlag{Name: "algo", Destination: &o.algo, Category: labels, DefaultText: "sha256, or another that the policy allows", Usage: "digest `ALGORITHM`"}
	return slices.Concat(o.policy.flags(), o.files.flags(), o.key.flags(), []urfave.Flag{o.key.storeFlag()}, []urfave.Flag{trustFlag(&o.trust), algo}, o.classFlags(), o.rewrite.flags("where the class is hash, and those that --trust verifies"), []urfave.Flag{writersFlag(&o.writers)},
		o.evmFlags(), o.kernelFlags(), []urfave.Flag{o.kernel.secureBootFlag()}, o.writing.flags(), o.export.flags(), o.output.flags())
}

func (o *relabelOptions) plan(paths []string) (labelRequest, error) {
	var algo hash.Algorithm
	if o.algo != "" {
		var err error
		if algo, err = parseAlgo(o.algo); err != nil {
			return labelRequest{}, err
		}
	}
	// The policy decides about files of all owners.
	files := o.files.plan(paths, nil)
	if err := refuseHashes(files, true); err != nil {
		return labelRequest{}, err
	}
	r, err := o.labelOptions.plan("relabel", files, algo, plan.DefaultRules(o.key.key != ""))
	if err != nil {
		return r, err
	}
	r.policy = &policyRequest{name: o.policy.name(), targetFS: o.policy.targetFS}
	return r, firstError(o.policy.check(), o.policy.checkUUID(o.view.uuid), o.checkView(r.evm, true))
}

func (p Program) relabelCommand() *urfave.Command {
	o := &relabelOptions{labelOptions: labelOptions{files: p.files()}}
	return p.configured(&urfave.Command{
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
		Flags:  o.flags(),
		Action: action(o.plan, p.label),
	}, labelSources(), nil)
}
