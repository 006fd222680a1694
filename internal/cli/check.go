package cli

import (
	"context"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/advice"
	"imaseal/internal/appraise"
	"imaseal/internal/cmdline"
	"imaseal/internal/judge"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/keys"
	"imaseal/keys/kernelcert"
	"imaseal/sign"
)

// checkOptions are the options of imaseal check.
type checkOptions struct {
	policy    policyOptions
	files     selectionOptions
	host      bool
	use       useOptions
	keys      []string
	namespace namespaceOption
	evmState  string
	evmKey    evmKeyOption
	loads     []string
	view      viewOptions
	kernel    kernelOptions
	archive   archiveOptions
	page      pageOption
	output    outputOptions
	config    chosenConfig
}

func (o *checkOptions) flags() []urfave.Flag {
	host := &urfave.BoolFlag{Name: "host", Destination: &o.host, Category: policyCategory, Usage: "say whether the host is ready to enforce, and on one that does what is active and what went wrong since; without PATH nothing else"}
	own := []urfave.Flag{
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: labels, Usage: "certificates that the kernel will have, or public keys, with which alone it checks signatures of version 1: a `FILE`, or a directory of them"},
		o.namespace.flag(labels),
		&urfave.StringFlag{Name: "evm-state", Destination: &o.evmState, Category: evmCategory, DefaultText: "as in the running kernel, if that is meant", Usage: "what EVM will have: none, hmac (the key is loaded), x509 (signatures are verified), sigv3 (only those of version 3, since 7.2), or several with commas (`STATE`)"},
		o.evmKey.flag(),
	}
	loads := &urfave.StringSliceFlag{Name: "initramfs-loads", Action: into(&o.loads), Category: kernelCategory, Usage: "a digest `ALGORITHM` that the kernel has as a module, which the initramfs loads; may be given several times"}
	kernel := append(o.kernel.flags(), o.kernel.archFlag(), o.kernel.secureBootFlag(), loads, o.archive.tempDirFlag())
	return slices.Concat(o.policy.flags(), o.files.flags(), []urfave.Flag{host}, o.use.flags("who uses the files:"), own, o.view.flags(), kernel, []urfave.Flag{o.page.flag()}, o.output.flags())
}

// A checkRequest is what check is asked for.
type checkRequest struct {
	plan.Plan
	output  outputOptions
	html    string // file of a page, "" for none
	host    bool   // judges the host, too
	policy  policyRequest
	assumed bool // nobody named the policy
	use     use
	loads   []hash.Algorithm // by the initramfs
	keys    []string         // files and directories
	evmKey  string           // "" for none
	// target has everything but the keys, which are not opened yet.
	target target.Options
	// ifActive are options that count only where EVM is active.
	ifActive []given
	// mend are the options that commands that mend something need, too, and
	// mendEVM those that they need where they make EVM labels.
	mend, mendEVM []advice.Option
	mendSigns     bool // they name a key
}

// judgesFiles reports whether there is more to judge than the host.
func (r *checkRequest) judgesFiles() bool { return !r.host || len(r.Paths) > 0 || r.FilesFrom != "" }

func (o *checkOptions) plan(paths []string) (checkRequest, error) {
	r := checkRequest{output: o.output, html: o.page.file, host: o.host, keys: o.keys, evmKey: o.evmKey.file}
	r.mend, r.mendEVM = o.mendOptions()
	r.mendSigns = o.config.hasKey
	r.policy = policyRequest{name: o.policy.name(), targetFS: o.policy.targetFS}
	r.assumed = o.policy.policy == ""
	r.ifActive = []given{o.view.givenNoUUID(), o.view.givenXattr(), o.kernel.givenArch()}
	err := firstError(o.namespace.check(), o.output.check(), o.page.check(o.output), o.policy.check(), o.policy.checkUUID(o.view.uuid))
	if err != nil {
		return r, err
	}
	r.Plan = plan.Plan{
		Command: "check", ReadOnly: true, Selection: o.files.plan(paths, nil), // the policy decides about files of all owners
		Writing: plan.Writing{Namespace: o.namespace.name, Archiving: o.archive.Archiving}, Jobs: o.output.jobs,
	}
	if r.judgesFiles() {
		if len(paths) == 0 && r.FilesFrom == "" {
			return r, conflict("no PATH is given", "name a directory or a file, or a list of files with --files-from; --host judges the host, without any")
		}
		if r.Plan, err = r.Plan.Validate(); err != nil {
			return r, err
		}
	}
	if err := refuseJudging(r.Selection); err != nil {
		return r, err
	}
	if r.use, err = o.use.plan(); err != nil {
		return r, err
	}
	for _, name := range o.loads {
		a, err := hash.Parse(name)
		if err != nil {
			return r, &cmdline.UsageError{Err: fmt.Errorf("--initramfs-loads: %w", err), Advice: cmdline.DidYouMean(cmdline.Nearest(name, hash.Names()), "")}
		}
		r.loads = append(r.loads, a)
	}
	r.target, err = o.target()
	return r, firstError(err, r.checkActive())
}

func (o *checkOptions) target() (target.Options, error) {
	t, err := o.kernel.plan()
	if err != nil {
		return t, err
	}
	t.HasHMACKey = o.evmKey.file != ""
	if o.evmState != "" {
		state, err := target.ParseState(o.evmState)
		if err != nil {
			return t, err
		}
		t.EVM = &state
	}
	return t, firstError(o.view.plan(&t), t.Check())
}

// checkActive refuses options that only count where EVM is active, if it is
// known not to be.
func (r *checkRequest) checkActive() error {
	if r.target.EVM == nil || r.target.EVM.IsActive() {
		return nil
	}
	return refuseUnused("--evm-state hmac or x509", r.ifActive...)
}

func (p Program) checkCommand() *urfave.Command {
	o := &checkOptions{files: p.files()}
	return p.configured(&urfave.Command{
		Name:      "check",
		Usage:     "say what an enforcing kernel would deny",
		ArgsUsage: "PATH...",
		Description: `Judges every file below each PATH that a rule of the policy can take: would
a kernel that enforces the policy let root use it for what it seems to be for?
Denied files are grouped by the kernel's own cause and by directory, with
what to do. What hangs on things that a file at rest does not show is called
undecided. The exit status is 4 if anything would be denied.

Before the reboot into ima_policy=appraise_tcb ima_appraise=enforce:
   imaseal check --host /

An image, under a policy of its own, with the keys of its kernel:
   imaseal check --policy ima-policy --key keys/ --kernel-version 6.12 \
      --kernel-config config-6.12 --evm-state x509 /mnt/root

The same to look at, with a map, in a browser or on paper:
   imaseal check --html check.html --host /

The causes of all that is denied:
   imaseal check --json / | jq -r 'select(.cause)|.cause+" "+.path'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.check),
	}, checkSources(), &o.config)
}

func (p Program) check(ctx context.Context, r checkRequest) error {
	out, err := p.openPage(ctx, r.html, r.reads()...)
	if err != nil {
		return err
	}
	defer out.abort()
	p = out.beside(p)
	c, err := p.openChecked(ctx, r)
	if err != nil {
		return err
	}
	return out.write(p.checkAll(ctx, c, out != nil), p.writeChecked(c))
}

// openChecked opens what files are judged by.
func (p Program) openChecked(ctx context.Context, r checkRequest) (*checked, error) {
	t, err := p.openKeyedTarget(ctx, r)
	if err != nil {
		return nil, err
	}
	pol, err := openPolicy(ctx, t, r.policy.name)
	if err != nil {
		return nil, err
	}
	job, err := p.openJudge(ctx, r, t, pol.Policy)
	return &checked{request: r, target: t, policy: pol, judge: job}, err
}

// checkAll judges the host and the files, and has them collected for a page.
func (p Program) checkAll(ctx context.Context, c *checked, hasPage bool) error {
	r := c.request
	var unready error
	if r.host {
		findings, err := p.askHost(ctx, r, c.target, c.policy.Policy)
		if err != nil {
			return err
		}
		c.tellHost(findings)
		ready, err := p.tellHost(r.output, findings)
		if err != nil {
			return err
		}
		if !ready {
			unready = &verdictError{status: exitVerdict}
		}
	}
	if !r.judgesFiles() {
		return unready
	}
	s, err := p.prepare(ctx, r.Plan, sessionOptions{output: r.output, bare: true, flat: true, writes: r.html})
	if err != nil {
		return err
	}
	defer s.close()
	remedy := c.remedy()
	if text, ok := s.report.(*report.Text); ok {
		text.Groups = &report.Groups{Fix: func(g report.Group) []string { return p.fitProse(remedy.Lines(g)) }}
	}
	if hasPage {
		s.report = c.handler(s.report, remedy.Lines)
	}
	if !r.output.silent() {
		fmt.Fprintf(p.Stderr, "imaseal: as %s would judge under %s, with EVM %s\n", describe(c.target), report.Quote(c.policy.Name), evmWord(c.target.State()))
	}
	err = s.do(ctx, c.judge)
	if unready != nil && (err == nil || is[*verdictError](err)) {
		return unready
	}
	return err
}

// remedy finds what mends what is found.
func (c *checked) remedy() advice.Remedy {
	r := c.request
	remedy := advice.Remedy{
		Options: r.mend, HasKey: r.mendSigns, EVM: r.mendEVM, NoUUID: r.target.NoUUID, TargetFS: r.policy.targetFS, Policy: c.policy.Policy, HasHMAC: c.target.State().HMAC,
		Hides: c.judge.HidingOption(), Magic: magicOf,
	}
	if _, ok := r.Carrier(); ok {
		remedy.Archive = r.Paths[0]
	}
	return remedy
}

// openKeyedTarget finds out which kernel is meant, and which of the keys it will
// have: a key counts if the kernel loads its certificate.
func (p Program) openKeyedTarget(ctx context.Context, r checkRequest) (*target.Target, error) {
	if len(r.keys) == 0 {
		return p.openTarget(ctx, r.target, true)
	}
	known, err := readVerifiers(ctx, r.keys)
	if err != nil {
		return nil, err
	}
	r.target.Keys = func(k kernelcert.Kernel) sign.Verifiers { return known.For(k) }
	t, err := p.openTarget(ctx, r.target, true)
	if err != nil {
		return nil, err
	}
	// What other kernels load is of no interest here.
	p.warnOfKeys(slices.DeleteFunc(slices.Clone(known.Warnings()), func(w keys.Warning) bool { return w.Kind == keys.NotLoadable }))
	p.warnOfKeys(known.For(t.Certificates()).Warnings())
	return t, nil
}

// openJudge makes ready what judges files.
func (p Program) openJudge(ctx context.Context, r checkRequest, t *target.Target, pol policy.Policy) (*judge.Judge, error) {
	keys, state := t.Keys(), t.State()
	j := &judge.Judge{
		Policy: pol, Place: placeOf(r.policy.targetFS, r.target),
		Operations: r.use.operations, Subject: r.use.subject,
		Moves: r.policy.targetFS != "" || r.target.UUID != nil, IsRoot: p.isRoot(ctx, r.Selection),
		Kernel: appraise.Kernel{
			Kernel: t.Loads(r.loads...), Keys: keys.IMA, KeysV1: keys.IMAV1, Platform: keys.Platform,
			EVM: appraise.EVM{HMAC: state.HMAC, X509: state.X509, SigV3: state.SigV3, Keys: keys.EVM, KeysV1: keys.EVMV1, Target: t.Layout()},
		},
	}
	if t.Configuration != nil {
		j.Lacks = func(option string) bool { return !t.Configuration.Enabled(option) }
	}
	if r.evmKey != "" {
		var err error
		if j.Kernel.EVM.Key, err = p.openHMAC(ctx, r.evmKey); err != nil {
			return nil, err
		}
	}
	if !state.IsActive() {
		return j, refuseUnused("--evm-state hmac or x509", r.ifActive...)
	}
	var err error
	j.Covers, err = t.EVM()
	return j, err
}

func evmWord(s target.State) string {
	if !s.IsActive() {
		return "not active"
	}
	return "active (" + s.String() + ")"
}

// mendOptions are those that were given.
func (o *checkOptions) mendOptions() (all, evm []advice.Option) {
	add := func(to *[]advice.Option, name, value string) {
		if value != "" && !slices.Contains(o.config.taken, "--"+name) {
			*to = append(*to, advice.Option{Name: name, Value: value})
		}
	}
	add(&all, "config", o.config.file)
	add(&all, "policy", o.policy.policy)
	add(&all, "target-fs", o.policy.targetFS)
	add(&all, "kernel-version", o.kernel.version)
	add(&all, "kernel-config", o.kernel.config)
	add(&all, "secure-boot", o.kernel.secureBoot)
	add(&all, "evm-uuid", o.view.uuid)
	if o.namespace.name != "security" {
		add(&all, "namespace", o.namespace.name)
	}
	for _, name := range o.view.xattrs {
		add(&evm, "evm-xattr", name)
	}
	add(&evm, "target-arch", o.kernel.arch)
	return all, evm
}

// magicOf returns the superblock magic of the file system that a path is on.
func magicOf(path string) (uint32, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return uint32(st.Type), err
}
