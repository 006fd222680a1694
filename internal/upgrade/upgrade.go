// Package upgrade says what another kernel would change for a host that enforces: its
// rules, and which of the labels and keys that the running kernel takes it would not
// take. It goes by configurations alone, and looks at no files.
package upgrade

import (
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

// A Build is a kernel and how it was built.
type Build struct {
	Release string // as uname -r prints it
	File    string // that has the configuration
	Kernel  policy.Kernel
	Config  host.Config
}

// NewBuild returns the kernel of a release and a configuration, on a machine with or
// without secure boot. The error says that the release is none.
func NewBuild(release, file string, c host.Config, secureBoot policy.Truth) (Build, error) {
	k, err := policy.ParseKernel(release)
	if err != nil {
		return Build{}, err
	}
	k = c.Build(k)
	k.SecureBoot = secureBoot
	return Build{release, file, k, c}, nil
}

// options are those that name the kernel to imaseal.
func (b Build) options() string {
	return "--kernel-version " + b.Release + " --kernel-config " + b.File
}

// command is one of imaseal's for that kernel.
func (b Build) command(name, argument string) string {
	return "imaseal " + name + " " + b.options() + " " + argument
}

// A Use is what a host needs of its kernel.
type Use struct {
	// Words are those of ima_policy=, Loaded are the rules that are loaded besides,
	// nil for none.
	Words  []string
	Loaded []string
	// Mode is ima_appraise=, "" if it is not given.
	Mode string
	// Signs says that the rules demand signatures, HMAC and X509 that EVM has its
	// key, and that it verifies signatures.
	Signs, HMAC, X509 bool
	// Filesystems are the types of those whose files are appraised.
	Filesystems []string
}

// A Code says of what kind a change is. It is stable.
type Code string

// The codes.
const (
	NoAppraisal  Code = "no-appraisal"
	NoMode       Code = "no-mode"
	Rules        Code = "rules"
	Refused      Code = "policy-refused"
	Digest       Code = "digest"
	LostDigest   Code = "no-digest"
	LostKeys     Code = "no-signatures"
	Keyrings     Code = "keyrings"
	Certificates Code = "certificates"
	Reading      Code = "policy-file"
	NoEVM        Code = "no-evm"
	UUID         Code = "evm-uuid"
	Attributes   Code = "evm-attributes"
	Width        Code = "evm-inode"
	NoAudit      Code = "no-audit"
	NoLabels     Code = "no-labels"
	NoVerity     Code = "no-verity"
)

// A Change is something that is not the same with the other kernel.
type Change struct {
	Code Code
	Why  string
	Do   string // "" where there is nothing to do
}

// Compare returns what changes on a host that boots next instead of now, the worst
// first.
func Compare(now, next Build, u Use) []Change {
	c := &comparison{now: now, next: next, use: u}
	if !next.Config.Enabled("CONFIG_IMA") || !next.Config.Enabled("CONFIG_IMA_APPRAISE") {
		c.add(NoAppraisal, "do not boot it, or build it with both", "it was built without CONFIG_IMA and CONFIG_IMA_APPRAISE: it appraises nothing, and labels go stale")
		return c.changes
	}
	c.rules()
	c.digests()
	c.keys()
	c.evm()
	c.labels()
	c.rest()
	return c.changes
}

type comparison struct {
	now, next Build
	use       Use
	changes   []Change
}

func (c *comparison) add(code Code, do, why string, args ...any) {
	c.changes = append(c.changes, Change{Code: code, Why: fmt.Sprintf(why, args...), Do: do})
}

// lost reports whether an option is built into the running kernel, and not into the
// other one.
func (c *comparison) lost(option string) bool {
	return c.now.Config.Enabled(option) && !c.next.Config.Enabled(option)
}

// rules compares the rules about appraisal that the kernels would have.
func (c *comparison) rules() {
	was, err := c.policy(c.now.Kernel)
	if err != nil { // the running kernel has taken it, or nobody knows
		return
	}
	will, err := c.policy(c.next.Kernel)
	if err != nil {
		c.add(Refused, c.next.command("policy lint", "POLICY"), "it refuses the rules that are loaded (%v), and appraises nothing then", err)
		return
	}
	added, gone := missing(will, was), missing(was, will)
	if added != nil {
		do := "imaseal check " + c.next.options() + " / says what that denies"
		if slices.ContainsFunc(added, func(r string) bool { return strings.Contains(r, "appraise_type=") }) {
			do = "sign what they take; " + do
		}
		c.add(Rules, do, "it has rules besides: %s", strings.Join(added, "; "))
	}
	if gone != nil {
		c.add(Rules, c.next.command("policy show", "POLICY")+" shows what is left", "it does not have the rules: %s", strings.Join(gone, "; "))
	}
}

// policy returns the rules that a kernel has on this host.
func (c *comparison) policy(k policy.Kernel) (policy.Policy, error) {
	if c.use.Loaded == nil {
		return builtin.Policy(k, c.use.Words...)
	}
	own, err := policy.Parse(strings.Join(c.use.Loaded, "\n")+"\n", k)
	return builtin.Custom(k, own), err
}

// missing returns the rules about appraisal of one policy that another does not have.
func missing(of, in policy.Policy) []string {
	have := make(map[string]bool)
	for _, r := range in.Rules {
		have[bare(r)] = true
	}
	var names []string
	for _, r := range of.Rules {
		if r.Action.Positive() == policy.Appraise && !have[bare(r)] {
			names = append(names, bare(r))
		}
	}
	return names
}

// bare is a rule without where it stands.
func bare(r policy.Rule) string {
	r.Line, r.Origin = 0, ""
	return r.String()
}

// digests compares what labels are made of.
func (c *comparison) digests() {
	was, will := c.now.Kernel.DefaultHash, c.next.Kernel.DefaultHash
	if was != 0 && c.next.Kernel.Presence(was) != policy.BuiltIn && c.now.Kernel.Presence(was) == policy.BuiltIn {
		c.add(LostDigest, fmt.Sprintf("relabel with another digest (--algo), or have the initramfs load %s", was),
			"it does not have %s built in, of which the labels are that this kernel writes: they are denied until a module is loaded", was)
	}
	if was != 0 && will != 0 && was != will {
		c.add(Digest, fmt.Sprintf("ima_hash=%s on its command line keeps it", was), "the labels that it writes are of %s, not of %s; it takes both", will, was)
	}
}

// keys compares what signatures are verified with.
func (c *comparison) keys() {
	const trusted = "CONFIG_INTEGRITY_TRUSTED_KEYRING"
	level := "signed files are denied"
	if !c.use.Signs && !c.use.X509 {
		level = "files that are signed all the same are denied"
	}
	for _, o := range []struct{ option, what string }{
		{"CONFIG_INTEGRITY_ASYMMETRIC_KEYS", "verifies no signatures"}, {"CONFIG_CRYPTO_RSA", "has no RSA built in"}, {"CONFIG_CRYPTO_ECDSA", "has no ECDSA built in"},
	} {
		if c.lost(o.option) {
			c.add(LostKeys, "hash instead of sign (imaseal hash --replace-signatures PATH), or sign with a key of another kind", "it %s (%s): %s", o.what, o.option, level)
		}
	}
	switch was, will := c.now.Config.Enabled(trusted), c.next.Config.Enabled(trusted); {
	case was && !will:
		c.add(Keyrings, "load them into _ima and _evm in its initramfs: imaseal keys import CERTIFICATE does", "it looks for keys in _ima and _evm, and this kernel in .ima and .evm")
	case !was && will:
		c.add(Keyrings, "see that the certificate is signed so: imaseal keys generate --out PREFIX --ca CA --ca-key KEY",
			"it looks for keys in .ima and .evm, which take only certificates that a key of the kernel has signed, and this kernel in _ima and _evm")
	case will && c.lost("CONFIG_IMA_KEYRINGS_PERMIT_SIGNED_BY_BUILTIN_OR_SECONDARY"):
		c.add(Certificates, "have the certificate signed by a key that is built in", "its .ima takes no certificate that a key in the secondary keyring has signed")
	}
	for _, o := range []struct{ on, path string }{{"CONFIG_IMA_LOAD_X509", "CONFIG_IMA_X509_PATH"}, {"CONFIG_EVM_LOAD_X509", "CONFIG_EVM_X509_PATH"}} {
		switch {
		case c.lost(o.on):
			c.add(Certificates, "imaseal keys import CERTIFICATE in its initramfs", "it does not load %s by itself", c.now.Config[o.path])
		case c.now.Config.Enabled(o.on) && c.now.Config[o.path] != c.next.Config[o.path]:
			c.add(Certificates, "put the certificate there, and make its initramfs anew", "it loads %s by itself, and this kernel %s", c.next.Config[o.path], c.now.Config[o.path])
		}
	}
}

// evm compares what EVM takes, and what its labels cover.
func (c *comparison) evm() {
	if c.lost("CONFIG_EVM") {
		c.add(NoEVM, "", "it has no EVM: labels can be replaced offline, and owner and mode are not protected")
	}
	if !c.next.Config.Enabled("CONFIG_EVM") || !c.now.Config.Enabled("CONFIG_EVM") {
		return
	}
	wrong := "HMACs and inode-bound signatures made for this kernel are wrong to it; portable signatures are not concerned"
	do := ""
	if c.use.HMAC || c.use.X509 {
		do = "for what is not signed portably: imaseal relabel " + c.next.options() + " --evm hmac --evm-key EVMKEY /, where EVM is not active, before it boots"
	}
	const uuid = "CONFIG_EVM_ATTR_FSUUID"
	switch was, will := c.now.Config.Enabled(uuid), c.next.Config.Enabled(uuid); {
	case was && !will:
		c.add(UUID, do, "its EVM does not cover the UUID of the file system (%s): %s", uuid, wrong)
	case !was && will:
		c.add(UUID, do, "its EVM covers the UUID of the file system (%s): %s", uuid, wrong)
	}
	var names []string
	for _, a := range imaevm.Protected() {
		if a.Option != "" && c.now.Config.Enabled(a.Option) != c.next.Config.Enabled(a.Option) {
			names = append(names, a.Name)
		}
	}
	if names != nil {
		c.add(Attributes, do, "its EVM and this kernel's do not cover the same attributes (%s): of files that have these, %s", strings.Join(names, ", "), wrong)
	}
	if c.now.Config.Enabled("CONFIG_64BIT") != c.next.Config.Enabled("CONFIG_64BIT") {
		c.add(Width, do, "inode numbers have another width there: %s", wrong)
	}
}

// labels compares which file systems show their labels.
func (c *comparison) labels() {
	var done []string
	for _, name := range c.use.Filesystems {
		fs, ok := policy.ByName(name)
		if !ok || fs.Option == "" || slices.Contains(done, fs.Option) {
			continue
		}
		done = append(done, fs.Option)
		if c.lost(fs.Option) {
			c.add(NoLabels, "do not boot it", "it was built without %s and denies every file of root on %s", fs.Option, name)
		}
	}
	if c.lost("CONFIG_FS_VERITY") && slices.ContainsFunc(c.use.Loaded, func(r string) bool { return strings.Contains(r, "digest_type=verity") }) {
		c.add(NoVerity, "do not boot it, or take rules without digest_type=verity", "it was built without CONFIG_FS_VERITY, and rules compare fs-verity digests")
	}
}

// rest compares how one works with the kernel.
func (c *comparison) rest() {
	if c.lost("CONFIG_IMA_APPRAISE_BOOTPARAM") {
		why := "it ignores ima_appraise=, and enforces at once"
		if c.use.Mode == "" || strings.HasPrefix(c.use.Mode, "enforce") {
			why += ": there is no log mode to go back to"
		}
		c.add(NoMode, "check with its version and configuration before, and keep this kernel as the way back", "%s", why)
	}
	if c.lost("CONFIG_AUDIT") || c.lost("CONFIG_INTEGRITY_AUDIT") {
		c.add(NoAudit, "", "its denials are silent: it was built without CONFIG_AUDIT or CONFIG_INTEGRITY_AUDIT")
	}
	if c.lost("CONFIG_IMA_READ_POLICY") {
		c.add(Reading, "", "it does not show which rules are loaded (CONFIG_IMA_READ_POLICY)")
	}
	if c.lost("CONFIG_IMA_WRITE_POLICY") && c.use.Loaded != nil {
		c.add(Reading, "load all rules at once", "it takes rules only once (CONFIG_IMA_WRITE_POLICY)")
	}
}
