// Package readiness says whether a host is ready for its kernel to enforce
// appraisal: how the kernel was built and booted, what is mounted, and what
// writes to files that will be appraised. It reads what the host shows of
// itself in files, and never looks at trees.
package readiness

import (
	"slices"
	"strings"

	"imaseal/internal/active"
	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// A Table is what was found out about a host.
type Table struct {
	finding.List
	Active active.State
	// Written are files that boots and timers write, and Open those that are open
	// for writing, of those that are appraised.
	Written, Open []string
	// Filesystems are the types of mounts that hold labels.
	Filesystems []string
}

// A Question is what is to be known about a host.
type Question struct {
	Host   host.Host
	Config host.Config // nil if it is not known
	Kernel policy.Kernel
	// Running says that the kernel meant is the one that runs: what it shows
	// of itself counts.
	Running bool
	Policy  policy.Policy // that will be enforced
	// Assumed says that nobody named the policy: that of the running kernel counts in
	// its place, if it is known and appraises.
	Assumed bool
	// Owner is whose open files are looked for, 0 on a real host.
	Owner uint32
	// Statfs is unix.Statfs but for tests.
	Statfs func(name string) (Space, error)
	// Keys, Partial, Mode and Loading are as in active.Question.
	Keys    func(keyring string) []active.Key
	Partial bool
	Mode    string
	Loading active.Loading
	// Unloadable says why the kernel does not load the certificate in a file of the
	// host into .ima or .evm, whoever signed it; nothing if it does, or if there is no
	// such file. Nil stands for a function that does not know.
	Unloadable func(path string) string
	// Refuses reports whether the file system of a mount refuses security
	// attributes. Nil stands for a function that does not know.
	Refuses func(point string) bool
}

// A Space is what a file system has free.
type Space struct {
	Free      uint64 // bytes
	BlockSize uint64
	Inodes    uint64 // in use
}

// Ask returns the table for a host.
func Ask(q Question) Table {
	t := &table{Question: q}
	var now active.Answer
	if q.Running {
		now = active.Look(active.Question{Host: q.Host, Config: q.Config, Kernel: q.Kernel, Keys: q.Keys, Partial: q.Partial, Mode: q.Mode, Loading: q.Loading})
		t.Active, t.rings = now.State, now.Rings
		if q.Assumed && now.State.Appraises {
			t.Policy = now.State.Policy
		}
	}
	t.config()
	t.rules()
	t.secureBoot()
	t.commandLine()
	if q.Running {
		t.Findings = append(t.Findings, now.Findings...)
		t.signers()
		t.hooks()
	}
	t.initramfs()
	t.mounts()
	t.bootFiles()
	t.writtenAtBoot()
	t.writers()
	return t.Table
}

type table struct {
	Question
	Table
	rings []active.Ring // of the running kernel
}

// config looks at the options that the kernel was built with.
func (t *table) config() {
	if t.Config == nil {
		t.Add(finding.Warn, "configuration", "--kernel-config FILE names it", "the kernel's configuration is not to be found in /proc/config.gz, /boot and /lib/modules")
		return
	}
	on := t.Config.Enabled
	switch {
	case !on("CONFIG_IMA"):
		t.Add(finding.Fail, "IMA", "boot a kernel that has it", "the kernel was built without CONFIG_IMA")
		return
	case !on("CONFIG_IMA_APPRAISE"):
		t.Add(finding.Fail, "IMA", "boot a kernel that has it", "without CONFIG_IMA_APPRAISE appraise rules do nothing")
		return
	}
	t.Add(finding.Pass, "IMA", "", "appraisal is built in; the kernel writes %s labels", strings.Trim(t.Config["CONFIG_IMA_DEFAULT_HASH"], `"`))
	if on("CONFIG_IMA_APPRAISE_SIGNED_INIT") {
		t.Add(finding.Warn, "signed init", "sign all of them, or take a policy of your own", "CONFIG_IMA_APPRAISE_SIGNED_INIT: appraise_tcb demands signatures of all files of root")
	}
	if !on("CONFIG_IMA_APPRAISE_BOOTPARAM") {
		t.Add(finding.Warn, "log mode", "try with a narrow policy of your own first", "without CONFIG_IMA_APPRAISE_BOOTPARAM ima_appraise= is ignored: enforcement at once")
	}
	t.algorithms()
	t.evmConfig()
	if !on("CONFIG_AUDIT") || !on("CONFIG_INTEGRITY_AUDIT") {
		t.Add(finding.Warn, "audit", "", "without CONFIG_AUDIT and CONFIG_INTEGRITY_AUDIT denials are silent")
	}
}

// algorithms looks for what labels are made of, which must be there before
// modules are.
func (t *table) algorithms() {
	name := strings.Trim(t.Config["CONFIG_IMA_DEFAULT_HASH"], `"`)
	if t.Kernel.DefaultHash != 0 {
		name = t.Kernel.DefaultHash.String()
	}
	digest := "CONFIG_CRYPTO_SHA256"
	switch name {
	case "sha384", "sha512":
		digest = "CONFIG_CRYPTO_SHA512"
	case "sha1":
		digest = "CONFIG_CRYPTO_SHA1"
	}
	if t.Config.Enabled(digest) {
		t.Add(finding.Pass, "digests", "", "%s is built in", digest)
	} else {
		t.Add(finding.Fail, "digests", "build it in, or label with --algo and ima_hash= of one that is", "%s is not built in: files cannot be read before modules are loaded, nor modules", digest)
	}
	missing := finding.Warn
	if t.signs() {
		missing = finding.Fail
	}
	switch {
	case !t.Config.Enabled("CONFIG_INTEGRITY_SIGNATURE") || !t.Config.Enabled("CONFIG_INTEGRITY_ASYMMETRIC_KEYS"):
		t.Add(missing, "signatures", "label with hashes only, and demand no signatures", "without CONFIG_INTEGRITY_ASYMMETRIC_KEYS signed files are denied")
	case !t.Config.Enabled("CONFIG_CRYPTO_RSA"):
		t.Add(missing, "signatures", "", "CONFIG_CRYPTO_RSA is not built in")
	case !t.Config.Enabled("CONFIG_CRYPTO_ECDSA"):
		t.Add(finding.Pass, "signatures", "", "by RSA keys; ECDSA (CONFIG_CRYPTO_ECDSA) is not built in")
	default:
		t.Add(finding.Pass, "signatures", "", "by RSA and ECDSA keys")
	}
}

func (t *table) evmConfig() {
	switch {
	case !t.Config.Enabled("CONFIG_EVM"):
		t.Add(finding.Warn, "EVM", "", "the kernel was built without it: labels can be replaced offline, and owner and mode are not protected")
	case t.Config.Enabled("CONFIG_EVM_ATTR_FSUUID"):
		t.Add(finding.Pass, "EVM", "", "built in; HMACs cover the UUID of the file system")
	default:
		t.Add(finding.Pass, "EVM", "", "built in; HMACs do not cover the UUID of the file system")
	}
}

func (t *table) secureBoot() {
	switch t.Kernel.SecureBoot {
	case policy.True:
		t.Add(finding.Warn, "secure boot", "prepare a rescue medium, and check everything before", "it is on: no log mode, no fix mode, and no way back by the command line")
	case policy.False:
		t.Add(finding.Pass, "secure boot", "", "it is off: a boot entry without ima_policy= is the way back; keep one")
	default:
		t.Add(finding.Warn, "secure boot", "--secure-boot on or off says it", "not known whether it is on, which would ignore ima_appraise=")
	}
}

// rootFile is a file of root's on a file system.
func rootFile(name string, magic uint32, known bool) match.File {
	f := match.File{FSName: match.Is(name), Subtype: match.Is(""), Owner: match.Is[uint32](0), Group: match.Is[uint32](0)}
	if base, subtype, ok := strings.Cut(name, "."); ok {
		f.FSName, f.Subtype = match.Is(base), match.Is(subtype)
	}
	if known {
		f.Magic = match.Is(magic)
	}
	return f
}

// signs reports whether the policy demands signatures.
func (t *table) signs() bool {
	return slices.ContainsFunc(t.Policy.Rules, func(r policy.Rule) bool { return r.Action == policy.Appraise && r.Signature })
}

// appraised reports whether the policy may appraise a file that root reads or
// runs.
func (t *table) appraised(f match.File) bool {
	return t.demands(f, func(match.Demands) bool { return true })
}

// demands reports whether the policy may appraise a file that root reads or
// runs, with demands of some kind.
func (t *table) demands(f match.File, some func(match.Demands) bool) bool {
	for _, o := range []match.Operation{match.Read, match.Exec} {
		for _, a := range o.Accesses(t.Kernel) {
			outcomes := match.Appraisal(t.Policy, match.Query{Access: a, File: f, Subject: match.Root()})
			if slices.ContainsFunc(outcomes, func(o match.Outcome) bool { return o.Appraise && some(o.Demands) }) {
				return true
			}
		}
	}
	return false
}
