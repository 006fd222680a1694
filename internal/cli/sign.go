package cli

import (
	"context"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/sign"
	"imaseal/walk"
)

func (p Program) signCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "algo", Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`"},
		&urfave.BoolFlag{Name: "sigfile", Category: labels, Usage: "write each signature to PATH.sig too, as evmctl does"},
		&urfave.StringFlag{Name: "rules", Category: labels, Usage: "`FILE` of rules that say which files to sign, to hash and to skip"},
	}
	return &urfave.Command{
		Name:      "sign",
		Usage:     "write IMA signature labels, and EVM ones",
		ArgsUsage: "PATH...",
		Description: `Signs the digest of every selected file below each PATH. A signature by the
same key that is valid is not made again. With rules, some files are hashed
instead.

Make a key, and sign a mounted root file system:
   imaseal keys generate --out signing
   imaseal sign --key signing.key --cert signing.der /mnt/root

With EVM signatures, which hold owner, mode and capabilities too:
   imaseal sign --key signing.key --cert signing.der --evm portable /mnt/root

Programs signed, configuration hashed, and EVM labels for all:
   printf 'sign @executable\nhash @any\n' >rules
   imaseal sign --key signing.key --cert signing.der --rules rules \
      --evm portable,hmac --evm-key evm.key /mnt/root

The passphrase of an encrypted key is asked for on the terminal, unless
--passphrase-file or IMASEAL_KEY_PASSPHRASE has it.`,
		Flags:  slices.Concat(selectionFlags(), keyFlags(), own, evmFlags(), rewriteFlags("where the rules say hash"), writingFlags(), outputFlags()),
		Action: p.sign,
	}
}

func (p Program) sign(c *urfave.Context) error {
	request, err := toLabelPlan(c)
	if err != nil {
		return err
	}
	if c.String("key") == "" && c.String("rules") == "" {
		return errNoKey
	}
	if err := refuseUnused(c, "--rules", "replace-signatures"); c.String("rules") == "" && err != nil {
		return err
	}
	rules := plan.Only(plan.Sign)
	if file := c.String("rules"); file != "" {
		if rules, err = openRules(file); err != nil {
			return err
		}
	}
	return p.label(c, request, rules, nil)
}

// label runs a plan that writes labels: hashes, signatures, and those of EVM.
// The policy, if there is one, selects the files.
func (p Program) label(c *urfave.Context, request plan.Plan, rules plan.Rules, policy *relabel.Policy) error {
	kinds, err := labelUsage(c, rules)
	if err != nil {
		return err
	}
	l := &relabel.Labeller{
		Algo: request.Algo, Rules: rules, Policy: policy, Force: request.Force,
		ReplaceSignatures: request.ReplaceSignatures, SigFiles: c.Bool("sigfile"),
	}
	signature := 0 // bytes of a label
	if c.String("key") != "" {
		key, err := p.openKey(c)
		if err != nil {
			return err
		}
		defer key.Close()
		if err := key.Scheme().Check(request.Algo); err != nil {
			return &cmdline.UsageError{Err: err}
		}
		l.Key = &relabel.SigningKey{Signer: sign.NewCache(key), Own: key, Version: uint8(c.Int("sig-version"))}
		signature = imaevm.SignatureHeader + key.SignatureSize()
	}
	if kinds != nil {
		if l.EVM, err = p.evmLabels(c, storeOf(request), kinds, rules); err != nil {
			return err
		}
		l.EVM.Algo, l.EVM.Key = request.Algo, l.Key
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	l.Writer = r.writer()
	if c.String("rules") != "" {
		r.config.Leave = l.Leave
	}
	if l.Key != nil || l.EVM != nil {
		if err := r.checkSpace(c.Context, l, labelSizes(request.Algo, signature, kinds)); err != nil {
			return err
		}
	}
	return r.do(c.Context, l.Label)
}

// labelSizes is how many bytes of labels the files of each class get, if a
// signature label has that many.
func labelSizes(algo hash.Algorithm, signature int, kinds map[plan.Class]imaevm.Type) map[plan.Class]relabel.Labels {
	evm := func(c plan.Class) int {
		switch kinds[c] {
		case 0:
			return 0
		case imaevm.TypeHMAC:
			return imaevm.HMACSize
		}
		return signature
	}
	return map[plan.Class]relabel.Labels{
		plan.Hash: {IMA: imaevm.HashHeader + algo.Size(), EVM: evm(plan.Hash)},
		plan.Sign: {IMA: signature, EVM: evm(plan.Sign)},
	}
}

// checkSpace refuses a run whose labels do not fit on the file system. Of a
// list that can be read once only, nothing can be known before.
func (s *session) checkSpace(ctx context.Context, l *relabel.Labeller, sizes map[plan.Class]relabel.Labels) error {
	if s.list != nil && !s.list.again() {
		return nil
	}
	find := func(countOnly bool) relabel.Source {
		config := s.config
		config.CountOnly = countOnly
		return func(ctx context.Context, visit walk.Visitor) error { return s.find(ctx, config, visit) }
	}
	err := l.CheckSpace(ctx, sizes, find(true), find(false))
	if err != nil && s.plan.DryRun {
		s.program.warn("%v", err)
		return nil
	}
	if err != nil {
		s.dropLog()
	}
	return err
}

func openRules(file string) (plan.Rules, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rules, err := plan.ParseRules(f)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: file, Err: pathless(err)}
	}
	return rules, nil
}
