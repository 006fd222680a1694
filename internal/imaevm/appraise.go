package imaevm

import (
	"bytes"

	"imaseal/hash"
)

// LabelAlgorithm returns the algorithm with which a kernel digests a file that
// has the given security.ima, and def, its default (ima_hash= or
// CONFIG_IMA_DEFAULT_HASH), for what it does not understand: no label, a label
// that is too short, and any that names no algorithm.
//
// The kernel looks at less of the label than the parsers here do, so that a label
// they refuse may well have an algorithm. Kernel: ima_get_hash_algo(),
// security/integrity/ima/ima_appraise.c.
func LabelAlgorithm(label []byte, def hash.Algorithm, t Target) hash.Algorithm {
	if len(label) < 2 {
		return def
	}
	var alg hash.Algorithm
	switch kind := Type(label[0]); kind {
	case TypeHash:
		alg = t.knows(label[1])
	case TypeHashLegacy:
		alg = legacyAlgorithm(label)
	case TypeSignature, TypeVerity:
		known := kind.hasVersion(label[1]) && (kind == TypeVerity || label[1] == 2 || t.SignatureV3)
		if known && len(label) > SignatureHeader {
			alg = t.knows(label[2])
		}
	}
	if alg == 0 {
		return def
	}
	return alg
}

// HashMatches reports whether a hash label in security.ima holds the digest d of
// the file, computed with LabelAlgorithm, in the kernel's eyes: it neither looks
// at the algorithm in the label again nor at bytes behind the digest. A label of
// another type and one that is too short do not match, nor does the zero d.
// Kernel: xattr_verify(), security/integrity/ima/ima_appraise.c.
func HashMatches(label []byte, d hash.Digest) bool {
	if len(label) == 0 || d.IsZero() {
		return false
	}
	return bytes.HasPrefix(hashBytes(label), d.Bytes())
}

// HashSize returns how many bytes of a digest a hash label has, none if it is
// another label.
func HashSize(label []byte) int { return len(hashBytes(label)) }

// hashBytes is the digest in a hash label.
func hashBytes(label []byte) []byte {
	if len(label) == 0 {
		return nil
	}
	switch Type(label[0]) {
	case TypeHash:
		// The kernel's length check wraps around if the number is missing, and it
		// compares what lies behind the label; here that is too short.
		return label[min(HashHeader, len(label)):]
	case TypeHashLegacy:
		return label[1:]
	}
	return nil
}
