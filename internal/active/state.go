package active

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/keyring"
)

// policy looks at what IMA and EVM are doing right now.
func (l *look) policy() {
	if !l.Host.HasIMA() {
		l.Add(finding.Fail, "securityfs", "mount -t securityfs securityfs /sys/kernel/security; or boot a kernel with IMA", "the running kernel shows no IMA in /sys/kernel/security")
		return
	}
	active, err := l.findActive()
	l.state = active
	switch {
	case errors.Is(err, host.ErrPolicyNotRoot):
		l.Add(finding.Warn, "active policy", "run as root", "it cannot be read: %v", err)
	case err != nil:
		l.Add(finding.Warn, "active policy", "audit=1 on the command line records the rules when they are loaded", "%v", err)
	default:
		l.tellActive(active)
	}
	if active.Appraises || active.Unseen {
		l.tellSince(active.Since)
		l.tellMode()
	}
	switch {
	case err != nil:
		l.Add(finding.Warn, "labels kept", "audit=1 on the command line records the rules when they are loaded",
			"not known whether an appraise rule is active: without one the kernel does not label again what root changes")
	case active.Appraises:
		l.Add(finding.Pass, "labels kept", "", "an appraise rule is active: the kernel labels again what root changes")
	default:
		l.Add(finding.Warn, "labels kept", "boot with the policy and ima_appraise=log, relabel, and stay in that mode until enforcing; or label offline",
			"no appraise rule is active: what is written from now on is not labelled, and labels go stale (logs, /etc/resolv.conf, /etc/adjtime, random seed, ld.so.cache, package databases)")
	}
	l.evmState()
}

// evmState says what EVM does right now.
func (l *look) evmState() {
	const topic = "EVM state"
	state, ok := l.Host.EVM()
	if !ok {
		if l.Host.EVMHidden() {
			l.Add(finding.Warn, topic, "run as root", "it cannot be read")
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
	l.AddData(data, finding.Pass, topic, do, "%s", is)
}

// keyrings looks for the keys of labels.
func (l *look) keyrings() {
	text, err := l.read("/proc/keys")
	if err != nil {
		l.Add(finding.Warn, "keyrings", "run as root", "/proc/keys cannot be read")
		return
	}
	rings := keyring.ParseRings(text)
	for _, names := range [][2]string{{".ima", "_ima"}, {".evm", "_evm"}} {
		i := slices.IndexFunc(rings, func(r keyring.Ring) bool { return r.Name == names[0] || r.Name == names[1] })
		do := "imaseal keys import CERTIFICATE, before the root file system is used, if labels are signatures"
		if i < 0 && l.Partial {
			l.Add(finding.Warn, "keyring "+names[0], "run as root", "cannot be seen, nor %s: only root sees whether it is there", names[1])
			continue
		}
		if i < 0 {
			l.Add(finding.Warn, "keyring "+names[0], do, "is not there, nor %s: signatures are wrong to the kernel", names[1])
			continue
		}
		found := rings[i]
		if found.Keys == 0 {
			l.rings = append(l.rings, Ring{Name: found.Name, Whole: true})
			l.Add(finding.Warn, "keyring "+found.Name, do, "is empty: signatures are wrong to the kernel")
			continue
		}
		keys := l.keys(found.Name)
		l.rings = append(l.rings, Ring{found.Name, keys, len(keys) == found.Keys})
		data := struct {
			Keys []Key `json:"keys"`
		}{keys}
		has := finding.Count(found.Keys, "key")
		switch {
		case keys != nil:
			var names []string
			for _, k := range keys {
				names = append(names, fmt.Sprintf("%s (%s)", k.ID, k.Description))
			}
			l.AddData(data, finding.Pass, "keyring "+found.Name, "", "has %s: %s", has, finding.Some(names))
		case l.Keys != nil:
			l.Add(finding.Warn, "keyring "+found.Name, "run as root", "has %s, which cannot be seen", has)
		default:
			l.Add(finding.Pass, "keyring "+found.Name, "", "has %s", has)
		}
	}
}

func (l *look) keys(keyring string) []Key {
	if l.Keys == nil {
		return nil
	}
	return l.Keys(keyring)
}
