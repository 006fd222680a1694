package target

import (
	"fmt"

	"imaseal/hash"
	"imaseal/internal/policy"
)

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

// Digest says how the target has an algorithm. It is unknown where the
// configuration is not known or says nothing of digests.
func (t *Target) Digest(a hash.Algorithm) policy.Presence {
	if t.built == nil && isKnown(t.Kernel, a) {
		return policy.UnknownPresence
	}
	return t.Presence(a)
}
