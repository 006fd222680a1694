package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/plan"
)

// hashOptions are the options of imaseal hash.
type hashOptions struct {
	labelOptions
	owner ownerOptions
	algo  string
}

func (o *hashOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "algo", Destination: &o.algo, Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`; the target's kernel must have it built in for files that the boot needs"},
	}
	return slices.Concat(o.owner.flags(), o.files.flags(), []urfave.Flag{o.files.itselfFlag()}, own, []urfave.Flag{o.only.flag()}, o.key.flags(), []urfave.Flag{o.key.storeFlag()}, o.evmFlags(), o.view.insteadFlags(), o.kernelFlags(),
		o.rewrite.flags("instead of keeping them"), []urfave.Flag{writersFlag(&o.writers)}, o.writing.flags(), o.export.flags(), o.output.flags())
}

func (o *hashOptions) plan(paths []string) (labelRequest, error) {
	owner, err := o.owner.plan()
	if err != nil {
		return labelRequest{}, err
	}
	algo, err := parseAlgo(o.algo)
	files := o.files.plan(paths, owner)
	if err := firstError(err, refuseHashes(files, true)); err != nil {
		return labelRequest{}, err
	}
	r, err := o.labelOptions.plan("hash", files, algo, plan.Only(plan.Hash))
	if err != nil {
		return r, err
	}
	if r.key != nil && r.evm.signature == 0 {
		return r, conflict("hash signs nothing but EVM labels, so --key is of no use without --evm portable or signature", "add --evm portable; imaseal sign --key KEY PATH makes IMA signatures")
	}
	return r, o.checkView(r.evm, false)
}

func (p Program) hashCommand() *urfave.Command {
	o := &hashOptions{labelOptions: labelOptions{files: p.files()}}
	return &urfave.Command{
		Name:      "hash",
		Usage:     "write IMA hash labels (security.ima)",
		ArgsUsage: "PATH...",
		Description: `Hashes every selected file below each PATH and writes the digest to
security.ima, as the kernel itself does in fix mode. Selected are the
regular files of root, which ima_policy=appraise_tcb appraises. Labels that
are right are not written again, and signatures are kept.

A mounted root file system, before it boots under enforcement:
   imaseal hash /mnt/root

The running host, with a way back:
   imaseal hash --undo-log /root/labels.undo /

What would be done, file by file:
   imaseal hash -nv /mnt/root

An archive, by an ordinary user (see ARCHIVES in imaseal(8)):
   imaseal hash tar:root.tar --output labelled.tar

The files of one package:
   rpm -ql coreutils | imaseal hash --files-from -

All users' files but those below var/cache, with SHA-512, for a kernel that
has it:
   imaseal hash --owner any --exclude var/cache --algo sha512 \
      --kernel-version 6.12 /mnt/root`,
		Flags:  o.flags(),
		Action: action(o.plan, p.label),
	}
}
