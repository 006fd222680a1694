package appraise

import (
	"fmt"
	"strings"

	"imaseal/hash"

	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
)

// A Status is what becomes of an access.
type Status uint8

// The statuses. The zero value is Undecided.
const (
	Undecided Status = iota
	Allowed
	Denied
)

// String names the status.
func (s Status) String() string { return [...]string{"undecided", "allowed", "denied"}[s] }

// A Cause is the word cause= of an audit record. Empty: there is no record.
type Cause string

// The causes of denials that can be told from a file at rest.
const (
	MissingHash             Cause = "missing-hash"
	SignatureRequired       Cause = "IMA-signature-required"
	VeritySignatureRequired Cause = "verity-signature-required"
	SigV3Required           Cause = "IMA-sigv3-required"
	InvalidHash             Cause = "invalid-hash"
	InvalidSignature        Cause = "invalid-signature"
	InvalidSignatureVersion Cause = "invalid-signature-version"
	InvalidVeritySignature  Cause = "invalid-verity-signature"
	UnknownData             Cause = "unknown-ima-data"
	UnknownCause            Cause = "unknown"
	MissingHMAC             Cause = "missing-HMAC"
	InvalidHMAC             Cause = "invalid-HMAC"
	InvalidImmutable        Cause = "invalid-fail-immutable"
	Unverifiable            Cause = "unverifiable-signature"
	Failed                  Cause = "failed"
	FailedDirectIO          Cause = "failed(directio)"
	NoVerityDigest          Cause = "no-verity-digest"
	DeniedAlgorithm         Cause = "denied-hash-algorithm"
)

// Codes of the reasons of denials: why there is no record, or more than the
// cause says.
const (
	NoXattrs           reason.Code = "no-xattrs"
	NotWritable        reason.Code = "signed-not-writable"
	UnknownKey         reason.Code = "unknown-key"
	UnknownV1Key       reason.Code = "unknown-v1-key"
	NoV1Keys           reason.Code = "no-v1-keys"
	WrongSignature     reason.Code = "wrong-signature"
	MalformedSignature reason.Code = "malformed-signature"
	WrongModSig        reason.Code = "wrong-modsig"
	NoSignatures       reason.Code = "no-signature-support"
	NoDigest           reason.Code = "unavailable-digest"
)

// Codes of the reasons why nothing can be decided: what is not known, or cannot
// be computed.
const (
	NoDefaultHash    reason.Code = "unknown-default-hash"
	NoKeys           reason.Code = "no-keys"
	NoEVMKeys        reason.Code = "no-evm-keys"
	NoHMACKey        reason.Code = "no-hmac-key"
	NoHMACAttrs      reason.Code = "unknown-hmac-attributes"
	NoSignatureAttrs reason.Code = "unknown-signature-attributes"
	NotBound         reason.Code = "not-bound"
	Unchecked        reason.Code = "unchecked-signature"
	UncheckedEVM     reason.Code = "unchecked-evm-signature"
	UncheckedModSig  reason.Code = "unchecked-modsig"
	NoContent        reason.Code = "unreadable-content"
	NoVerity         reason.Code = "unreadable-verity-digest"
	NoInput          reason.Code = "unknown-evm-input"
	NoEVMDigest      reason.Code = "uncomputable-evm-digest"
	UnknownMount     reason.Code = "unknown-mount"
	Conditional      reason.Code = "unknown-conditions"
)

// words are the words of the reasons that always have the same.
var words = map[reason.Code]string{
	NoXattrs:           "the file system has no extended attributes",
	NotWritable:        "signed files cannot be opened for writing",
	NoV1Keys:           "signed in version 1, for which the kernel's trusted keyring takes no keys",
	WrongSignature:     "the signature is not that of the content",
	MalformedSignature: "the signature is malformed",
	WrongModSig:        "the signature appended to the file is wrong",
	NoSignatures:       "the kernel verifies no signatures (CONFIG_INTEGRITY_ASYMMETRIC_KEYS, of version 1 CONFIG_SIGNATURE)",
	NoDefaultHash:      "the kernel's default hash algorithm (ima_hash=) is not known",
	NoKeys:             "the keys in the kernel's keyring for files are not known",
	NoEVMKeys:          "the keys in the kernel's keyring for EVM are not known",
	NoHMACKey:          "the EVM HMAC key is not at hand",
	NoHMACAttrs:        "not known which attributes the kernel's HMACs cover",
	NoSignatureAttrs:   "not known which attributes the kernel's EVM signatures cover",
	NotBound:           "inode number, generation or file system UUID of the target are not known",
	UncheckedModSig:    "the signature appended to the file was not checked",
	UnknownMount:       "not known whether the file system was mounted in a user namespace",
}

// because returns the reason with a code that always has the same words.
func because(c reason.Code) reason.Reason { return reason.Reason{Code: c, Words: words[c]} }

// notThere is the reason for a digest that the kernel cannot compute.
func notThere(a hash.Algorithm) reason.Reason {
	return reason.New(NoDigest, "the kernel does not have %s", a)
}

// unknownKey is the reason for a signature by a key that the kernel lacks.
func unknownKey(id imaevm.KeyID) reason.Reason {
	return reason.New(UnknownKey, "signed by key %s, which is not among the kernel's", id)
}

// unchecked is the reason for a signature that the keys at hand cannot check.
func unchecked(c reason.Code, what string, id fmt.Stringer) reason.Reason {
	return reason.New(c, "the %s by key %s cannot be checked", what, id)
}

// A Verdict is the answer for one access.
type Verdict struct {
	Status Status
	// Causes are those of a denial: one if it is known, several if it is one of
	// them. An empty one stands for a denial that the kernel writes no record of.
	Causes []Cause
	// Reasons say more of a denial, or what is missing for a decision.
	Reasons reason.List
}

// Cause returns the cause of a denial; empty if it is one of several, or if the
// kernel writes no record.
func (v Verdict) Cause() Cause {
	if v.Status != Denied || len(v.Causes) != 1 {
		return ""
	}
	return v.Causes[0]
}

// text is the verdict in a word, with why a denial is one.
func (v Verdict) text() string {
	why := v.causes()
	if why == "" {
		why = v.Reasons.String()
	}
	if why == "" || v.Status != Denied {
		return v.Status.String()
	}
	return v.Status.String() + " (" + why + ")"
}

// causes are those of a denial as one says them.
func (v Verdict) causes() string {
	var all []string
	for _, c := range v.Causes {
		if c != "" {
			all = append(all, string(c))
		}
	}
	return strings.Join(all, " or ")
}

func allowed() Verdict { return Verdict{Status: Allowed} }

func denied(c Cause, why ...reason.Reason) Verdict {
	return Verdict{Status: Denied, Causes: []Cause{c}, Reasons: why}
}

func undecided(why ...reason.Reason) Verdict { return Verdict{Reasons: why} }
