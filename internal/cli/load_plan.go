package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy/lint"
	"imaseal/internal/report"
)

// check looks at the files without loading them, and copies them if it is asked to
// and they are sound. If it does not copy, it prints what would be done with each.
func (l *loader) check(r loadRequest) error {
	var steps strings.Builder
	l.checkCertificates(&steps, "ima", l.set.IMA)
	hasEVM := l.checkCertificates(&steps, "evm", l.set.EVM)
	hasHMAC := l.checkKey(&steps, r)
	l.checkPolicy(&steps)
	l.switches(&steps, r, evmFor(hasEVM, hasHMAC))
	switch {
	case l.ctx.Err() != nil:
		return l.outcome()
	case l.fails > 0 && r.copyTo != "":
		return &advisedError{err: errors.New("nothing is copied"), code: "nothing-copied"}
	case r.copyTo != "":
		return l.set.CopyTo(r.copyTo)
	case l.set.Empty():
		return l.outcome()
	}
	if err := l.print(steps.String()); err != nil {
		return err
	}
	return l.outcome()
}

// checkCertificates looks at those for a keyring, and reports whether one is sound.
func (l *loader) checkCertificates(steps *strings.Builder, ring string, files []string) bool {
	if len(files) == 0 {
		fmt.Fprintf(steps, "keyring %s: no certificates\n", ring)
	}
	sound := false
	for _, name := range files {
		found, err := l.openCertificates(l.ctx, name, l.target)
		if err != nil {
			l.failed(err)
			fmt.Fprintf(steps, "keyring %s: NOT SOUND: %s\n", ring, report.Quote(name))
			continue
		}
		sound = true
		for _, crt := range found {
			id := "without an id"
			if len(crt.KeyIDs) > 0 {
				id = imaevm.KeyID(crt.KeyIDs[0]).String()
			}
			fmt.Fprintf(steps, "keyring %s: key %s, from %s\n", ring, id, report.Quote(name))
		}
	}
	return sound
}

// checkKey looks at EVM's HMAC key, and reports whether it would be loaded.
func (l *loader) checkKey(steps *strings.Builder, r loadRequest) bool {
	if l.set.Blob == "" {
		steps.WriteString("EVM key: none\n")
		return false
	}
	if l.set.Master == "" { // which has been told
		fmt.Fprintf(steps, "EVM key: NOT SOUND: %s, without its master key\n", report.Quote(l.set.Blob))
		return false
	}
	_, master, err := l.openBlob()
	clear(master)
	switch {
	case err != nil:
		fmt.Fprintf(steps, "EVM key: NOT SOUND: %s, by the master key in %s\n", report.Quote(l.set.Blob), report.Quote(l.set.Master))
	case r.isForRunning() && l.Host.HMACKeyCrashes(l.target.Kernel):
		err = l.crash()
		fmt.Fprintf(steps, "EVM key: NOT LOADED: %s\n", report.Quote(l.set.Blob))
	default:
		fmt.Fprintf(steps, "EVM key: %s, by the master key %s in %s\n", report.Quote(l.set.Blob), report.Quote(l.set.MasterName), report.Quote(l.set.Master))
		return true
	}
	l.failed(err)
	return false
}

// isForRunning reports whether the files are for the running kernel, as far as is known.
func (r *loadRequest) isForRunning() bool {
	return r.copyTo == "" && r.target.Version == "" && r.target.ConfigFile == ""
}

// checkPolicy looks at the policy.
func (l *loader) checkPolicy(steps *strings.Builder) {
	if l.set.Policy == "" {
		steps.WriteString("policy: none\n")
		return
	}
	rules, err := l.lintPolicy()
	if err != nil {
		l.failed(err)
		fmt.Fprintf(steps, "policy: NOT SOUND: %s\n", report.Quote(l.set.Policy))
		return
	}
	fmt.Fprintf(steps, "policy: %s, %s\n", report.Quote(l.set.Policy), plural(int64(rules), "rule"))
}

// switches says what would be written to switch EVM on.
func (l *loader) switches(steps *strings.Builder, r loadRequest, wanted host.EVMState) {
	state, known := l.Host.EVM()
	switch {
	case wanted == 0:
		steps.WriteString("EVM: stays as it is, there is no key for it\n")
	case r.isForRunning() && known && state&wanted == wanted:
		fmt.Fprintf(steps, "EVM: is on already, for %s\n", evmKinds(wanted))
	default:
		fmt.Fprintf(steps, "EVM: on, for %s: %d is written to /sys/kernel/security/evm\n", evmKinds(wanted), wanted)
	}
}

// errUnsound says that what was said before is why a policy must not be loaded.
var errUnsound = errors.New("the kernel refuses this policy, or the host would not work under it")

// lintPolicy prints what is wrong or unwise about the policy, and returns how many rules
// it has.
func (l *loader) lintPolicy() (rules int, err error) {
	findings, rules, err := lintPolicy(l.ctx, l.set.Policy, l.target)
	if err != nil {
		return 0, err
	}
	findings = slices.DeleteFunc(findings, func(f lint.Finding) bool { return f.Severity == lint.Note })
	if _, err := fmt.Fprint(l.Stderr, findingsText(l.set.Policy, findings, false)); err != nil {
		return 0, err
	}
	if slices.ContainsFunc(findings, func(f lint.Finding) bool { return f.Severity == lint.Error }) {
		return 0, &advisedError{err: fmt.Errorf("%s: %w", report.Quote(l.set.Policy), errUnsound), code: "unsound-policy"}
	}
	return rules, nil
}
