package policy

import (
	"slices"

	"imaseal/hash"
)

// A Presence says how a kernel has a digest algorithm.
type Presence uint8

// The ways to have one. The zero value is Unknown.
const (
	UnknownPresence Presence = iota
	// BuiltIn: from the first file on.
	BuiltIn
	// Module: once a module is loaded. For the digest of a file the kernel has
	// modprobe do that when it first meets the algorithm, which cannot work where
	// modprobe itself, its libraries or the module have such labels: the files
	// that are used until then are denied. For EVM's digest it does not.
	Module
	// Present: built in or a module, which of them is not known.
	Present
	// Absent: files with such labels are denied.
	Absent
)

// String names the presence.
func (p Presence) String() string {
	return [...]string{"unknown", "built in", "a module", "built in or a module", "absent"}[p]
}

// Presence says how the kernel has the algorithm. Where nothing is known of its
// build, some are there in practice: nothing runs without SHA-1 and SHA-256, and
// no distribution lacks SHA-512; some no kernel since 6.1 has any more.
func (k Kernel) Presence(a hash.Algorithm) Presence {
	switch {
	case a >= hash.SHA3_256 && !k.HasSHA3():
		return Absent
	case k.Digests != nil:
		return k.Digests(a)
	case slices.Contains([]hash.Algorithm{hash.MD5, hash.SHA1, hash.SHA224, hash.SHA256}, a):
		return BuiltIn
	case a == hash.SHA384 || a == hash.SHA512:
		return Present
	case slices.Contains([]hash.Algorithm{hash.RMD128, hash.RMD256, hash.RMD320, hash.TGR128, hash.TGR160, hash.TGR192}, a):
		return Absent
	}
	return UnknownPresence
}

// HasHash says whether the kernel has the algorithm, built in or as a module.
func (k Kernel) HasHash(a hash.Algorithm) Truth {
	switch k.Presence(a) {
	case UnknownPresence:
		return Unknown
	case Absent:
		return False
	}
	return True
}

// Loads returns the kernel as it is once something, such as the initramfs, has
// loaded the modules of some algorithms.
func (k Kernel) Loads(algorithms ...hash.Algorithm) Kernel {
	before := k
	k.Digests = func(a hash.Algorithm) Presence {
		if p := before.Presence(a); p == Absent || !slices.Contains(algorithms, a) {
			return p
		}
		return BuiltIn
	}
	return k
}
