package command

import (
	"slices"

	"github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
)

func (p Program) hashCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "algo", Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`; the target's kernel must have it"},
	}
	rewrite := []cli.Flag{
		&cli.BoolFlag{Name: "force", Category: writing, Usage: "write labels that are there and right too, and replace those of unknown types"},
		&cli.BoolFlag{Name: "replace-signatures", Category: writing, Usage: "replace signatures by hashes instead of keeping them"},
	}
	return &cli.Command{
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
		Flags:  slices.Concat(selectionFlags(), own, keyFlags(), evmFlags(), rewrite, writingFlags(), outputFlags()),
		Action: p.hash,
	}
}

func (p Program) hash(c *cli.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	if request.Algo, err = parseAlgo(c.String("algo")); err != nil {
		return err
	}
	request.ReplaceSignatures = c.Bool("replace-signatures")
	if request, err = validate(request); err != nil {
		return err
	}
	return p.label(c, request, plan.Only(plan.Hash), nil)
}

func parseAlgo(name string) (hash.Algorithm, error) {
	a, err := hash.Parse(name)
	if err == nil && !a.Computable() {
		err = &hash.NotComputableError{Algorithm: a}
	}
	if err != nil {
		return 0, &cmdline.UsageError{Err: err, Advice: cmdline.DidYouMean(cmdline.Nearest(name, hash.Names()), "")}
	}
	return a, nil
}
