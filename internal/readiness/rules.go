package readiness

import (
	"slices"
	"strings"

	"imaseal/internal/finding"
	"imaseal/internal/policy"
)

// rules looks at what the policy's rules want of the kernel's build, and at
// the rules that come with it.
func (t *table) rules() {
	var own []string
	verity, policies := false, false
	for _, r := range t.Policy.Rules {
		if r.Action != policy.Appraise {
			continue
		}
		verity = verity || r.Verity
		policies = policies || r.Func == policy.PolicyCheck
		if r.Origin == policy.SetArch || r.Origin == policy.SetBuild {
			own = append(own, r.Func.String())
		}
	}
	if own != nil {
		t.Add(finding.Warn, "kernel's rules", "sign these files; imaseal policy explain FILE shows the rules",
			"its build and secure boot demand signatures whatever policy is loaded: %s", strings.Join(own, ", "))
	}
	if policies {
		t.Add(finding.Warn, "later policies", "sign policy files and load them by their path, as systemd does with /etc/ima/ima-policy",
			"a rule appraises policies: the kernel then takes no text, only a file with a signature")
	}
	if t.Config == nil {
		return
	}
	if verity && !t.Config.Enabled("CONFIG_FS_VERITY") {
		t.Add(finding.Fail, "fs-verity", "boot a kernel that has it, or take rules without digest_type=verity", "rules compare fs-verity digests, and the kernel was built without CONFIG_FS_VERITY")
	}
	if t.signs() && t.Config.Enabled("CONFIG_INTEGRITY_TRUSTED_KEYRING") {
		by := "a key built into the kernel"
		if t.Config.Enabled("CONFIG_IMA_KEYRINGS_PERMIT_SIGNED_BY_BUILTIN_OR_SECONDARY") {
			by += ", or in its secondary keyring,"
		}
		t.Add(finding.Warn, "certificates", "see that the signing certificate is signed so, as imaseal keys generate --out PREFIX --ca CA --ca-key KEY makes one", "the keyrings .ima and .evm take only those that %s has signed", by)
	}
}

// initramfs says what has to be loaded before the root file system is used.
func (t *table) initramfs() {
	if !t.signs() {
		return
	}
	if t.Config == nil || !t.Config.Enabled("CONFIG_IMA_LOAD_X509") {
		t.Add(finding.Warn, "initramfs", "imaseal keys import CERTIFICATE in a script of the initramfs; make it anew after changing it (update-initramfs -u, dracut -f)",
			"the policy demands signatures: their keys must be loaded there, before the root file system is used")
		return
	}
	t.atBoot(t.Config["CONFIG_IMA_X509_PATH"])
	if t.Config.Enabled("CONFIG_EVM_LOAD_X509") {
		t.atBoot(t.Config["CONFIG_EVM_X509_PATH"])
	}
}

// atBoot looks at a certificate that the kernel loads from the initramfs by itself,
// which comes there from the same place here.
func (t *table) atBoot(quoted string) {
	path := strings.Trim(quoted, `"`)
	if t.Unloadable != nil {
		if why := t.Unloadable(path); why != "" {
			t.Add(finding.Fail, "initramfs", "imaseal keys cert --key KEY --out PREFIX makes one that it loads", "the kernel loads the certificate %s from it, and this one it would not: %s", quoted, why)
			return
		}
	}
	t.Add(finding.Pass, "initramfs", "make it anew after changing it", "the kernel loads the certificate %s from it", quoted)
}

// appraises reports whether built-in policies of these names appraise files.
func appraises(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return w == string(policy.SetAppraiseTCB) || w == string(policy.SetSecureBoot) || w == "ima_appraise_tcb"
	})
}

// modeIgnored reports whether the kernel ignores ima_appraise=, and enforces.
func (t *table) modeIgnored() bool {
	return t.Kernel.SecureBoot == policy.True || t.Config != nil && t.Config.Enabled("CONFIG_IMA") && !t.Config.Enabled("CONFIG_IMA_APPRAISE_BOOTPARAM")
}

// commandLine looks at what the next boot will be like, if it is like this
// one.
func (t *table) commandLine() {
	words := t.Host.PolicyWords()
	switch {
	case appraises(words):
		t.Add(finding.Pass, "ima_policy=", "", "is %s", strings.Join(words, " "))
	case t.ownPolicy():
	case words != nil:
		t.Add(finding.Warn, "ima_policy=", "add appraise_tcb to it, or load rules from the initramfs", "is %s, which appraises nothing", strings.Join(words, " "))
	default:
		t.Add(finding.Warn, "ima_policy=", "ima_policy=appraise_tcb on the kernel's command line, or rules in /etc/ima/ima-policy", "is not given: without it nothing is appraised")
	}
	t.mode(appraises(words))
	if name, ok := t.Host.Option("ima_hash"); ok && t.Running && t.Kernel.DefaultHash.String() != name {
		t.Add(finding.Warn, "ima_hash=", "name one of the kernel's table, such as sha256", "is %s, which the kernel does not know: its labels are of another algorithm", name)
	}
	if mode, ok := t.Host.Option("evm"); ok && strings.HasPrefix(mode, "fix") {
		t.Add(finding.Warn, "evm=", "leave it out when the labels are there", "is fix: EVM labels are written instead of asked for")
	}
	if audit, _ := t.Host.Option("audit"); audit != "1" && audit != "on" {
		t.Add(finding.Warn, "audit=", "audit=1 audit_backlog_limit=8192 while the log is watched", "is not 1: records of denials may get lost")
	}
}

// mode looks at ima_appraise=. The kernel looks at the beginning of the word
// only (ima_appraise_parse_cmdline(), ima_appraise.c).
func (t *table) mode(appraises bool) {
	const topic = "ima_appraise="
	mode, ok := t.Host.Option("ima_appraise")
	is := func(word string) bool { return strings.HasPrefix(mode, word) }
	switch {
	case !ok && appraises:
		t.Add(finding.Pass, topic, "", "is not given, which means enforce")
	case !ok:
		t.Add(finding.Warn, topic, "ima_appraise=log first, until the audit log is silent", "is not given, which means enforce as soon as there is a policy")
	case is("enforce"):
		t.Add(finding.Pass, topic, "", "is enforce")
	case t.modeIgnored():
		t.Add(finding.Warn, topic, "check everything before; there is no mode in which nothing is denied", "is %s, and the kernel ignores it and enforces", mode)
	case is("log"):
		t.Add(finding.Pass, topic, "", "is log: denials are in the audit log; enforce when there are none")
	case is("fix"), is("off"):
		t.Add(finding.Warn, topic, "ima_appraise=log, then enforce", "is %s, which enforces nothing", mode)
	default:
		t.Add(finding.Warn, topic, "off, log, fix or enforce", "is %s, which the kernel does not know: it enforces", mode)
	}
}
