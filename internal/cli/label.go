package cli

import (
	"context"
	"io"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// labelOptions are what the commands that write labels have in common.
type labelOptions struct {
	files   selectionOptions
	key     keyOptions
	trust   []string
	writers bool
	sigFile bool
	rules   string
	only    onlyOption
	context contextOptions
	evm     evmOptions
	view    viewOptions
	kernel  kernelOptions
	rewrite rewriteOptions
	writing writingOptions
	export  exportOptions
	output  outputOptions
	// elsewhere asks for signatures of a key that is not here; nil for others.
	elsewhere *elsewhereRequest
}

// classFlags are for commands that sign some files and hash others.
func (o *labelOptions) classFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "sigfile", Destination: &o.sigFile, Category: labels, Usage: "write each signature to PATH.sig too, as evmctl does"},
		o.rulesFlag(),
	}
}

func (o *labelOptions) rulesFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "rules", Destination: &o.rules, Category: labels, Usage: "`FILE` of rules that say which files to sign, to hash and to skip; - is standard input"}
}

// trustFlag is for commands that may find signatures of other keys.
func trustFlag(to *[]string) urfave.Flag {
	return &urfave.StringSliceFlag{Name: "trust", Action: into(to), Category: labels, Usage: "keep signatures that these certificates or public keys verify: a `FILE`, or a directory of them"}
}

// writersFlag is for commands that label contents.
func writersFlag(to *bool) urfave.Flag {
	return &urfave.BoolFlag{Name: "allow-writers", Destination: to, Category: writing, Usage: "label files that somebody has open for writing, too"}
}

// kernelFlags are those about the target's kernel.
func (o *labelOptions) kernelFlags() []urfave.Flag {
	return append(o.kernel.flags(), o.kernel.archFlag())
}

// evmFlags are those about EVM labels, and what else they cover.
func (o *labelOptions) evmFlags() []urfave.Flag {
	return slices.Concat(o.context.flags(), o.evm.flags(), o.view.flags())
}

// A labelRequest is what a command that writes labels is asked for.
type labelRequest struct {
	plan.Plan
	output  outputOptions
	classes classes
	key     *keyRequest // nil for none
	// elsewhere asks for the signatures of a key that is not here.
	elsewhere *elsewhereRequest
	trust     []string // files and directories of certificates
	// allowWriters labels files that somebody has open for writing.
	allowWriters bool
	onlyEVM      bool
	inFlight     int   // files at once that keep the key busy
	perFile      int64 // see report.Bar
	signatures   func() *report.Store
	sigFile      bool
	context      contextRequest
	evm          evmRequest
	target       target.Options
	policy       *policyRequest // nil: the selection decides which files are labelled
}

// signs reports whether there is a key, here or elsewhere.
func (r *labelRequest) signs() bool { return r.key != nil || r.elsewhere != nil }

// classes say where the rules come from that give files their class.
type classes struct {
	file  string     // of rules; "" for none
	rules plan.Rules // without a file
}

// A policyRequest names the policy that says which files are labelled, and how.
type policyRequest struct{ name, targetFS string }

// plan checks what all these commands take. The command's name is for reports;
// algo is zero if the policy chooses; rules are those without --rules.
func (o *labelOptions) plan(command string, files plan.Selection, algo hash.Algorithm, rules plan.Rules) (labelRequest, error) {
	r := labelRequest{output: o.output, classes: classes{o.rules, rules}, trust: o.trust, allowWriters: o.writers, sigFile: o.sigFile, elsewhere: o.elsewhere}
	w, err := o.writing.plan()
	if err := firstError(err, o.export.plan(&w), o.output.check(), o.readStdinOnce(files)); err != nil {
		return r, err
	}
	w.Force = o.rewrite.force
	r.Plan, err = plan.Plan{
		Command: command, Selection: files, Writing: w, Algo: algo, ReplaceSignatures: o.rewrite.signatures, Jobs: o.output.jobs,
	}.Validate()
	if err != nil {
		return r, err
	}
	if r.key, err = o.key.plan(); err != nil {
		return r, err
	}
	if r.context, err = o.context.plan(r.Selection); err != nil {
		return r, err
	}
	if r.evm, err = o.evm.plan(); err != nil {
		return r, err
	}
	r.onlyEVM = o.only.isEVM()
	if err := firstError(o.checkArchive(r), o.export.check(r), o.checkOnly(r)); err != nil {
		return r, err
	}
	if r.target, err = o.kernel.plan(); err != nil {
		return r, err
	}
	return r, firstError(o.view.plan(&r.target), r.target.Check(), r.target.CheckDigest(algo), r.checkKinds())
}

// readStdinOnce refuses two of what reads standard input.
func (o *labelOptions) readStdinOnce(s plan.Selection) error {
	return readStdinOnce(append(archivesReading(s.Paths),
		reading("key", o.key.key), reading("passphrase-file", o.key.passphrase.file), reading("rules", o.rules), reading("files-from", s.FilesFrom))...)
}

// checkArchive refuses what does not go together with an archive.
func (o *labelOptions) checkArchive(r labelRequest) error {
	if c, ok := r.Carrier(); ok && !c.Kind.HasInodes() && r.evm.isBound() {
		return conflict("--evm "+r.evm.word+" covers inodes, which files of an archive get when they are unpacked", "--evm portable makes EVM labels that need none")
	}
	return firstError(
		refusePackageEVM(r.Selection, !r.evm.isNone()), refuseForPackages(r.Selection, given{"file-contexts", r.context.file != ""}),
		refuseForArchive(r.Selection, given{"sigfile", o.sigFile}, given{"allow-writers", o.writers}, given{"itself", r.Itself}),
		checkArchiveOutput(r.Plan, o.output))
}

// checkKinds refuses kinds of EVM labels that nothing can be made for.
func (r *labelRequest) checkKinds() error {
	if !r.signs() && r.evm.signature != 0 {
		return conflict("--evm "+r.evm.word+" needs a private key", "--key FILE; imaseal keys generate --out PREFIX makes one")
	}
	if r.classes.file != "" {
		return nil // the rules decide
	}
	_, err := r.evm.kinds(r.classes.rules)
	return err
}

// checkView refuses options about EVM that the kinds of labels do not need. Where
// there is a policy the UUID counts for that, too.
func (o *labelOptions) checkView(r evmRequest, hasPolicy bool) error {
	unneeded := append(o.view.givenBound(), o.view.givenNoUUID())
	if !hasPolicy {
		unneeded = append(unneeded, o.view.givenUUID())
	}
	switch {
	case r.isNone():
		return refuseUnused("--evm", slices.Concat(unneeded, o.view.givenInstead(), []given{o.view.givenXattr(), o.kernel.givenArch()})...)
	case r.isBound():
		return nil
	}
	for _, g := range unneeded {
		if g.is {
			return conflict("--"+g.name+" is of no use: a portable signature holds for every inode and on every file system", "leave it out, or add --evm signature or hmac")
		}
	}
	return nil
}

// label runs a request: it writes hashes, signatures, and labels of EVM.
func (p Program) label(ctx context.Context, r labelRequest) error {
	rules := r.classes.rules
	var err error
	if r.classes.file != "" {
		if rules, err = readFrom(ctx, p, r.classes.file, plan.ParseRules); err != nil {
			return err
		}
	}
	kinds, err := r.evm.kinds(rules)
	if err := firstError(err, refuseHashes(r.Selection, rules.Uses(plan.Hash))); err != nil {
		return err
	}
	if !r.signs() && rules.Uses(plan.Sign) {
		return errNoKey
	}
	t, err := p.openTarget(ctx, r.target, r.policy != nil)
	if err != nil {
		return err
	}
	l := &label.Labeller{
		Rules: rules, Force: r.Force, ReplaceSignatures: r.ReplaceSignatures, SigFiles: r.sigFile, OnlyEVM: r.onlyEVM, Stale: p.stale(r),
	}
	if err := p.openInputs(ctx, l, r, t); err != nil {
		return err
	}
	if err := p.chooseAlgorithm(ctx, &r, l, t); err != nil {
		return err
	}
	if r.elsewhere != nil {
		l.Key = r.elsewhere.key()
	}
	signature := 0 // bytes of a label
	if r.key != nil {
		signer, err := p.openStoredKey(ctx, r.key, r.DryRun)
		if err != nil {
			return err
		}
		defer signer.Close()
		if err := p.useKey(l, &r, signer, t); err != nil {
			return err
		}
		r.perFile = signingCost(signer.key, r.Jobs, kinds)
		signature = signatureSize(signer.key, l.Key.Version)
	}
	if kinds != nil {
		if l.EVM, err = p.evmLabels(ctx, r, t, kinds, rules); err != nil {
			return err
		}
	}
	return p.runLabeller(ctx, r, l, labelSizes(r.Algo, signature, kinds))
}

// chooseAlgorithm opens the policy, if there is one, and takes the algorithm that was
// asked for, or that the policy allows.
func (p Program) chooseAlgorithm(ctx context.Context, r *labelRequest, l *label.Labeller, t *target.Target) error {
	if r.policy != nil {
		var err error
		if l.Policy, err = choosePolicy(ctx, *r, t); err != nil {
			return err
		}
		if r.Algo == 0 {
			if r.Algo, err = l.Policy.Algorithm(); err != nil {
				return err
			}
		}
	}
	l.Algo = r.Algo
	return p.checkDigest(ctx, *r, t)
}

// stale says what becomes of files that have an EVM label and get no new one.
func (p Program) stale(r labelRequest) label.Stale {
	if r.evm.refused {
		return label.LeaveStale
	}
	return p.staleEVM(r.Plan)
}

// openInputs opens what labels depend on besides files, policy and private key.
func (p Program) openInputs(ctx context.Context, l *label.Labeller, r labelRequest, t *target.Target) error {
	var err error
	if l.Contexts, err = r.context.open(ctx); err != nil {
		return err
	}
	l.Trust, err = p.openTrust(ctx, r, t)
	return err
}

// openTrust opens the keys whose signatures are kept. For relabel without a key
// they are those of the running kernel, if none are named.
func (p Program) openTrust(ctx context.Context, r labelRequest, t *target.Target) (sign.Verifiers, error) {
	if len(r.trust) > 0 {
		return p.openVerifiers(ctx, r.trust)
	}
	if r.policy != nil && !r.signs() {
		return t.Keys().IMA, nil
	}
	return nil, nil
}

// choosePolicy opens the policy that selects the files.
func choosePolicy(ctx context.Context, r labelRequest, t *target.Target) (*label.Policy, error) {
	pol, err := openPolicy(ctx, t, r.policy.name)
	if err != nil {
		return nil, err
	}
	chosen := &label.Policy{Policy: pol.Policy, Kernel: t.Kernel, Place: placeOf(r.policy.targetFS, r.target)}
	if !r.signs() && len(r.trust) == 0 {
		narrowed := len(r.Include) > 0 || len(r.Exclude) > 0 || r.FilesFrom != "" || r.classes.file != ""
		err = chosen.CheckKey(narrowed)
	}
	return chosen, err
}

// evmLabels makes ready what the kinds of labels need, but the private key.
func (p Program) evmLabels(ctx context.Context, r labelRequest, t *target.Target, kinds map[plan.Class]imaevm.Type, rules plan.Rules) (*label.EVM, error) {
	m := &label.EVM{Kinds: kinds}
	var err error
	if r.evm.hmac != 0 {
		if m.HMAC, err = p.openHMAC(ctx, r.evm.key); err != nil {
			return nil, err
		}
		if _, ok := r.Carrier(); !ok && p.Host.HMACRefused() && r.Writes() && r.Namespace == "security" {
			return nil, errHMACRefused
		}
	}
	if rules.Uses(plan.Sign) && rules.Uses(plan.Hash) && kinds[plan.Hash] == imaevm.TypePortable {
		p.warn(reason.Immutable, "files of class hash get portable EVM signatures, too, so that a kernel with EVM active takes them: it then refuses to change them (--evm portable,hmac gives them HMACs)")
	}
	if m.Covers, err = t.EVM(); err != nil {
		return nil, err
	}
	if r.evm.isBound() {
		p.tellEVM(r.output, m.Covers)
	}
	return m, nil
}

func (p Program) runLabeller(ctx context.Context, r labelRequest, l *label.Labeller, sizes map[plan.Class]tree.Labels) error {
	// With one finder the order is kept, and so which name of an inode has the
	// file of its signature beside it.
	o := sessionOptions{output: r.output, oneFinder: r.sigFile, inFlight: r.inFlight, perFile: r.perFile, signatures: r.signatures}
	if r.allowWriters {
		o.writers = run.Allow
	}
	if r.classes.file != "" {
		o.leave = l.Leave
		o.packages.payloads = slices.ContainsFunc(l.Rules, func(rule plan.Rule) bool { return rule.Pattern == plan.Executable })
	}
	if r.Exports() {
		l.Digests, o.record = true, l.Record
	}
	if _, ok := r.Packages(); ok {
		o.countFiles = !o.packages.payloads
		r.Algo = 0 // each has its own
	}
	var job run.Job = l
	if r.elsewhere != nil {
		o.record, job = r.elsewhere.record(l), label.Requester{Labeller: l}
	}
	s, err := p.prepare(ctx, r.Plan, o)
	if err != nil {
		return err
	}
	defer s.close()
	if (l.Key != nil || l.EVM != nil) && !r.Exports() {
		if err := s.checkLabels(ctx, l, sizes); err != nil {
			return err
		}
	}
	return s.do(ctx, job)
}

// readFrom parses a file, or standard input for "-".
func readFrom[T any](ctx context.Context, p Program, file string, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	from, err := p.openInput(ctx, file)
	if err != nil {
		return none, err
	}
	defer from.Close()
	parsed, err := parse(from)
	if err != nil {
		return none, &os.PathError{Op: "read", Path: file, Err: pathless(err)}
	}
	return parsed, nil
}
