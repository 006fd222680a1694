package policy

import (
	"fmt"
	"strconv"
	"strings"

	"imaseal/hash"
)

// A Truth is true, false or unknown. The zero value is Unknown.
type Truth uint8

// The three truth values.
const (
	Unknown Truth = iota
	False
	True
)

// Of returns True or False.
func Of(b bool) Truth {
	if b {
		return True
	}
	return False
}

// String returns "true", "false" or "unknown".
func (t Truth) String() string {
	switch t {
	case True:
		return "true"
	case False:
		return "false"
	}
	return "unknown"
}

// And is False if one of the two is, True if both are.
func (t Truth) And(u Truth) Truth {
	switch {
	case t == False || u == False:
		return False
	case t == True && u == True:
		return True
	}
	return Unknown
}

// Or is True if one of the two is, False if both are.
func (t Truth) Or(u Truth) Truth {
	switch {
	case t == True || u == True:
		return True
	case t == False && u == False:
		return False
	}
	return Unknown
}

// A Kernel is what a policy depends on of the kernel that loads it. What is
// unknown is taken to be there when a policy is parsed, and to be absent when
// built-in rules are put together.
//
// The facts of this package are those of 6.1, 6.12 and 7.2. A version between
// two of them is taken for the lower one, a later one for 7.2, an earlier one
// for 6.1.
type Kernel struct {
	Major, Minor int
	Config       Config
	SecureBoot   Truth // UEFI secure boot is on (arch_get_secureboot)

	// DefaultHash is the algorithm of the labels that the kernel writes
	// (ima_hash=, CONFIG_IMA_DEFAULT_HASH); zero is unknown.
	DefaultHash hash.Algorithm
	// Digests says how the kernel was built to have an algorithm. Nil is unknown:
	// ask Presence.
	Digests func(hash.Algorithm) Presence
	// TemplateFormat is the value of ima_template_fmt=, which policies may
	// name too.
	TemplateFormat string
}

// ParseKernel parses a version such as "6.12" or what uname -r prints.
func ParseKernel(version string) (Kernel, error) {
	major, rest, ok := strings.Cut(version, ".")
	minor := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		minor = rest[:i]
	}
	a, err1 := strconv.ParseUint(major, 10, 16)
	b, err2 := strconv.ParseUint(minor, 10, 16)
	if !ok || err1 != nil || err2 != nil {
		return Kernel{}, fmt.Errorf("kernel version %q is not of the form 6.12", version)
	}
	return Kernel{Major: int(a), Minor: int(b)}, nil
}

// String returns the version.
func (k Kernel) String() string { return fmt.Sprintf("%d.%d", k.Major, k.Minor) }

// AtLeast reports whether the version is major.minor or later.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}

// IsSigV3 reports whether the kernel knows version 3 signatures of regular
// files, which came with 7.2 as the other differences did.
func (k Kernel) IsSigV3() bool { return k.AtLeast(7, 2) }

// HasSHA3 reports whether the kernel's table of algorithms has those of SHA-3,
// which were added to it in 6.7 (include/uapi/linux/hash_info.h).
func (k Kernel) HasSHA3() bool { return k.AtLeast(6, 7) }

// A Config holds the options of the kernel's build that policies depend on.
type Config struct {
	LSMRules          Truth // conditions on the labels of security modules
	ModSig            Truth // signatures appended to modules and kernels
	MeasureKeys       Truth // func=KEY_CHECK
	AsymmetricKeys    Truth // signatures can be verified at all, but for those of version 1
	Signature         Truth // those of version 1 can
	WritePolicy       Truth // policies can be extended; appraise_tcb guards them
	SignedInit        Truth // appraise_tcb demands signatures
	RequireModule     Truth // build-time rules
	RequireFirmware   Truth
	RequireKexec      Truth
	RequirePolicy     Truth
	ArchPolicy        Truth // rules under secure boot
	KexecSig          Truth
	ModuleSig         Truth
	MachineKeyring    Truth
	PermitSecondary   Truth // .ima takes what builtin or secondary keys signed
	PlatformKeyring   Truth // kexec images may be signed by keys in .platform
	BuildPolicy       Truth // without it the Require options do not count
	TrustedKeyring    Truth // .ima and .evm instead of _ima and _evm
	AppraiseBootParam Truth // ima_appraise= counts
}

// options pairs each option with its field.
var options = []struct {
	name  string
	field func(*Config) *Truth
}{
	{"CONFIG_IMA_LSM_RULES", func(c *Config) *Truth { return &c.LSMRules }},
	{"CONFIG_IMA_APPRAISE_MODSIG", func(c *Config) *Truth { return &c.ModSig }},
	{"CONFIG_IMA_MEASURE_ASYMMETRIC_KEYS", func(c *Config) *Truth { return &c.MeasureKeys }},
	{"CONFIG_INTEGRITY_ASYMMETRIC_KEYS", func(c *Config) *Truth { return &c.AsymmetricKeys }},
	{"CONFIG_SIGNATURE", func(c *Config) *Truth { return &c.Signature }},
	{"CONFIG_IMA_WRITE_POLICY", func(c *Config) *Truth { return &c.WritePolicy }},
	{"CONFIG_IMA_APPRAISE_SIGNED_INIT", func(c *Config) *Truth { return &c.SignedInit }},
	{"CONFIG_IMA_APPRAISE_REQUIRE_MODULE_SIGS", func(c *Config) *Truth { return &c.RequireModule }},
	{"CONFIG_IMA_APPRAISE_REQUIRE_FIRMWARE_SIGS", func(c *Config) *Truth { return &c.RequireFirmware }},
	{"CONFIG_IMA_APPRAISE_REQUIRE_KEXEC_SIGS", func(c *Config) *Truth { return &c.RequireKexec }},
	{"CONFIG_IMA_APPRAISE_REQUIRE_POLICY_SIGS", func(c *Config) *Truth { return &c.RequirePolicy }},
	{"CONFIG_IMA_ARCH_POLICY", func(c *Config) *Truth { return &c.ArchPolicy }},
	{"CONFIG_KEXEC_SIG", func(c *Config) *Truth { return &c.KexecSig }},
	{"CONFIG_MODULE_SIG", func(c *Config) *Truth { return &c.ModuleSig }},
	{"CONFIG_INTEGRITY_MACHINE_KEYRING", func(c *Config) *Truth { return &c.MachineKeyring }},
	{"CONFIG_IMA_KEYRINGS_PERMIT_SIGNED_BY_BUILTIN_OR_SECONDARY", func(c *Config) *Truth { return &c.PermitSecondary }},
	{"CONFIG_INTEGRITY_PLATFORM_KEYRING", func(c *Config) *Truth { return &c.PlatformKeyring }},
	{"CONFIG_IMA_APPRAISE_BUILD_POLICY", func(c *Config) *Truth { return &c.BuildPolicy }},
	{"CONFIG_INTEGRITY_TRUSTED_KEYRING", func(c *Config) *Truth { return &c.TrustedKeyring }},
	{"CONFIG_IMA_APPRAISE_BOOTPARAM", func(c *Config) *Truth { return &c.AppraiseBootParam }},
}

// NewConfig fills a Config from what is known of the options, asked by their
// full names, such as CONFIG_IMA_WRITE_POLICY.
func NewConfig(option func(name string) Truth) Config {
	var c Config
	for _, o := range options {
		*o.field(&c) = option(o.name)
	}
	return c
}
