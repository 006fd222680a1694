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
	const file = policyFile
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
	active, err := t.findActive()
	t.Active = active
	switch {
	case errors.Is(err, host.ErrPolicyNotRoot):
		t.add(Warn, "active policy", "run as root", "it cannot be read: %v", err)
	case err != nil:
		t.add(Warn, "active policy", "audit=1 on the command line records the rules when they are loaded", "%v", err)
	default:
		t.tellActive(active)
	}
	if active.Appraises || active.Unseen {
		t.tellSince(active.Since)
		t.tellMode()
	}
	switch {
	case err != nil:
		t.add(Warn, "labels kept", "audit=1 on the command line records the rules when they are loaded",
			"not known whether an appraise rule is active: without one the kernel does not label again what root changes")
	case active.Appraises:
		t.add(Pass, "labels kept", "", "an appraise rule is active: the kernel labels again what root changes")
	default:
		t.add(Warn, "labels kept", "boot with the policy and ima_appraise=log, relabel, and stay in that mode until enforcing; or label offline",
			"no appraise rule is active: what is written from now on is not labelled, and labels go stale (logs, /etc/resolv.conf, /etc/adjtime, random seed, ld.so.cache, package databases)")
	}
	t.evmState()
}

// evmState says what EVM does right now.
func (t *table) evmState() {
	const topic = "EVM state"
	state, ok := t.Host.EVM()
	if !ok {
		if t.Host.EVMHidden() {
			t.add(Warn, topic, "run as root", "it cannot be read")
		}
		return
	}
	data := struct {
		State          uint32 `json:"state"`
		HMAC           bool   `json:"hmac"`
		X509           bool   `json:"x509"`
		MetadataWrites bool   `json:"metadata_writes"`
		SigV3          bool   `json:"sigv3"`
		Complete       bool   `json:"complete"`
	}{uint32(state), state&host.EVMHMAC != 0, state&host.EVMX509 != 0, state&host.EVMMetadataWrites != 0, state&host.EVMSigV3 != 0, state&host.EVMComplete != 0}
	is, do := "EVM is not active: security.ima alone counts", ""
	if state.Active() {
		is, do = fmt.Sprintf("EVM is active (%d)", state), "every appraised file needs security.evm"
	}
	if words := state.Words(); words != nil {
		is += ": " + strings.Join(words, ", ")
	}
	t.addData(data, Pass, topic, do, "%s", is)
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
		keys := t.keys(found.Name)
		t.rings = append(t.rings, ring{found.Name, keys, len(keys) == found.Keys})
		data := struct {
			Keys []Key `json:"keys"`
		}{keys}
		has := plural(found.Keys, "key")
		switch {
		case keys != nil:
			var names []string
			for _, k := range keys {
				names = append(names, fmt.Sprintf("%s (%s)", k.ID, k.Description))
			}
			t.addData(data, Pass, "keyring "+found.Name, "", "has %s: %s", has, list(names))
		case t.Keys != nil:
			t.add(Warn, "keyring "+found.Name, "run as root", "has %s, which cannot be seen", has)
		default:
			t.add(Pass, "keyring "+found.Name, "", "has %s", has)
		}
	}
}

// A ring is one of the keyrings by which the kernel verifies labels.
type ring struct {
	name  string
	keys  []Key
	whole bool // all of its keys are known
}

func (t *table) keys(keyring string) []Key {
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
