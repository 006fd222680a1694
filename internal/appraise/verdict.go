package appraise

import (
	"fmt"
	"slices"
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
	ShortLabel         reason.Code = "short-label"
	UnknownAlgorithm   reason.Code = "unknown-digest"
	CrashesKernel      reason.Code = "crashes-kernel"
	WrongModSig        reason.Code = "wrong-modsig"
	NoSignatures       reason.Code = "no-signature-support"
	NoDigest           reason.Code = "unavailable-digest"
)

// Codes of the reasons why nothing can be decided: what is not known, or cannot
// be computed.
const (
	NoDefaultHash    reason.Code = "unknown-default-hash"
	UnknownDigest    reason.Code = "unknown-digest-support"
	UnloadedDigest   reason.Code = "unloaded-digest"
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
	CrashesKernel:      "a malformed signature of version 1, by which kernels crash that have its key; remove it",
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
	// them. If the status is Undecided they are those that a denial may have. An
	// empty one stands for a denial that the kernel writes no record of.
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

// maybe is a verdict that may be allowed, or denied by one of the causes, for want
// of what the reasons say.
func maybe(why reason.List, causes ...Cause) Verdict { return Verdict{Causes: causes, Reasons: why} }

// missing is a single reason for what is not decided.
func missing(why reason.Reason) reason.List { return reason.List{why} }

// then is the verdict about what the kernel checks after v, if v lets it.
func (v Verdict) then(w Verdict) Verdict {
	switch {
	case v.Status == Denied, w.Status == Allowed:
		return v
	case v.Status == Allowed:
		return w
	}
	return Verdict{Status: w.Status, Causes: union(v.Causes, w.Causes), Reasons: v.Reasons.With(w.Reasons...)}
}

// oneOf is the verdict if it is one of several, which one being not known for the
// reasons. If all are the same these do not count.
func oneOf(why reason.List, verdicts ...Verdict) Verdict {
	first := verdicts[0]
	all := Verdict{Status: first.Status, Reasons: why}
	isOther := func(v Verdict) bool { return v.Status != first.Status || !slices.Equal(v.Causes, first.Causes) }
	if !slices.ContainsFunc(verdicts, isOther) {
		all.Reasons = first.Reasons
	}
	for _, v := range verdicts {
		if v.Status != all.Status {
			all.Status = Undecided
		}
		all.Causes = union(all.Causes, v.Causes)
		if v.Status == Undecided {
			all.Reasons = all.Reasons.With(v.Reasons...)
		}
	}
	return all
}

// renamed is a verdict all of whose denials have another cause.
func (v Verdict) renamed(c Cause) Verdict {
	if len(v.Causes) > 0 {
		v.Causes = []Cause{c}
	}
	return v
}

// union has the causes of both, each once.
func union(a, b []Cause) []Cause {
	all := slices.Clone(a)
	for _, c := range b {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}
