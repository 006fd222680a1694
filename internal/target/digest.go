package target

import (
	"imaseal/hash"
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

// Digest says how the target has an algorithm. It is Unknown where the
// configuration is not known or says nothing of digests.
func (t *Target) Digest(a hash.Algorithm) Presence {
	if a >= hash.SHA3_256 && !t.HasSHA3() { // the label cannot even be read
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

// ConfigName says in words whose digests Digest knows.
func (t *Target) ConfigName() string { return t.configName() }
