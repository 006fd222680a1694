package readiness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imaseal/internal/host"
	"imaseal/internal/keyring"
	"imaseal/internal/policy"
)

func (t *table) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(t.Host.Root, name))
	return string(b), err
}

// ownPolicy looks at the rules that systemd loads, and reports whether there
// are any.
func (t *table) ownPolicy() bool {
	const file = "/etc/ima/ima-policy"
	text, err := t.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		t.add(Warn, "policy file", "run as root", "%s cannot be read", file)
		return true
	}
	if strings.HasPrefix(text, "/") {
		t.add(Pass, "policy file", "", "%s names another file", file)
		return true
	}
	if _, err := policy.Parse(text, t.Kernel); err != nil {
		t.add(Fail, "policy file", "imaseal policy lint "+file, "kernel %s would refuse %s: %v", t.Kernel, file, err)
		return true
	}
	t.add(Pass, "policy file", "imaseal policy lint "+file+" says what is unwise about it", "%s is one that kernel %s takes", file, t.Kernel)
	return true
}

// state looks at what IMA and EVM are doing right now.
func (t *table) state() {
	if !t.Host.HasIMA() {
		t.add(Fail, "securityfs", "mount -t securityfs securityfs /sys/kernel/security; or boot a kernel with IMA", "the running kernel shows no IMA in /sys/kernel/security")
		return
	}
	active := false
	text, err := t.Host.Policy()
	switch shown, parseErr := policy.ParseShown(text, t.Kernel); {
	case err == nil && parseErr == nil:
		for _, r := range shown.Rules {
			active = active || r.Action == policy.Appraise
		}
		t.add(Pass, "active policy", "", "%d rules", len(shown.Rules))
	case errors.Is(err, host.ErrPolicyHidden):
		words := t.Host.PolicyWords()
		active = slices.Contains(words, string(policy.SetAppraiseTCB)) || slices.Contains(words, "ima_appraise_tcb")
		t.add(Warn, "active policy", "--policy FILE names what was loaded", "the kernel does not show it (no CONFIG_IMA_READ_POLICY)")
	default:
		t.add(Warn, "active policy", "run as root", "it cannot be read: %v", errors.Join(err, parseErr))
	}
	mode, _ := t.Host.Option("ima_appraise")
	t.kept = active && !(strings.HasPrefix(mode, "off") && !t.modeIgnored())
	if t.kept {
		t.add(Pass, "labels kept", "", "an appraise rule is active: the kernel labels again what root changes")
	} else {
		t.add(Warn, "labels kept", "boot with the policy and ima_appraise=log, relabel, and stay in that mode until enforcing; or label offline",
			"no appraise rule is active: what is written from now on is not labelled, and labels go stale (logs, /etc/resolv.conf, /etc/adjtime, random seed, ld.so.cache, package databases)")
	}
	switch state, ok := t.Host.EVM(); {
	case ok && state.Active():
		t.add(Pass, "EVM state", "every appraised file needs security.evm", "EVM is active (%d)", state)
	case ok:
		t.add(Pass, "EVM state", "", "EVM is not active: security.ima alone counts")
	}
}

// keyrings looks for the keys of labels.
func (t *table) keyrings() {
	text, err := t.read("/proc/keys")
	if err != nil {
		t.add(Warn, "keyrings", "run as root", "/proc/keys cannot be read")
		return
	}
	rings := keyring.ParseRings(text)
	for _, names := range [][2]string{{".ima", "_ima"}, {".evm", "_evm"}} {
		i := slices.IndexFunc(rings, func(r keyring.Ring) bool { return r.Name == names[0] || r.Name == names[1] })
		do := "imaseal keys import CERTIFICATE, before the root file system is used, if labels are signatures"
		if i < 0 {
			t.add(Warn, "keyring "+names[0], do, "is not there, nor %s: signatures are wrong to the kernel", names[1])
			continue
		}
		found := rings[i]
		if found.Keys == 0 {
			t.add(Warn, "keyring "+found.Name, do, "is empty: signatures are wrong to the kernel")
			continue
		}
		has := plural(found.Keys, "key")
		if keys := t.keys(found.Name); keys != nil {
			has += ": " + list(keys)
		}
		t.add(Pass, "keyring "+found.Name, "", "has %s", has)
	}
}

func (t *table) keys(keyring string) []string {
	if t.Keys == nil {
		return nil
	}
	return t.Keys(keyring)
}

func plural(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}

// writers looks for what makes labels stale, or wants more than to read.
func (t *table) writers() {
	t.openFiles()
	swaps, _ := t.read("/proc/swaps")
	for line := range strings.Lines(swaps) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "file" {
			t.add(Warn, "swap file", "use a partition", "%s is written behind the file system: its label will be wrong at the next swapon", f[0])
		}
	}
	if _, err := t.read("/etc/prelink.cache"); err == nil {
		t.add(Warn, "prelink", "prelink -ua, and remove it", "it rewrites programs in place, signed ones too")
	}
}
