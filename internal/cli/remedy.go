package cli

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/appraise"
	"imaseal/internal/policy"
	"imaseal/internal/report"
)

// A mendOption is an option of check that a command needs as well that mends
// what check found.
type mendOption struct{ name, value string }

// mendOptions are those that were given.
func (o *checkOptions) mendOptions() []mendOption {
	all := []mendOption{
		{"policy", o.policy.policy}, {"target-fs", o.policy.targetFS}, {"kernel-version", o.kernel.version}, {"kernel-config", o.kernel.config},
		{"secure-boot", o.kernel.secureBoot}, {"evm-uuid", o.view.uuid}, {"namespace", o.namespace.name},
	}
	return slices.DeleteFunc(all, func(m mendOption) bool { return m.value == "" || m == mendOption{"namespace", "security"} })
}

// A remedy finds the commands that mend what check found, as its options and
// the kernel that it judged for go.
type remedy struct {
	options  []mendOption
	targetFS string // "" if the files stay where they are
	policy   policy.Policy
	hasHMAC  bool // the kernel has an HMAC key
}

// fix returns what to do about files with a verdict, a line each.
func (r remedy) fix(g report.Group) []string {
	if g.Outcome == report.Undecided {
		return r.learn(g)
	}
	switch appraise.Cause(g.Cause) {
	case appraise.MissingHash:
		return r.relabel(g, "they have no label:")
	case appraise.InvalidHash:
		return r.relabel(g, "their content is not what it was when they were labelled; if it is right now:")
	case appraise.UnknownData:
		return r.relabel(g, "their label is of a type that the kernel does not know there:", "--force")
	case appraise.DeniedAlgorithm:
		return r.relabel(g, "the policy does not allow the digest of their labels:", "--force")
	case appraise.Failed:
		return r.relabel(g, "the kernel does not have the digest of their labels:", "--force")
	case appraise.SignatureRequired:
		return r.relabel(g, "the policy demands a signature:", "--key KEY", "--cert CERT")
	case appraise.SigV3Required:
		return r.relabel(g, "the policy demands a signature of version 3:", "--key KEY", "--cert CERT", "--sig-version 3")
	case appraise.InvalidSignatureVersion:
		return r.relabel(g, "this kernel takes signatures of version 2:", "--key KEY", "--cert CERT", "--sig-version 2")
	case appraise.InvalidSignature:
		return r.relabel(g, "if the kernel will have another key, name it with --key CERT; else sign them again, and hash those that need no signature:",
			"--key KEY", "--cert CERT", "--replace-signatures")
	}
	return r.special(g)
}

// special is about causes that a label of the content does not mend.
func (r remedy) special(g report.Group) []string {
	switch appraise.Cause(g.Cause) {
	case appraise.MissingHMAC:
		return r.relabelEVM(g, "EVM is active, and they have no EVM label; from a kernel where it is not")
	case appraise.InvalidHMAC:
		return r.relabelEVM(g, "their EVM label does not fit (metadata, inode or content's label changed, or the kernel lacks the key); from a kernel where EVM is not active")
	case appraise.InvalidImmutable:
		return r.relabelEVM(g, "the portable EVM signature does not fit (metadata or content's label changed), or the kernel lacks its key (--key CERT names more)", "--replace-signatures")
	case appraise.NoVerityDigest:
		return []string{"the policy compares fs-verity digests: fsverity enable FILE, for each"}
	case appraise.InvalidVeritySignature:
		if !r.demandsVerity() {
			return r.relabel(g, "their label is of the type for fs-verity, which the policy does not compare; hash them:", "--replace-signatures")
		}
		fallthrough
	case appraise.VeritySignatureRequired:
		return []string{"the policy demands a signature over the fs-verity digest: evmctl ima_sign --veritysig --key KEY FILE, for each"}
	case appraise.Unverifiable:
		return []string{"the kernel cannot see changes on this file system: exclude it in the policy, or boot without fail_securely"}
	case appraise.UnknownCause:
		return []string{"the kernel cannot read or verify the label: see imaseal show, and the kernel's CONFIG_INTEGRITY_ASYMMETRIC_KEYS"}
	}
	if strings.Contains(g.Reason, appraise.NoXattrs) {
		lines := []string{"nothing can be labelled there; mount it with uid= of another user, or put in front of a policy of your own:"}
		return append(lines, r.exclusions(g)...)
	}
	if strings.Contains(g.Reason, appraise.Signed) {
		return []string{"where they must be writable: imaseal hash --replace-signatures, and a policy that demands no signature of them"}
	}
	return nil
}

// relabelEVM is the command that gives the group's files EVM labels that the
// kernel takes. One without an HMAC key takes signatures only, which relabel
// makes for files of class sign.
func (r remedy) relabelEVM(g report.Group, why string, options ...string) []string {
	switch {
	case !r.hasHMAC:
		signed := "RULES is a file with the line sign @any; what is signed cannot be written to any more:"
		return append([]string{why + ";"}, r.relabel(g, signed, "--key KEY", "--cert CERT", "--evm portable", "--rules RULES")...)
	case options != nil:
		options = append([]string{"--key KEY", "--cert CERT", "--evm portable,hmac", "--evm-key EVMKEY"}, options...)
		return r.relabel(g, why+":", options...)
	}
	return r.relabel(g, why+":", "--evm hmac", "--evm-key EVMKEY")
}

// demandsVerity reports whether a rule of the policy compares fs-verity
// digests.
func (r remedy) demandsVerity() bool {
	return slices.ContainsFunc(r.policy.Rules, func(rule policy.Rule) bool { return rule.Verity })
}

// exclusions are the rules that exclude the file systems of a group's files.
func (r remedy) exclusions(g report.Group) []string {
	if r.targetFS != "" {
		return []string{"dont_appraise fsname=" + r.targetFS}
	}
	var rules []string
	for _, place := range g.Places {
		var fs unix.Statfs_t
		if unix.Statfs(place, &fs) != nil {
			continue
		}
		if rule := fmt.Sprintf("dont_appraise fsmagic=0x%x", uint32(fs.Type)); !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	if rules == nil {
		return []string{"dont_appraise fsmagic=, with the number that imaseal policy explain shows"}
	}
	return rules
}

// learn says how what is undecided can be decided.
func (r remedy) learn(g report.Group) []string {
	isAbout := func(missing ...string) bool {
		return slices.ContainsFunc(missing, func(words string) bool { return strings.Contains(g.Reason, words) })
	}
	switch {
	case isAbout(appraise.NoKeys, appraise.NoEVMKeys, appraise.Unchecked):
		return []string{"--key CERT names the certificates that the kernel will have"}
	case isAbout(appraise.NoHMACKey):
		return []string{"--evm-key FILE is the plain HMAC key"}
	case isAbout(appraise.NoHMACAttrs, appraise.NoSignatureAttrs, appraise.NoDefaultHash):
		return []string{"--kernel-config FILE is the configuration of the kernel"}
	case isAbout(appraise.NotBound):
		return []string{"--kernel-config FILE says whether the UUID counts; --evm-uuid and --target-fs are for files that will be copied"}
	}
	return []string{"imaseal policy explain says which conditions are not known"}
}

// relabel is the command that labels the group's files with more options.
func (r remedy) relabel(g report.Group, why string, options ...string) []string {
	words := []string{"imaseal relabel"}
	for _, o := range r.options {
		words = append(words, "--"+o.name+" "+shellWord(o.value))
	}
	words = append(words, options...)
	for _, place := range g.Places {
		words = append(words, shellWord(place))
	}
	return []string{why, strings.Join(words, " ")}
}

// shellWord quotes what a shell would not take as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:=@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "$'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\x1b", `\e`).Replace(s) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
