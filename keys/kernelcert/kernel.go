package kernelcert

import (
	"strings"

	"imaseal/keys/kernelkey"
)

// A Presence says whether a kernel has an algorithm. The zero value is Unknown.
type Presence uint8

// The presences.
const (
	Unknown Presence = iota
	Absent
	Module // it may be loaded, where the module is at hand when it is needed
	BuiltIn
)

// may returns the cases to think of: whether the algorithm is there.
func (p Presence) may() []bool {
	switch p {
	case Absent:
		return []bool{false}
	case BuiltIn:
		return []bool{true}
	}
	return []bool{true, false}
}

// A Kernel is who loads a certificate.
type Kernel struct {
	kernelkey.Kernel
	// Option returns the value of an option of the kernel's configuration, such as y
	// or m for CONFIG_CRYPTO_ECDSA, and nothing for one that is not set. It is nil if
	// the configuration is not known; then the kernel is taken to have RSA, SHA-1 and
	// SHA-256, which those that verify labels have.
	Option func(name string) string
}

// Known are the kernels whose rules are known, oldest first, without a
// configuration. A kernel of another version is judged by rules that came before
// it; one before 6.1 as 6.1.
var Known = []Kernel{version{6, 1}.kernel(), version{6, 12}.kernel(), version{7, 2}.kernel()}

func (v version) kernel() Kernel {
	return Kernel{Kernel: kernelkey.Kernel{Major: v.major, Minor: v.minor}}
}

// presence looks options up of which one is enough.
func (k Kernel) presence(options ...string) Presence {
	if k.Option == nil {
		return Unknown
	}
	found := Absent
	for _, o := range options {
		switch k.Option(o) {
		case "y":
			return BuiltIn
		case "m":
			found = Module
		}
	}
	return found
}

// needed is presence for what kernels that verify labels have: RSA and SHA-1 are
// selected by CONFIG_INTEGRITY_ASYMMETRIC_KEYS and CONFIG_IMA.
func (k Kernel) needed(option string) Presence {
	if k.Option == nil {
		return BuiltIn
	}
	return k.presence(option)
}

// HasParser says whether the kernel parses certificates.
func (k Kernel) HasParser() Presence { return k.presence("CONFIG_X509_CERTIFICATE_PARSER") }

// IsRestricted says whether the keyrings for labels are .ima and .evm: Absent is
// that they are _ima and _evm, which take whatever the kernel loads.
func (k Kernel) IsRestricted() Presence { return k.presence("CONFIG_INTEGRITY_TRUSTED_KEYRING") }

// hasHash says whether the kernel has a digest, by its name for it. Kernel: FIPS
// mode has those whose tests are fips_allowed in crypto/testmgr.c.
func (k Kernel) hasHash(hash string) Presence {
	options := hashOptions(hash)
	switch {
	case hash == noHash:
		return BuiltIn
	case options == nil, k.FIPS && !strings.HasPrefix(hash, "sha"):
		return Absent
	case hash == "sha1", hash == "sha224", hash == "sha256":
		return k.needed(options[0])
	}
	return k.presence(options...)
}

// hashOptions are the options of which one gives the kernel a digest. Kernel:
// crypto/Kconfig.
func hashOptions(hash string) []string {
	switch {
	case hash == "sha1":
		return []string{"CONFIG_CRYPTO_SHA1"}
	case hash == "sha224", hash == "sha256":
		return []string{"CONFIG_CRYPTO_SHA256"}
	case hash == "sha384", hash == "sha512":
		return []string{"CONFIG_CRYPTO_SHA512"}
	case strings.HasPrefix(hash, "sha3-"):
		return []string{"CONFIG_CRYPTO_SHA3"}
	case strings.HasPrefix(hash, "streebog"):
		return []string{"CONFIG_CRYPTO_STREEBOG"}
	case hash == "sm3":
		return []string{"CONFIG_CRYPTO_SM3_GENERIC", "CONFIG_CRYPTO_SM3"}
	case hash == "md4":
		return []string{"CONFIG_CRYPTO_MD4"}
	}
	return nil
}

// HasKey says whether the kernel has what verifies signatures of an algorithm over
// a digest. The latter matters to RSA, which needs the head of its DigestInfo.
func (k Kernel) HasKey(a kernelkey.Algorithm, hash string) Presence {
	option := keyOption(a)
	switch {
	case option == "",
		a == kernelkey.RSA && (hash == "md4" || k.FIPS && hash == "sha1" && k.AtLeast(6, 13)),
		k.FIPS && a != kernelkey.RSA && (!a.IsECDSA() || a == kernelkey.P192 || !k.AtLeast(6, 3)):
		return Absent
	case a == kernelkey.RSA:
		return k.needed(option)
	}
	return k.presence(option)
}

// keyOption is the option that gives the kernel an algorithm, none for an unknown
// one.
func keyOption(a kernelkey.Algorithm) string {
	switch {
	case a == kernelkey.RSA:
		return "CONFIG_CRYPTO_RSA"
	case a.IsECDSA():
		return "CONFIG_CRYPTO_ECDSA"
	case a == kernelkey.ECRDSA:
		return "CONFIG_CRYPTO_ECRDSA"
	case a == kernelkey.SM2:
		return "CONFIG_CRYPTO_SM2"
	case strings.HasPrefix(string(a), "mldsa"):
		return "CONFIG_CRYPTO_MLDSA"
	}
	return ""
}
