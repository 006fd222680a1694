package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/plan"
)

func (p Program) hashCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "algo", Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`; the target's kernel must have it"},
	}
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

The files of one package:
   rpm -ql coreutils | imaseal hash --files-from -

All users' files but those below var/cache, with SHA-512:
   imaseal hash --owner any --exclude var/cache --algo sha512 /mnt/root`,
		Flags:  slices.Concat(selectionFlags(), own, keyFlags(), evmFlags(), rewriteFlags("instead of keeping them"), writingFlags(), outputFlags()),
		Action: p.hash,
	}
}

func (p Program) hash(c *urfave.Context) error {
	request, err := toLabelPlan(c)
	if err != nil {
		return err
	}
	return p.label(c, request, plan.Only(plan.Hash), nil)
}
