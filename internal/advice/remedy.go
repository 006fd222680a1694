package advice

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"imaseal/internal/appraise"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// An Option is one of imaseal check that a command needs as well that mends what
// check found, without the dashes.
type Option struct{ Name, Value string }

// A Remedy finds the commands that mend what check found, as its options and the
// kernel that it judged for go. It is not changed.
type Remedy struct {
	Options  []Option
	HasKey   bool     // they name one to sign with, and its certificate
	EVM      []Option // for commands that make EVM labels
	NoUUID   bool     // for those that make HMACs
	TargetFS string   // "" if the files stay where they are
	// Hides is the option without which the kernel was built, and shows no labels of
	// TargetFS; "" for none.
	Hides   string
	Archive string // the PATH of the archive that the files are in, "" for none
	Policy  policy.Policy
	HasHMAC bool // the kernel has an HMAC key
	// Magic returns the superblock magic of the file system that a path is on.
	Magic func(path string) (uint32, error)
}

// Lines returns what to do about files with a verdict, a line each. Those that begin
// with "imaseal " are commands, whole.
func (r Remedy) Lines(g report.Group) []string {
	if g.Outcome == report.Undecided {
		return r.learn(g)
	}
	if lines := r.silent(g); lines != nil {
		return lines
	}
	// Of several causes the first is as good as any: what mends it may bring the
	// next one to light.
	cause := appraise.Cause(slices.Concat(g.Causes, []string{""})[0])
	switch cause {
	case appraise.MissingHash:
		return r.relabel(g, "they have no label:")
	case appraise.InvalidHash:
		if g.Reasons.Has(appraise.UnknownAlgorithm) {
			return r.relabel(g, "this kernel does not know the digest of their labels:", "--force")
		}
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
		if g.Reasons.Has(appraise.UnknownV1Key) {
			return r.relabel(g, "evmctl import --rsa gives the kernel a public key for version 1, which --key PUBLICKEY names here, and no certificate counts; or sign them anew:",
				"--key KEY", "--cert CERT", "--replace-signatures")
		}
		return r.relabel(g, "if the kernel will have another key, name it with --key CERT; else sign them again, and hash those that need no signature:",
			"--key KEY", "--cert CERT", "--replace-signatures")
	}
	return r.special(g, cause)
}

// silent is about denials that the kernel gives no cause of.
func (r Remedy) silent(g report.Group) []string {
	switch {
	case g.Reasons.Has(appraise.NoXattrs) && r.Hides != "":
		return []string{"boot a kernel that was built with " + r.Hides}
	case g.Reasons.Has(appraise.NoXattrs):
		lines := []string{"nothing can be labelled there; mount it with uid= of another user, or put in front of a policy of your own:"}
		return append(lines, r.exclusions(g)...)
	case g.Reasons.Has(appraise.CrashesKernel):
		return r.relabel(g, "before a kernel with the key sees them:", "--replace-signatures")
	case g.Reasons.Has(appraise.NotWritable):
		where := "PATH"
		if r.Archive != "" {
			where = strings.Join(r.archive(), " ")
		}
		return []string{"where they must be writable: imaseal hash --replace-signatures " + where + ", and a policy that demands no signature of them"}
	}
	return nil
}

// special is about causes that a label of the content does not mend.
func (r Remedy) special(g report.Group, cause appraise.Cause) []string {
	switch cause {
	case appraise.MissingHMAC:
		return r.relabelEVM(g, "EVM is active, and they have no EVM label", "from a kernel where it is not")
	case appraise.InvalidHMAC:
		return r.relabelEVM(g, "their EVM label does not fit (metadata, inode or content's label changed, or the kernel lacks the key)", "from a kernel where EVM is not active")
	case appraise.InvalidImmutable:
		return r.relabelEVM(g, "the portable EVM signature does not fit (metadata or content's label changed), or the kernel lacks its key (--key CERT names more)", "", "--replace-signatures")
	case appraise.NoVerityDigest:
		return r.relabelVerity(g, "the policy compares fs-verity digests, and they have none: fsverity enable FILE, for each, and then")
	case appraise.InvalidVeritySignature:
		if !r.demandsVerity() {
			return r.relabel(g, "their label is of the type for fs-verity, which the policy does not compare; hash them:", "--replace-signatures")
		}
		fallthrough
	case appraise.VeritySignatureRequired:
		return r.relabelVerity(g, "the policy demands a signature over the fs-verity digest:")
	case appraise.Unverifiable:
		return []string{"the kernel cannot see changes on this file system: exclude it in the policy, or boot without fail_securely"}
	case appraise.UnknownCause:
		return []string{"the kernel cannot read or verify the label: see imaseal show FILE, and the kernel's CONFIG_INTEGRITY_ASYMMETRIC_KEYS"}
	}
	return nil
}

// relabelVerity is the command that signs the group's fs-verity digests, which
// files in an archive have not.
func (r Remedy) relabelVerity(g report.Group, why string) []string {
	if !r.hasInodes() {
		return []string{"the policy compares fs-verity digests, which files get where they are unpacked: label them there"}
	}
	return r.relabel(g, why, "--key KEY", "--cert CERT")
}

// relabelEVM is the command that gives the group's files EVM labels that the
// kernel takes, from one that lets them be written, if not every kernel does. One
// without an HMAC key takes signatures only, which relabel makes for files of class
// sign; in an archive there can be no others.
func (r Remedy) relabelEVM(g report.Group, why, from string, options ...string) []string {
	r.Options = slices.Concat(r.Options, r.EVM)
	if from != "" && r.Archive == "" {
		why += "; " + from
	}
	if !r.HasHMAC || !r.hasInodes() {
		signed := "RULES is a file with the line sign @any; what is signed cannot be written to any more:"
		return append([]string{why + ";"}, r.relabel(g, signed, "--key KEY", "--cert CERT", "--evm portable", "--rules RULES")...)
	}
	kinds := []string{"--evm hmac", "--evm-key EVMKEY"}
	if options != nil {
		kinds = []string{"--key KEY", "--cert CERT", "--evm portable,hmac", "--evm-key EVMKEY"}
	}
	if r.NoUUID {
		kinds = append(kinds, "--evm-no-uuid")
	}
	return r.relabel(g, why+":", append(kinds, options...)...)
}

// demandsVerity reports whether a rule of the policy compares fs-verity
// digests.
func (r Remedy) demandsVerity() bool {
	return slices.ContainsFunc(r.Policy.Rules, func(rule policy.Rule) bool { return rule.Verity })
}

// exclusions are the rules that exclude the file systems of a group's files.
func (r Remedy) exclusions(g report.Group) []string {
	if r.TargetFS != "" {
		return []string{"dont_appraise fsname=" + r.TargetFS}
	}
	var rules []string
	for _, place := range g.Places {
		magic, err := r.Magic(place)
		if err != nil {
			continue
		}
		if rule := fmt.Sprintf("dont_appraise fsmagic=0x%x", magic); !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	if rules == nil {
		return []string{"dont_appraise fsmagic=, with the number that imaseal policy explain FILE shows"}
	}
	return rules
}

// learn says how what is undecided can be decided.
func (r Remedy) learn(g report.Group) []string {
	switch {
	case !r.hasInodes() && r.TargetFS == "" && g.Reasons.Has(appraise.Conditional):
		return []string{"--target-fs TYPE names the file system that the files will be on, which the policy asks for"}
	case g.Reasons.Has(appraise.NoKeys, appraise.NoEVMKeys, appraise.Unchecked, appraise.UncheckedEVM):
		return []string{"--key CERT names the certificates that the kernel will have"}
	case g.Reasons.Has(appraise.NoHMACKey):
		return []string{"--evm-key FILE is the plain HMAC key"}
	case g.Reasons.Has(appraise.NoHMACAttrs, appraise.NoSignatureAttrs, appraise.NoDefaultHash, appraise.UnknownDigest):
		return []string{"--kernel-config FILE is the configuration of the kernel"}
	case g.Reasons.Has(reason.ModularDigest, appraise.UnloadedDigest):
		return []string{"have the initramfs load the module, which --initramfs-loads ALGORITHM says here, or label with another digest; --kernel-config FILE tells which are built in"}
	case g.Reasons.Has(appraise.NotBound):
		return []string{"--kernel-config FILE says whether the UUID counts; --evm-uuid and --target-fs are for files that will be copied"}
	}
	return []string{"imaseal policy explain FILE says which conditions are not known"}
}

// relabel is the command that labels the group's files with more options.
func (r Remedy) relabel(g report.Group, why string, options ...string) []string {
	words := []string{"imaseal", "relabel"}
	for _, o := range r.Options {
		words = append(words, "--"+o.Name+" "+shellWord(o.Value))
	}
	for _, o := range options {
		if !r.HasKey || o != "--key KEY" && o != "--cert CERT" {
			words = append(words, o)
		}
	}
	if r.Archive != "" {
		words = append(words, r.includes(g)...)
		words = append(words, r.archive()...)
		return []string{why, strings.Join(words, " ")}
	}
	for _, place := range g.Places {
		words = append(words, shellWord(place))
	}
	return []string{why, strings.Join(words, " ")}
}

// archive are the words by which a command takes the archive and writes another.
// The image of a file system is changed where it is.
func (r Remedy) archive() []string {
	if r.hasInodes() {
		return []string{shellWord(r.Archive)}
	}
	output := "NEWFILE"
	if c, _ := plan.CarrierOf(r.Archive); c.Kind.IsImage() {
		output = string(c.Kind) + ":NEWIMAGE"
	}
	return []string{shellWord(r.Archive), "--output", output}
}

// hasInodes reports whether the files have the inodes that they will have on the
// target, which those in an archive get where they are unpacked.
func (r Remedy) hasInodes() bool {
	c, ok := plan.CarrierOf(r.Archive)
	return !ok || c.Kind.HasInodes()
}

// includes are the options that select the places of a group in the archive; none
// where one of them is all of it, which has no name in there, or where it is in one of
// several images.
func (r Remedy) includes(g report.Group) []string {
	c, _ := plan.CarrierOf(r.Archive)
	var words []string
	for _, place := range g.Places {
		rel, ok := strings.CutPrefix(path.Clean(place), path.Clean(c.Name)+":")
		if !ok {
			return nil
		}
		words = append(words, "--include "+shellWord("/"+globless(rel)))
	}
	return words
}

// globless returns the pattern that matches this path and no other.
func globless(rel string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`, `}`, `\}`).Replace(rel)
}

// shellWord quotes what a shell would not take as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:=@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return shellBytes(s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellBytes quotes what a terminal, or JSON, would not show as it is, in the form
// that bash, zsh and POSIX shells since 2024 take.
func shellBytes(s string) string {
	var b strings.Builder
	b.WriteString("$'")
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' || r == '\'':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\%03o`, c) // of \x the end is not told from digits behind it
			}
		default:
			b.WriteString(s[i : i+size])
		}
	}
	return b.String() + "'"
}
