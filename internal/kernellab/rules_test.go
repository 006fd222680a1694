package kernellab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/host"
	"imaseal/internal/policy"
)

// policyKernel is what imaseal's policy package must know of a kernel.
func policyKernel(t *testing.T, k Kernel) policy.Kernel {
	t.Helper()
	p, err := policy.ParseKernel(k.Version)
	check(t, err)
	config, err := host.OpenConfig(k.Config())
	check(t, err)
	return config.Build(p)
}

// A ruleMaker makes rules from a seed.
type ruleMaker struct {
	random *rand.Rand
	kernel policy.Kernel
	fs     FS
}

// magics are the numbers of the file systems in rules.
var magics = map[FS]string{Ext4: "0xef53", XFS: "0x58465342"}

func (m *ruleMaker) one(from ...string) string { return from[m.random.IntN(len(from))] }

// maybe is the item in one of n rules, else nothing.
func (m *ruleMaker) maybe(n int, item func() string) string {
	if m.random.IntN(n) != 0 {
		return ""
	}
	return item()
}

// policy makes rules that the kernel takes, with an appraise rule among them.
// The guest's own file systems are excluded first.
func (m *ruleMaker) policy() []string {
	for {
		rules := slices.Clone(unjudged)
		for range 2 + m.random.IntN(10) {
			rules = append(rules, m.rule())
		}
		p, err := policy.Parse(strings.Join(rules, "\n"), m.kernel)
		if err == nil && slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return r.Action == policy.Appraise }) {
			return rules
		}
	}
}

// rule makes a rule that the kernel takes, as imaseal says.
func (m *ruleMaker) rule() string {
	for {
		rule := m.words()
		if _, err := policy.Parse(rule, m.kernel); err == nil {
			return rule
		}
	}
}

// words makes what may be a rule. Set-id programs are for those about ids at
// CREDS_CHECK, and signatures by keys of the firmware for those about kernels.
func (m *ruleMaker) words() string {
	switch m.random.IntN(16) {
	case 0:
		return "appraise func=CREDS_CHECK " + m.one("euid", "euid", "egid", "uid") + m.compare("0", "0", "1", "1000")
	case 1:
		return "appraise func=KEXEC_KERNEL_CHECK appraise_algos=" + m.algos()
	}
	action := m.one("appraise", "appraise", "appraise", "appraise", "appraise", "dont_appraise",
		"measure", "dont_measure", "audit", "dont_audit", "hash", "dont_hash")
	items := []string{action,
		m.maybe(2, func() string {
			return "func=" + m.one("FILE_CHECK", "FILE_CHECK", "FILE_CHECK", "MMAP_CHECK", "BPRM_CHECK", "CREDS_CHECK",
				"MMAP_CHECK_REQPROT", "MODULE_CHECK", "KEXEC_KERNEL_CHECK", "FIRMWARE_CHECK", "POLICY_CHECK", "PATH_CHECK")
		}),
		m.maybe(4, func() string {
			return "mask=" + m.one("", "^") + m.one("MAY_READ", "MAY_WRITE", "MAY_EXEC", "MAY_APPEND")
		}),
		m.maybe(8, func() string { return "fsmagic=" + m.one(magics[m.fs], magics[m.fs], "0xef53", "0x9fa0") }),
		m.maybe(8, func() string { return "fsname=" + m.one(string(m.fs), string(m.fs), "ext4", "tmpfs") }),
		m.maybe(12, func() string { return "fs_subtype=sshfs" }),
		m.maybe(8, func() string {
			return "fsuuid=" + m.one(vectorUUID, vectorUUID, "01234567-89ab-cdef-0123-456789abcdef")
		}),
		m.maybe(3, func() string { return "fowner" + m.compare("0", "0", "0", "1", "1000") }),
		m.maybe(8, func() string { return "fgroup" + m.compare("0", "1", "1000") }),
		m.maybe(8, func() string { return m.one("uid", "euid") + m.compare("0", "0", "1") }),
		m.maybe(10, func() string { return m.one("gid", "egid") + m.compare("0", "0", "1") }),
		m.maybe(8, func() string { return "permit_directio" }),
	}
	if action == "appraise" {
		items = append(items,
			m.maybe(4, func() string { return "appraise_type=" + m.one("imasig", "imasig", "sigv3") }),
			m.maybe(6, func() string { return "appraise_algos=" + m.algos() }))
	}
	items = append(items, m.maybe(15, func() string { return m.one("digest_type=verity", "digest_type=verity appraise_type=sigv3") }))
	return strings.Join(slices.DeleteFunc(items, func(s string) bool { return s == "" }), " ")
}

func (m *ruleMaker) compare(numbers ...string) string {
	return fmt.Sprint(m.one("=", "=", "=", "<", ">"), m.one(numbers...))
}

func (m *ruleMaker) algos() string {
	all := []string{"sha256", "sha512", "sha1", "sha384", "sha224", "md5"}
	m.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return strings.Join(all[:1+m.random.IntN(4)], ",")
}
