package cli

import (
	"context"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/target"
	"imaseal/internal/verify"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// verifyOptions are the options of imaseal verify.
type verifyOptions struct {
	owner     ownerOptions
	files     selectionOptions
	keys      []string
	sigFile   bool
	label     string
	require   []string
	namespace namespaceOption
	evmKey    evmKeyOption
	view      viewOptions
	kernel    kernelOptions
	archive   archiveOptions
	output    outputOptions
}

func (o *verifyOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: labels, Usage: "certificates or public keys: a `FILE`, or a directory of them"},
		&urfave.BoolFlag{Name: "sigfile", Destination: &o.sigFile, Category: labels, Usage: "check PATH.sig instead of security.ima"},
		&urfave.StringFlag{Name: "label", Destination: &o.label, Category: labels, Value: "all", Usage: "check all, ima and leave security.evm aside, or evm alone and read no contents"},
		&urfave.StringSliceFlag{Name: "require", Action: into(&o.require), Category: labels, Usage: "`DEMAND` of the target's kernel on every file: imasig, a signature, or evm, an EVM label"},
		o.namespace.flag(labels), o.evmKey.flag(),
	}
	kernel := []urfave.Flag{o.kernel.configFlag(), o.kernel.archFlag(), o.archive.tempDirFlag()}
	return slices.Concat(o.owner.flags(), o.files.flags(), own, o.view.flags(), o.view.insteadFlags(), kernel, o.output.flags())
}

// A verifyRequest is what verify is asked for.
type verifyRequest struct {
	plan.Plan
	output                 outputOptions
	keys                   []string // files and directories
	evmKey                 string   // "" for none
	sigFile                bool
	needSignature, needEVM bool
	ignoreEVM, onlyEVM     bool
	target                 target.Options
}

// checksEVM reports whether there is something to check EVM labels with.
func (r *verifyRequest) checksEVM() bool { return len(r.keys) > 0 || r.evmKey != "" }

func (o *verifyOptions) plan(paths []string) (verifyRequest, error) {
	// Who has an HMAC key has EVM active on the target.
	r := verifyRequest{output: o.output, keys: o.keys, evmKey: o.evmKey.file, sigFile: o.sigFile, needEVM: o.evmKey.file != ""}
	owner, err := o.owner.plan()
	if err := firstError(err, o.namespace.check(), o.output.check(), r.demand(o.require)); err != nil {
		return r, err
	}
	r.Plan, err = plan.Plan{
		Command: "verify", ReadOnly: true, Selection: o.files.plan(paths, owner),
		Writing: plan.Writing{Namespace: o.namespace.name, Archiving: o.archive.Archiving}, Jobs: o.output.jobs,
	}.Validate()
	if err := firstError(err, refuseForArchive(r.Selection, given{"sigfile", o.sigFile}),
		refuseForPackages(r.Selection, o.owner.given()), refusePackageEVM(r.Selection, r.needEVM || r.evmKey != "")); err != nil {
		return r, err
	}
	if err := r.choose(o.label); err != nil {
		return r, err
	}
	if r.target, err = o.kernel.plan(); err != nil {
		return r, err
	}
	if !r.checksEVM() {
		unused := append(o.view.all(), o.kernel.givenConfig(), o.kernel.givenArch())
		return r, refuseUnused("--key or --evm-key", unused...)
	}
	return r, firstError(o.view.plan(&r.target), r.target.Check())
}

// choose takes the word of --label.
func (r *verifyRequest) choose(label string) error {
	if err := checkWord("label", label); err != nil {
		return err
	}
	r.ignoreEVM, r.onlyEVM = label == "ima", label == "evm"
	switch {
	case r.onlyEVM && r.sigFile:
		return refuseWith("label evm", given{"sigfile", true})
	case r.onlyEVM && r.needSignature:
		return refuseWith("label evm", given{"require imasig", true})
	case r.onlyEVM && !r.checksEVM():
		return conflict("--label evm checks labels of EVM, and there is no key for any", "--key CERT, or --evm-key FILE")
	case r.ignoreEVM && (r.needEVM || r.evmKey != ""):
		return refuseWith("label ima", given{"require evm", r.needEVM}, given{"evm-key", r.evmKey != ""})
	}
	return nil
}

// demand takes the words of --require.
func (r *verifyRequest) demand(require []string) error {
	if require == nil {
		return nil
	}
	for word := range strings.SplitSeq(strings.Join(require, ","), ",") {
		switch word {
		case "imasig":
			r.needSignature = true
		case "evm":
			r.needEVM = true
		default:
			return oneOf("require", word, []string{"imasig", "evm"})
		}
	}
	if r.sigFile {
		return conflict("--require is about labels, and --sigfile checks none", "leave out one of them")
	}
	return nil
}

func (p Program) verifyCommand() *urfave.Command {
	o := &verifyOptions{files: p.files()}
	return p.configured(&urfave.Command{
		Name:      "verify",
		Usage:     "recompute digests and check labels",
		ArgsUsage: "PATH...",
		Description: `Reads every selected file below each PATH and compares it with its label.
The exit status is 0 only if every file carries a label that fits, and 4 if
one does not. Signatures need --key: certificates or public keys, from files
or from a directory. EVM labels are checked too, as far as there is a key
for them; with --require evm or --evm-key every file needs one.

Before the first boot under enforcement:
   imaseal verify /mnt/root

A signed tree, by all certificates in a directory:
   imaseal verify --key /etc/keys/ima /mnt/root

A tree whose target has EVM active and demands signatures:
   imaseal verify --key /etc/keys --require imasig,evm /mnt/root

HMACs of the file system as it will be on its host:
   imaseal verify --evm-key evm.key --kernel-config config-6.12 /mnt/root

The payloads of RPM packages, and the signatures that they carry:
   imaseal verify --key signing.pem rpm:Packages

Only the names of what is wrong:
   imaseal verify --json /mnt/root | jq -r 'select(.outcome=="invalid").path'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.verify),
	}, verifySources(), nil)
}

func (p Program) verify(ctx context.Context, r verifyRequest) error {
	verifier, err := p.openVerifier(ctx, r)
	if err != nil {
		return err
	}
	s, err := p.prepare(ctx, r.Plan, sessionOptions{output: r.output, oneFinder: r.sigFile, packages: packageOptions{payloads: true}})
	if err != nil {
		return err
	}
	defer s.close()
	return s.do(ctx, verifier)
}

// openVerifier opens the keys, and finds out what the target's EVM covers if
// there is something to check that with.
func (p Program) openVerifier(ctx context.Context, r verifyRequest) (*verify.Verifier, error) {
	v := &verify.Verifier{SigFiles: r.sigFile, NeedSignature: r.needSignature, NeedEVM: r.needEVM, IgnoreEVM: r.ignoreEVM, OnlyEVM: r.onlyEVM}
	if !r.checksEVM() {
		return v, nil
	}
	if len(r.keys) > 0 {
		known, err := p.openVerifiers(ctx, r.keys)
		if err != nil {
			return nil, err
		}
		v.Keys = known
	}
	if r.evmKey != "" {
		var err error
		if v.HMAC, err = p.openHMAC(ctx, r.evmKey); err != nil {
			return nil, err
		}
	}
	t, err := p.openTarget(ctx, r.target, false)
	if err != nil {
		return nil, err
	}
	covered, err := t.EVM()
	if err != nil {
		return nil, err
	}
	if v.HMAC != nil {
		p.tellEVM(r.output, covered)
	}
	v.Covers = covered
	return v, nil
}

// openVerifiers opens the keys that check signatures, and prints what is
// questionable about them. Nobody is asked for passphrases: what checks is public.
func (p Program) openVerifiers(ctx context.Context, paths []string) (*keys.Verifiers, error) {
	known, err := readVerifiers(ctx, paths)
	if err != nil {
		return nil, err
	}
	p.warnOfKeys(known.Warnings())
	return known, nil
}

func readVerifiers(ctx context.Context, paths []string) (*keys.Verifiers, error) {
	known, err := awaitKeys(ctx, paths...)
	if is[*keyfile.PassphraseError](err) {
		return nil, &advisedError{err: err, advice: "name its certificate or public key instead; openssl pkey -in KEY -pubout prints that"}
	}
	return known, err
}

func (p Program) warnOfKeys(warnings []keys.Warning) {
	for _, w := range warnings {
		p.warn(reason.Key, "%s", w)
	}
}
