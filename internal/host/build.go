package host

import (
	"strings"

	"imaseal/hash"
	"imaseal/internal/policy"
)

// Build returns the kernel of k's version, built with the configuration: what
// policies depend on of it, its digest algorithms, and the default one.
func (c Config) Build(k policy.Kernel) policy.Kernel {
	k.Config = policy.NewConfig(func(option string) policy.Truth { return policy.Of(c.Enabled(option)) })
	k.Digests = c.Digest
	k.DefaultHash, _ = hash.Parse(strings.Trim(c["CONFIG_IMA_DEFAULT_HASH"], `"`)) // zero if it is none
	return k
}

// hashOptions are the options that build a digest into the kernel or make it a
// module; one is enough. Of those that are not here kernels have none. Options of
// architectures are here if they do not select the general one. Kernel:
// crypto/Kconfig, and arch/arm/crypto/Kconfig, arch/arm64/crypto/Kconfig and
// arch/s390/crypto/Kconfig before 6.16.
var hashOptions = map[hash.Algorithm][]string{
	hash.MD4: {"CONFIG_CRYPTO_MD4"}, hash.MD5: {"CONFIG_CRYPTO_MD5"}, hash.SHA1: {"CONFIG_CRYPTO_SHA1"},
	hash.RMD160: {"CONFIG_CRYPTO_RMD160"}, hash.SHA224: sha256Options, hash.SHA256: sha256Options,
	hash.SHA384: sha512Options, hash.SHA512: sha512Options,
	hash.WP256: {"CONFIG_CRYPTO_WP512"}, hash.WP384: {"CONFIG_CRYPTO_WP512"}, hash.WP512: {"CONFIG_CRYPTO_WP512"},
	hash.SM3:         {"CONFIG_CRYPTO_SM3_GENERIC", "CONFIG_CRYPTO_SM3"},
	hash.Streebog256: {"CONFIG_CRYPTO_STREEBOG"}, hash.Streebog512: {"CONFIG_CRYPTO_STREEBOG"},
	hash.SHA3_256: {"CONFIG_CRYPTO_SHA3"}, hash.SHA3_384: {"CONFIG_CRYPTO_SHA3"}, hash.SHA3_512: {"CONFIG_CRYPTO_SHA3"},
}

var (
	sha256Options = []string{"CONFIG_CRYPTO_SHA256", "CONFIG_CRYPTO_SHA256_ARM64", "CONFIG_CRYPTO_SHA256_ARM", "CONFIG_CRYPTO_SHA256_S390"}
	sha512Options = []string{"CONFIG_CRYPTO_SHA512", "CONFIG_CRYPTO_SHA512_ARM64", "CONFIG_CRYPTO_SHA512_ARM", "CONFIG_CRYPTO_SHA512_S390"}
)

// Digest says how a kernel of the configuration has an algorithm. Of one that is
// only a part, and does not speak of digests, that is not known.
func (c Config) Digest(a hash.Algorithm) policy.Presence {
	found := policy.Absent
	// IMA selects this one (security/integrity/ima/Kconfig).
	if !c.Enabled("CONFIG_CRYPTO_HASH_INFO") {
		found = policy.UnknownPresence
	}
	for _, option := range hashOptions[a] {
		switch c[option] {
		case "y":
			return policy.BuiltIn
		case "m":
			found = policy.Module
		}
	}
	return found
}
