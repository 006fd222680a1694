package appraise

import (
	"errors"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// Signatures of version 1 are checked by lib/digsig.c with keys of type "user" in
// the keyring, whatever certificates it holds. Keyrings that only take what a
// trusted key has signed (.ima, .evm) take none of these.

// verifyV1 checks a version 1 label against the collected digest, which is of the
// kernel's default algorithm. A key that is not there is a wrong signature:
// unlike with other versions, the kernel does not look for an appended one then
// (keyring_search() gives EAGAIN).
func (k *Kernel) verifyV1(label []byte, digest digester) (Verdict, answer) {
	sig, err := imaevm.ParseSignatureV1(label)
	switch {
	case k.Config.Signature == policy.False:
		return denied(UnknownCause, because(NoSignatures)), wrong
	case k.crashes(err, k.KeysV1) && k.KeysV1 == nil:
		return Verdict{Denied, []Cause{"", InvalidSignature}, missing(because(CrashesKernel))}, wrong
	case k.crashes(err, k.KeysV1):
		return denied("", because(CrashesKernel)), wrong
	case err != nil || sig.Algorithm != imaevm.AlgorithmRSA:
		return denied(InvalidSignature, because(MalformedSignature)), wrong
	case k.Config.TrustedKeyring == policy.True:
		return denied(InvalidSignature, because(NoV1Keys)), wrong
	case k.KeysV1 == nil:
		return maybe(missing(because(NoKeys)), InvalidSignature), cannotTell
	case !hasKeyV1(k.KeysV1, sig.KeyID):
		return denied(InvalidSignature, unknownKeyV1(sig.KeyID)), wrong
	}
	sum, why := digest.compute()
	if why != nil {
		return maybe(why, InvalidSignature), cannotTell
	}
	switch answerOf(sign.VerifyV1(sig, sum, k.KeysV1)) {
	case right:
		return allowed(), right
	case cannotTell:
		return maybe(missing(unchecked(Unchecked, "signature", sig.KeyID)), InvalidSignature), cannotTell
	}
	return denied(InvalidSignature, because(WrongSignature)), wrong
}

// crashes reports whether the kernel may crash by a label, by the error of parsing
// it: if it has its key, or if that is not known.
func (k *Kernel) crashes(err error, keys sign.VerifiersV1) bool {
	over, ok := errors.AsType[*imaevm.OverrunError](err)
	return ok && k.Config.TrustedKeyring != policy.True && (keys == nil || hasKeyV1(keys, over.KeyID))
}

// hasKeyV1 reports whether the keys for version 1 have one of this id, or several.
func hasKeyV1(keys sign.VerifiersV1, id imaevm.KeyIDV1) bool {
	_, err := keys.VerifierV1(id)
	_, unknown := errors.AsType[*sign.UnknownKeyError](err)
	return !unknown
}

// unknownKeyV1 is the reason for a signature of version 1 by a key that the kernel
// lacks.
func unknownKeyV1(id imaevm.KeyIDV1) reason.Reason {
	return reason.New(UnknownV1Key, "signed in version 1 by key %s, which is not among the user keys in the kernel's keyring", id)
}

// evmV1 is evmSignature for version 1.
func (k *Kernel) evmV1(f *File, s evmStatuses, loaded hash.Algorithm) (evmStatus, reason.List) {
	sig, alg, err := imaevm.ParseEVMSignatureV1(f.EVM)
	switch {
	case k.crashes(err, k.EVM.KeysV1) && k.Config.Signature != policy.False && k.Presence(alg) != policy.Absent:
		return evmCrash, nil
	case err != nil, sig.Algorithm != imaevm.AlgorithmRSA, k.Config.Signature == policy.False,
		k.Config.TrustedKeyring == policy.True, k.Presence(alg) == policy.Absent:
		return s.fail, nil
	case k.EVM.KeysV1 == nil:
		return s.maybe, missing(because(NoEVMKeys))
	case !hasKeyV1(k.EVM.KeysV1, sig.KeyID):
		return s.fail, nil
	}
	sum, status, why := k.evmDigest(f, alg, s)
	if sum.IsZero() {
		return status, why
	}
	switch answerOf(sign.VerifyV1(sig, sum, k.EVM.KeysV1)) {
	case right:
		return k.ifLoaded(alg, loaded, s)
	case cannotTell:
		return s.maybe, missing(unchecked(UncheckedEVM, "EVM signature", sig.KeyID))
	}
	return s.fail, nil
}
