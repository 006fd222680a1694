// Package builtin holds the policies inside the kernel: the sets of rules that
// ima_policy= and the old parameters name, and those that come with the
// architecture and the build. Kernel: the tables and ima_init_policy() in
// security/integrity/ima/ima_policy.c.
package builtin

import (
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/policy"
)

// failSecurely is a word of ima_policy= that is no set but a flag, and
// oldAppraiseTCB is a parameter of its own.
const (
	failSecurely   = "fail_securely"
	oldAppraiseTCB = "ima_appraise_tcb"
)

// Words returns what Policy takes.
func Words() []string {
	return []string{
		string(policy.SetTCB), string(policy.SetAppraiseTCB), string(policy.SetSecureBoot), failSecurely,
		string(policy.SetCriticalData), string(policy.SetOldTCB), oldAppraiseTCB,
	}
}

// IsWord reports whether Policy takes word.
func IsWord(word string) bool { return slices.Contains(Words(), word) }

// Policy returns the policy of a kernel that was booted with the given words:
// those of ima_policy=, and the old parameters ima_tcb and ima_appraise_tcb.
// Of tcb and ima_tcb the first counts. The order is ima_init_policy()'s,
// ima_policy.c: measure, arch, secure_boot, build, appraise_tcb,
// critical_data. Without words there are the architecture's and the build's
// rules, in most kernels none.
func Policy(k policy.Kernel, words ...string) (policy.Policy, error) {
	var measure policy.Set
	on := make(map[policy.Set]bool)
	var pol policy.Policy
	for _, w := range words {
		switch {
		case !IsWord(w):
			return policy.Policy{}, fmt.Errorf("no built-in policy %q; there are %s", w, strings.Join(Words(), ", "))
		case w == failSecurely:
			pol.FailSecurely = true
		case w == oldAppraiseTCB:
			on[policy.SetAppraiseTCB] = true
		case w == string(policy.SetTCB) || w == string(policy.SetOldTCB):
			if measure == "" {
				measure = policy.Set(w)
			}
		default:
			on[policy.Set(w)] = true
		}
	}
	add := func(s policy.Set, wanted bool) {
		if wanted {
			pol.Rules = append(pol.Rules, rules(s, k)...)
		}
	}
	add(measure, measure != "")
	add(policy.SetArch, true)
	add(policy.SetSecureBoot, on[policy.SetSecureBoot])
	// The secure boot rules contain those of the build.
	add(policy.SetBuild, !on[policy.SetSecureBoot])
	add(policy.SetAppraiseTCB, on[policy.SetAppraiseTCB])
	add(policy.SetCriticalData, on[policy.SetCriticalData])
	return pol, nil
}

// Custom returns the policy after p was loaded: it replaces what Policy
// returns, but for the rules of the architecture and of the build, which stay
// in front.
func Custom(k policy.Kernel, p policy.Policy) policy.Policy {
	return policy.Policy{
		Rules:        slices.Concat(rules(policy.SetArch, k), rules(policy.SetBuild, k), p.Rules),
		FailSecurely: p.FailSecurely,
	}
}

// rules returns the rules of one set.
func rules(s policy.Set, k policy.Kernel) []policy.Rule {
	var lines []string
	switch s {
	case policy.SetTCB, policy.SetOldTCB:
		lines = measureRules(s, k)
	case policy.SetAppraiseTCB:
		lines = appraiseRules(k)
	case policy.SetSecureBoot:
		module := "appraise func=MODULE_CHECK appraise_type=imasig"
		if k.AtLeast(7, 2) {
			module += "|modsig"
		}
		lines = []string{module, signed(policy.FirmwareCheck), signed(policy.KexecKernelCheck), signed(policy.PolicyCheck)}
	case policy.SetCriticalData:
		lines = []string{"measure func=CRITICAL_DATA"}
	case policy.SetArch:
		lines = archRules(k)
	case policy.SetBuild:
		lines = buildRules(k)
	}
	all := make([]policy.Rule, 0, len(lines))
	for _, line := range lines {
		// The kernel's own tables pass by what its parser would refuse.
		r, err := policy.ParseRule(line, policy.Kernel{Major: k.Major, Minor: k.Minor})
		if err != nil {
			panic("built-in rule " + line + ": " + err.Error())
		}
		r.Line, r.Origin = 0, s
		all = append(all, r)
	}
	return all
}

func signed(h policy.Hook) string { return "appraise func=" + h.String() + " appraise_type=imasig" }

func measureRules(s policy.Set, k policy.Kernel) []string {
	var lines []string
	for _, name := range []string{"proc", "sysfs", "debugfs", "tmpfs", "devpts", "binfmt_misc", "securityfs",
		"selinuxfs", "smackfs", "cgroup", "cgroup2", "nsfs", "efivarfs"} {
		line := "dont_measure "
		if name == "tmpfs" && k.AtLeast(7, 2) {
			line += "func=FILE_CHECK "
		}
		magic, _ := policy.MagicOf(name)
		lines = append(lines, fmt.Sprintf("%sfsmagic=0x%x", line, magic))
	}
	lines = append(lines,
		"measure func=MMAP_CHECK mask=MAY_EXEC",
		"measure func=BPRM_CHECK mask=MAY_EXEC")
	if s == policy.SetOldTCB {
		return append(lines,
			"measure func=FILE_CHECK mask=MAY_READ uid=0",
			"measure func=MODULE_CHECK",
			"measure func=FIRMWARE_CHECK")
	}
	return append(lines,
		"measure func=FILE_CHECK mask=^MAY_READ euid=0",
		"measure func=FILE_CHECK mask=^MAY_READ uid=0",
		"measure func=MODULE_CHECK",
		"measure func=FIRMWARE_CHECK",
		"measure func=POLICY_CHECK")
}

func appraiseRules(k policy.Kernel) []string {
	var lines []string
	for _, fs := range policy.Excluded() {
		lines = append(lines, fmt.Sprintf("dont_appraise fsmagic=0x%x", fs.Magic))
	}
	if k.Config.WritePolicy == policy.True {
		lines = append(lines, signed(policy.PolicyCheck))
	}
	owner := "appraise fowner=0"
	if k.Config.SignedInit == policy.True {
		owner += " appraise_type=imasig"
	}
	return append(lines, owner)
}

// buildRules: CONFIG_IMA_APPRAISE_BUILD_POLICY only hides the other options.
func buildRules(k policy.Kernel) []string {
	var lines []string
	for _, o := range []struct {
		on   policy.Truth
		hook policy.Hook
	}{
		{k.Config.RequireModule, policy.ModuleCheck},
		{k.Config.RequireFirmware, policy.FirmwareCheck},
		{k.Config.RequireKexec, policy.KexecKernelCheck},
		{k.Config.RequirePolicy, policy.PolicyCheck},
	} {
		if o.on == policy.True && k.Config.BuildPolicy != policy.False {
			lines = append(lines, signed(o.hook))
		}
	}
	return lines
}

// archRules is sb_arch_rules[] of security/integrity/ima/ima_efi.c; powerpc
// and s390 have others, which are not here.
func archRules(k policy.Kernel) []string {
	c := k.Config
	if c.ArchPolicy != policy.True || k.SecureBoot != policy.True {
		return nil
	}
	var lines []string
	if c.KexecSig != policy.True {
		lines = append(lines, signed(policy.KexecKernelCheck))
	}
	lines = append(lines, "measure func=KEXEC_KERNEL_CHECK")
	if c.ModuleSig != policy.True {
		lines = append(lines, signed(policy.ModuleCheck))
	}
	if c.MachineKeyring == policy.True && c.PermitSecondary == policy.True {
		lines = append(lines, signed(policy.PolicyCheck))
	}
	return append(lines, "measure func=MODULE_CHECK")
}
