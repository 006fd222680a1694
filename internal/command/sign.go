package command

import (
	"context"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/keys"
	"imaseal/walk"
)

func (p Program) signCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "algo", Category: labels, Value: hash.SHA256.String(), Usage: "digest `ALGORITHM`"},
		&cli.BoolFlag{Name: "sigfile", Category: labels, Usage: "write each signature to PATH.sig too, as evmctl does"},
		&cli.StringFlag{Name: "rules", Category: labels, Usage: "`FILE` of rules that say which files to sign, to hash and to skip"},
		&cli.BoolFlag{Name: "force", Category: writing, Usage: "write labels that are there and right too, and replace those of unknown types"},
		&cli.BoolFlag{Name: "replace-signatures", Category: writing, Usage: "replace signatures by hashes where the rules say hash"},
	}
	return &cli.Command{
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
   imaseal sign --key signing.key --rules rules \
      --evm portable,hmac --evm-key evm.key /mnt/root

The passphrase of an encrypted key is asked for on the terminal, unless
--passphrase-file or IMASEAL_KEY_PASSPHRASE has it.`,
		Flags:  slices.Concat(selectionFlags(), keyFlags(), own, evmFlags(), writingFlags(), outputFlags()),
		Action: p.sign,
	}
}

func (p Program) sign(c *cli.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	if request.Algo, err = parseAlgo(c.String("algo")); err != nil {
		return err
	}
	request.ReplaceSignatures = c.Bool("replace-signatures")
	rules := plan.Only(plan.Sign)
	if file := c.String("rules"); file != "" {
		if rules, err = openRules(file); err != nil {
			return err
		}
	}
	if request, err = validate(request); err != nil {
		return err
	}
	return p.label(c, request, rules, nil)
}

// label runs a plan that writes labels: hashes, signatures, and those of EVM.
// The policy, if there is one, selects the files.
func (p Program) label(c *cli.Context, request plan.Plan, rules plan.Rules, policy *relabel.Policy) error {
	if err := checkSigning(c, rules); err != nil {
		return err
	}
	if err := checkEVM(c, rules); err != nil {
		return err
	}
	s := session{program: p, plan: request}
	l := &relabel.Labeller{
		Store: s.store(), Algo: request.Algo, Rules: rules, Policy: policy, Force: request.Force,
		ReplaceSignatures: request.ReplaceSignatures, SigFiles: c.Bool("sigfile"),
	}
	size := 0
	if c.String("key") != "" || rules.Uses(plan.Sign) {
		key, err := p.openKey(c)
		if err != nil {
			return err
		}
		defer key.Close()
		if err := key.Scheme().Check(request.Algo); err != nil {
			return &usageError{err: err}
		}
		l.Key = signingKey(c, key)
		size = labelSize(key, rules, c.String("evm"))
	}
	var err error
	if l.EVM, err = p.evmLabels(c, s.store(), rules, request.Algo, l.Key); err != nil {
		return err
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	l.Writer = r.writer()
	if size > 0 && writes(request) && request.FilesFrom != "-" {
		if err := l.CheckSpace(c.Context, size, r.countFind); err != nil {
			return err
		}
	}
	return r.do(c.Context, l.Label)
}

// labelSize is the number of bytes of signatures that a file gets.
func labelSize(key *keys.Key, rules plan.Rules, evm string) int {
	const header = 9
	size, n := key.SignatureSize()+header, 0
	if rules.Uses(plan.Sign) {
		n++
	}
	if evm != "none" && evm != "hmac" {
		n++
	}
	return n * size
}

// countFind finds the session's files ahead of the run.
func (s *session) countFind(ctx context.Context, countOnly bool, visit walk.Visitor) error {
	config := s.config
	config.CountOnly, config.Workers = countOnly, 1
	return s.find(ctx, config, visit)
}

func openRules(file string) (plan.Rules, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rules, err := plan.ParseRules(f)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: file, Err: err}
	}
	return rules, nil
}
