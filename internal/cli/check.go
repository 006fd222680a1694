package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/appraise"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
)

func (p Program) checkCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.BoolFlag{Name: "host", Category: policyCategory, Usage: "say whether the host is ready to enforce: its kernel, boot, mounts and open files; without PATH nothing else"},
		operationFlag(),
		&urfave.StringFlag{Name: "user", Category: policyCategory, Value: "0", Usage: "who uses the files: the `USER` by number or name, or any"},
		&urfave.StringSliceFlag{Name: "key", Category: labels, Usage: "certificates or public keys that the kernel will have: a `FILE`, or a directory of them"},
		namespaceFlag(labels),
		&urfave.StringFlag{Name: "evm-state", Category: evmCategory, DefaultText: "as in the running kernel, if that is meant", Usage: "what EVM will have: none, hmac (the key is loaded), x509 (signatures are verified), sigv3 (only those of version 3, since 7.2), or several with commas (`STATE`)"},
	}
	selection := slices.DeleteFunc(selectionFlags(), func(f urfave.Flag) bool { return f.Names()[0] == "owner" })
	return &urfave.Command{
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

The causes of all that is denied:
   imaseal check --json / | jq -r 'select(.cause)|.cause+" "+.path'`,
		Flags:  slices.Concat(policyFlags(), selection, own, viewFlags(), targetFlags(), outputFlags()),
		Action: p.check,
	}
}

func (p Program) check(c *urfave.Context) error {
	request, err := toPlan(c)
	if err != nil {
		return err
	}
	request.ReadOnly = true
	request.Owner = nil // the policy decides
	onlyHost := c.Bool("host") && len(request.Paths) == 0 && request.FilesFrom == ""
	if !onlyHost {
		if request, err = validate(request); err != nil {
			return err
		}
	}
	k, err := p.openCheck(c)
	if err != nil {
		return err
	}
	var unready error
	if c.Bool("host") {
		ready, err := p.checkHost(c, k.target, k.policy.Policy)
		if err != nil {
			return err
		}
		if !ready {
			unready = &verdictError{status: exitVerdict}
		}
	}
	if onlyHost {
		return unready
	}
	r, err := p.prepare(c, request)
	if err != nil {
		return err
	}
	defer r.close()
	k.judge.Store = storeOf(request)
	if text, ok := r.report.(*report.Text); ok {
		text.Groups = &report.Groups{Fix: func(g report.Group) []string { return p.fitProse(remedy{c, k.judge}.fix(g)) }}
	}
	if !c.Bool("quiet") && !c.Bool("json") {
		fmt.Fprintf(p.Stderr, "imaseal: as %s would judge under %s, with EVM %s\n", k.target.describe(c), report.Quote(k.policy.name), evmWord(k.judge.Kernel.EVM))
	}
	err = r.do(c.Context, k.judge.Check)
	if unready != nil && (err == nil || is[*verdictError](err)) {
		return unready
	}
	return err
}

// A checking is check with everything opened but the files.
type checking struct {
	judge  *relabel.Judge // without the Store
	target target
	policy namedPolicy
}

func (p Program) openCheck(c *urfave.Context) (k checking, err error) {
	k.judge = &relabel.Judge{Moves: c.String("target-fs") != "" || c.String("evm-uuid") != ""}
	if k.judge.Operations, err = operations(c); err != nil {
		return k, err
	}
	if k.judge.Subject, err = parseSubject(c.String("user")); err != nil {
		return k, err
	}
	if k.target, err = p.target(c); err != nil {
		return k, err
	}
	files, err := inspector(c)
	if err != nil {
		return k, err
	}
	if k.policy, err = p.openPolicy(c.String("policy"), k.target); err != nil {
		return k, err
	}
	k.judge.Policy = relabel.Policy{Policy: k.policy.Policy, Kernel: k.target.Kernel, Inspector: files}
	if err = p.judgeKeys(c, k.judge, k.target); err == nil {
		err = p.judgeEVM(c, k.judge, k.target)
	}
	return k, err
}

// judgeKeys opens the keys that the options name; without any, the running
// kernel's keyrings say at least which keys there are.
func (p Program) judgeKeys(c *urfave.Context, j *relabel.Judge, t target) error {
	// Nobody here knows what firmware put into .platform.
	j.Kernel = appraise.Kernel{Kernel: t.Kernel, Platform: unknownKeys{}}
	paths := c.StringSlice("key")
	if len(paths) == 0 {
		if t.running {
			j.Kernel.Keys, j.Kernel.EVM.Keys = keyringKeys(".ima", "_ima"), keyringKeys(".evm", "_evm")
		}
		return nil
	}
	known, err := p.openVerifiers(paths)
	if err != nil {
		return err
	}
	j.Kernel.Keys, j.Kernel.EVM.Keys = known, known
	return nil
}

// judgeEVM says what EVM is like in the kernel.
func (p Program) judgeEVM(c *urfave.Context, j *relabel.Judge, t target) error {
	e := &j.Kernel.EVM
	state := c.String("evm-state")
	switch {
	case state != "":
		if err := parseEVMState(state, e, t.IsSigV3()); err != nil {
			return err
		}
	case c.String("evm-key") != "":
		e.HMAC = true
	case t.running:
		now, _ := p.Host.EVM()
		e.HMAC, e.X509, e.SigV3 = now&host.EVMHMAC != 0, now&host.EVMX509 != 0, now&host.EVMSigV3 != 0
	}
	if c.String("evm-key") != "" {
		if !e.HMAC {
			return conflict("--evm-key is given, and EVM has no HMAC key with --evm-state "+state, "--evm-state hmac, or leave it out")
		}
		var err error
		if e.Key, err = p.openHMAC(c); err != nil {
			return err
		}
	}
	e.Target = imaevm.Target{SignatureV3: t.IsSigV3(), NoSHA3: !t.HasSHA3()}
	if !e.IsActive() {
		return refuseUnused(c, "--evm-state hmac or x509", "evm-no-uuid", "evm-xattr")
	}
	view, _, err := p.evmView(c)
	if err != nil {
		return err
	}
	j.Added = view.Added
	j.Counts = make(map[string]policy.Truth)
	for _, a := range imaevm.Protected() {
		switch {
		case a.Option == "":
			j.Counts[a.Name] = policy.True
		case t.config != nil:
			j.Counts[a.Name] = policy.Of(t.config.Enabled(a.Option))
		}
	}
	switch {
	case c.Bool("evm-no-uuid"):
		j.CountsUUID = policy.False
	case t.config != nil:
		j.CountsUUID = policy.Of(t.config.Enabled("CONFIG_EVM_ATTR_FSUUID"))
	case c.String("evm-uuid") != "":
		j.CountsUUID = policy.True
	}
	return nil
}

// parseEVMState takes the words of --evm-state.
func parseEVMState(state string, e *appraise.EVM, isSigV3 bool) error {
	for word := range strings.SplitSeq(state, ",") {
		switch {
		case word == "none" && state == "none":
		case word == "hmac" && !e.HMAC:
			e.HMAC = true
		case word == "x509" && !e.X509:
			e.X509 = true
		case word == "sigv3" && !e.SigV3:
			e.SigV3 = true
		default:
			return conflict(fmt.Sprintf("--evm-state %q is not none, or some of hmac, x509 and sigv3 with commas", state), "")
		}
	}
	switch {
	case e.SigV3 && !isSigV3:
		return conflict("--evm-state sigv3 is of kernels since 7.2", "name the kernel with --kernel-version, or leave sigv3 out")
	case e.SigV3 && !e.IsActive():
		return conflict("--evm-state sigv3 alone leaves EVM inactive", "--evm-state x509,sigv3")
	}
	return nil
}

func evmWord(e appraise.EVM) string {
	if !e.IsActive() {
		return "not active"
	}
	var words []string
	for _, bit := range []struct {
		on   bool
		word string
	}{{e.HMAC, "hmac"}, {e.X509, "x509"}, {e.SigV3, "sigv3"}} {
		if bit.on {
			words = append(words, bit.word)
		}
	}
	return "active (" + strings.Join(words, ",") + ")"
}
