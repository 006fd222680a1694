package target

import (
	"fmt"

	"imaseal/hash"
	"imaseal/internal/policy"
)

// A Presence says how a kernel has a digest algorithm.
type Presence uint8

// The ways to have one. The zero value is Unknown.
const (
	Unknown Presence = iota
	// BuiltIn: from the first file on.
	BuiltIn
	// Module: once a module is loaded. The kernel has modprobe do that when it
	// first meets the digest, which cannot work where modprobe itself, its
	// libraries or the module have such labels: the files that are used until
	// then are denied.
	Module
	// Absent: files with such labels are denied.
	Absent
)

// String names the presence.
func (p Presence) String() string {
	return [...]string{"unknown", "built in", "a module", "absent"}[p]
}

// CheckDigest returns an *OptionError if the kernel that the options name by its
// version knows no label with the algorithm. It opens nothing.
func (o Options) CheckDigest(a hash.Algorithm) error {
	k, err := policy.ParseKernel(o.Version)
	if err != nil || isKnown(k, a) {
		return nil
	}
	return &OptionError{fmt.Sprintf("--algo %s: kernel %s does not know it", a, k), "labels with digests of SHA-3 are for Linux 6.7 and later"}
}

// isKnown reports whether the kernel's table of algorithms has one.
func isKnown(k policy.Kernel, a hash.Algorithm) bool { return a < hash.SHA3_256 || k.HasSHA3() }

// Digest says how the target has an algorithm. It is Unknown where the
// configuration is not known or says nothing of digests.
func (t *Target) Digest(a hash.Algorithm) Presence {
	if !isKnown(t.Kernel, a) {
		return Absent
	}
	if t.built == nil {
		return Unknown
	}
	switch t.built.Digest(a) {
	case "y":
		return BuiltIn
	case "m":
		return Module
	}
	// IMA selects this one (security/integrity/ima/Kconfig): a configuration
	// without it is a part of one.
	if !t.built.Enabled("CONFIG_CRYPTO_HASH_INFO") {
		return Unknown
	}
	return Absent
}
