package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/plan"
)

// signOptions are the options of imaseal sign.
type signOptions struct {
	labelOptions
	owner ownerOptions
	algo  string
	// algoGiven says that the algorithm was asked for.
	algoGiven bool
}

func (o *signOptions) flags() []urfave.Flag {
	algo := &urfave.StringFlag{Name: "algo", Destination: &o.algo, Action: o.noteAlgo, Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`"}
	return slices.Concat(o.owner.flags(), o.files.flags(), []urfave.Flag{o.files.itselfFlag()}, o.key.flags(), []urfave.Flag{o.key.storeFlag()}, []urfave.Flag{trustFlag(&o.trust), algo, o.only.flag()}, o.classFlags(), o.evmFlags(), o.view.insteadFlags(), o.kernelFlags(),
		o.rewrite.flags("where the rules say hash, and those that --trust verifies"), []urfave.Flag{writersFlag(&o.writers)}, o.writing.flags(), o.export.flags(), o.output.flags())
}

func (o *signOptions) noteAlgo(*urfave.Context, string) error {
	o.algoGiven = true
	return nil
}

func (o *signOptions) plan(paths []string) (labelRequest, error) {
	owner, err := o.owner.plan()
	if err != nil {
		return labelRequest{}, err
	}
	algo, err := parseAlgo(o.algo)
	if err != nil {
		return labelRequest{}, err
	}
	if o.key.key == "" && o.rules == "" {
		return labelRequest{}, errNoKey
	}
	files := o.files.plan(paths, owner)
	if err := refuseForPackages(files, o.owner.given(), given{"algo", o.algoGiven}); err != nil {
		return labelRequest{}, err
	}
	r, err := o.labelOptions.plan("sign", files, algo, plan.Only(plan.Sign))
	if err != nil {
		return r, err
	}
	if o.rules == "" && len(o.trust) == 0 && o.rewrite.signatures {
		return r, refuseUnused("--rules or --trust", given{"replace-signatures", true})
	}
	return r, o.checkView(r.evm, false)
}

func (p Program) signCommand() *urfave.Command {
	o := &signOptions{labelOptions: labelOptions{files: p.files()}}
	return p.configured(&urfave.Command{
		Name:      "sign",
		Usage:     "write IMA signature labels, and EVM ones",
		UsageText: "--key KEY",
		ArgsUsage: "PATH...",
		Description: `Signs the digest of every selected file below each PATH. A signature by the
same key that is valid is not made again. With rules, some files are hashed
instead.

Under enforcement a signed file cannot be written to, and is denied once it was
changed; in a root file system much of /etc and /var must be. There relabel
signs programs, libraries, modules and firmware only, and hashes the rest:
   imaseal keys generate --out signing
   imaseal relabel --key signing.key --cert signing.der /mnt/root

All files of a tree that nothing writes to:
   imaseal sign --key signing.key --cert signing.der /mnt/root/usr

With EVM signatures, which hold owner, mode and capabilities too:
   imaseal sign --key signing.key --cert signing.der --evm portable \
      /mnt/root/usr

The files in an archive, by an ordinary user:
   imaseal sign --key signing.key --cert signing.der --evm portable \
      tar:root.tar --output signed.tar

The files in RPM packages, all in a directory (see PACKAGES in imaseal(8)):
   imaseal sign --key signing.key --cert signing.der --in-place rpm:Packages

The same choice as relabel, by rules, and EVM labels for all:
   printf 'sign @executable\nhash @any\n' >rules
   imaseal sign --key signing.key --cert signing.der --rules rules \
      --evm portable,hmac --evm-key evm.key /mnt/root

The passphrase of an encrypted key is asked for on the terminal, unless
--passphrase-file or IMASEAL_KEY_PASSPHRASE has it.`,
		Flags:  o.flags(),
		Action: action(o.plan, p.label),
	}, labelSources(), nil)
}
