package appraise

import (
	"errors"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// labelAlgorithm is the algorithm of the digest that the kernel computes for a
// label; zero if that is an unknown default.
func (k *Kernel) labelAlgorithm(label []byte) hash.Algorithm {
	return imaevm.LabelAlgorithm(label, k.DefaultHash, imaevm.Target{SignatureV3: k.IsSigV3(), NoSHA3: !k.HasSHA3()})
}

// measure is ima_appraise_measurement(). It also says whether the inode gets
// the mark of signed files (IMA_DIGSIG), which keeps writers out.
func (k *Kernel) measure(f *File, a match.Access, d match.Demands, digest digester, mod ModSig) (Verdict, bool) {
	tryMod := mod != ModSigNone
	if f.NoXattrs && !tryMod {
		return denied("", because(NoXattrs)), false
	}
	v, isSigned := k.label(f, a, d, digest, mod)
	return k.unverifiable(f, d, v), isSigned
}

// unverifiable: changes on FUSE cannot be seen, which a policy may refuse.
func (k *Kernel) unverifiable(f *File, d match.Demands, v Verdict) Verdict {
	if !f.Magic.Known || f.Magic.Value != policy.MagicFUSE {
		return v
	}
	switch policy.Of(d.FailSecurely).Or(f.UserMount) {
	case policy.True:
		return denied(Unverifiable)
	case policy.Unknown:
		return oneOf(missing(because(UnknownMount)), v, denied(Unverifiable))
	}
	return v
}

// label checks security.evm and then security.ima.
func (k *Kernel) label(f *File, a match.Access, d match.Demands, digest digester, mod ModSig) (Verdict, bool) {
	tryMod := mod != ModSigNone
	if len(f.IMA) == 0 && !tryMod {
		switch {
		case d.Signature && d.Verity:
			return denied(VeritySignatureRequired), false
		case d.Signature:
			return denied(SignatureRequired), false
		}
		return denied(MissingHash), false
	}
	status, why := k.evmStatus(f, digest.alg)
	switch {
	case status == evmNoXattrs && !tryMod, status == evmNoLabel:
		return denied(MissingHMAC), false
	case status == evmCrash:
		return denied("", because(CrashesKernel)), false
	case status == evmFailImmutable:
		return denied(InvalidImmutable), true
	case status == evmFail:
		return denied(InvalidHMAC), false
	}
	v, isSigned, key := Verdict{}, false, wrong
	if len(f.IMA) > 0 {
		immutable := status == evmPassImmutable || status == evmMaybeImmutable
		v, isSigned, key = k.verify(f.IMA, a, d, digest, immutable)
	}
	if tryMod && (len(f.IMA) == 0 || imaevm.Type(f.IMA[0]) == imaevm.TypeHash || key == noKey) {
		v = denied(InvalidSignature, because(WrongModSig))
		if mod == ModSigRight {
			v = allowed()
		}
	}
	switch status {
	case evmMaybe:
		v = oneOf(why, denied(InvalidHMAC), v)
	case evmMaybeImmutable:
		v = oneOf(why, denied(InvalidImmutable), v)
	}
	return v, isSigned
}

// verify is xattr_verify(). The answer is that of the keyring for a
// signature.
func (k *Kernel) verify(label []byte, a match.Access, d match.Demands, digest digester, immutable bool) (Verdict, bool, answer) {
	version := -1
	if len(label) > 1 {
		version = int(label[1])
	}
	switch imaevm.Type(label[0]) {
	case imaevm.TypeHashLegacy, imaevm.TypeHash:
		return k.verifyHash(label, d, digest, immutable), immutable, wrong
	case imaevm.TypeSignature:
		most := 2
		if k.IsSigV3() {
			most = 3
		}
		switch {
		case d.Signature && d.Verity:
			return denied(VeritySignatureRequired), true, wrong
		case version > most:
			return denied(InvalidSignatureVersion), true, wrong
		case k.IsSigV3() && d.SigV3 && version != 3:
			return denied(SigV3Required), true, wrong
		case version == 0:
			return denied(UnknownCause, because(MalformedSignature)), true, wrong
		case version == 1:
			v, key := k.verifyV1(label, digest)
			return v, true, key
		case k.Config.AsymmetricKeys == policy.False:
			return denied(UnknownCause, because(NoSignatures)), true, wrong
		}
		v, key := k.verifySignature(label, a, digest, InvalidSignature)
		return v, true, key
	case imaevm.TypeVerity:
		switch {
		case d.Signature && !d.Verity:
			return denied(SignatureRequired), true, wrong
		case version != 3:
			return denied(InvalidSignatureVersion), true, wrong
		}
		v, key := k.verifySignature(label, a, digest, InvalidVeritySignature)
		return v, true, key
	}
	return denied(UnknownData), false, wrong
}

func (k *Kernel) verifyHash(label []byte, d match.Demands, digest digester, immutable bool) Verdict {
	if !immutable && d.Signature {
		if d.Verity {
			return denied(VeritySignatureRequired)
		}
		return denied(SignatureRequired)
	}
	if n := imaevm.HashSize(label); digest.alg != 0 && n < digest.alg.Size() {
		return denied(InvalidHash, reason.New(ShortLabel, "the label has %d of the %d bytes of a %s digest", n, digest.alg.Size(), digest.alg))
	}
	sum, why := digest.compute()
	switch {
	case why != nil:
		return maybe(why, InvalidHash)
	case !imaevm.HashMatches(label, sum):
		return denied(InvalidHash, k.misfit(label, sum)...)
	}
	return allowed()
}

// misfit says why a hash label does not fit, where that needs not be the content.
func (k *Kernel) misfit(label []byte, sum hash.Digest) reason.List {
	if imaevm.Type(label[0]) != imaevm.TypeHash {
		return nil
	}
	a, isNumber := hash.ByNumber(label[1])
	switch {
	case !isNumber:
		return reason.List{reason.New(UnknownAlgorithm, "the label names the digest algorithm %d, which kernels take for %s, their default", label[1], sum.Algorithm())}
	case a != sum.Algorithm():
		return reason.List{reason.New(UnknownAlgorithm, "the label is of %s, which this kernel takes for %s, its default: it came with Linux 6.7", a, sum.Algorithm())}
	}
	return nil
}

// verifySignature checks a label of type 3 or 6 against the collected digest.
// A label that is no signature of version 2 or 3 is wrong to the kernel too.
func (k *Kernel) verifySignature(label []byte, a match.Access, digest digester, cause Cause) (Verdict, answer) {
	sig, err := imaevm.ParseSignature(label)
	switch {
	case err != nil:
		return denied(cause, because(MalformedSignature)), wrong
	case k.Config.AsymmetricKeys == policy.False:
		return denied(cause, because(NoSignatures)), wrong
	case k.HasHash(sig.Alg) == policy.False:
		return denied(cause, notThere(sig.Alg)), wrong
	case k.Keys == nil:
		return maybe(missing(because(NoKeys)), cause), cannotTell
	}
	// What is wrong whatever the content is needs no digest, which may be one that
	// cannot be computed here.
	hasPlatform := sig.Kind == imaevm.TypeSignature && a.Hook == policy.KexecKernelCheck &&
		k.Platform != nil && k.Config.PlatformKeyring != policy.False
	said := canBe(k.Keys, sig)
	if said != right && hasPlatform {
		said = canBe(k.Platform, sig)
	}
	switch said {
	case noKey:
		return denied(cause, unknownKey(sig.KeyID)), noKey
	case wrong:
		return denied(cause, because(WrongSignature)), wrong
	}
	sum, why := digest.compute()
	if why != nil {
		return maybe(why, cause), cannotTell
	}
	said = check(k.Keys, sig, sum, sig.Version == 3)
	if said != right && hasPlatform {
		said = check(k.Platform, sig, sum, sig.Version == 3)
	}
	switch said {
	case right:
		return allowed(), right
	case cannotTell:
		return maybe(missing(unchecked(Unchecked, "signature", sig.KeyID)), cause), cannotTell
	case noKey:
		return denied(cause, unknownKey(sig.KeyID)), noKey
	}
	return denied(cause, because(WrongSignature)), wrong
}

// signedDigest returns what a key that signs digests signed. The kernel takes the
// bytes of the collected digest and the label's algorithm as they come.
func signedDigest(sig imaevm.Signature, sum hash.Digest, fileID bool) (hash.Digest, bool) {
	if fileID {
		var err error
		if sum, err = hash.Sum(sum.Algorithm(), imaevm.FileID(sig.Kind, sum)); err != nil {
			return hash.Digest{}, false
		}
	}
	d, err := hash.NewDigest(sig.Alg, sum.Bytes())
	return d, err == nil
}

// An answer is what became of checking a raw signature with a keyring.
type answer uint8

const (
	wrong answer = iota
	right
	noKey
	cannotTell // several keys with the id, or a kind of key that cannot be checked here
)

// canBe says whether a signature can be right, whatever it is over: noKey, wrong if
// its key signs no digests of that algorithm, else right.
func canBe(keys sign.Verifiers, sig imaevm.Signature) answer {
	d, err := hash.NewDigest(sig.Alg, make([]byte, sig.Alg.Size()))
	if err != nil {
		return wrong
	}
	v, err := keys.Verifier(sig.KeyID)
	if _, unknown := errors.AsType[*sign.UnknownKeyError](err); unknown {
		return noKey
	}
	if err == nil {
		if isHashless(v) {
			if sig.Version != 3 {
				return wrong
			}
			return right
		}
		err = v.VerifyDigest(d, nil)
	}
	if _, refused := errors.AsType[*sign.DigestError](err); refused {
		return wrong
	}
	return right
}

// isHashless reports whether a key signs messages, which only signatures of
// version 3 have. Kernel: asymmetric_verify_v3(), and public_key_verify_signature(),
// which wants the digest "none" of ML-DSA keys.
func isHashless(v sign.Verifier) bool {
	m, ok := v.(sign.MessageVerifier)
	return ok && m.IsHashless()
}

// check checks a signature over the collected digest, or with fileID over the
// imaevm.FileID with it. The kernel takes the first of several keys with an id;
// which one that is cannot be told.
func check(keys sign.Verifiers, sig imaevm.Signature, sum hash.Digest, fileID bool) answer {
	v, err := keys.Verifier(sig.KeyID)
	if err != nil {
		return answerOf(err)
	}
	if isHashless(v) {
		if !fileID {
			return wrong
		}
		return answerOf(v.(sign.MessageVerifier).VerifyMessage(imaevm.FileID(sig.Kind, sum), sig.Raw))
	}
	signed, ok := signedDigest(sig, sum, fileID)
	if !ok {
		return wrong
	}
	return answerOf(v.VerifyDigest(signed, sig.Raw))
}

// answerOf is the answer that an error of checking a signature stands for.
func answerOf(err error) answer {
	var unknown *sign.UnknownKeyError
	var digest *sign.DigestError
	var bad *sign.BadSignatureError
	switch {
	case err == nil:
		return right
	case errors.As(err, &unknown):
		return noKey
	case errors.Is(err, sign.ErrSignature), errors.As(err, &bad), errors.As(err, &digest):
		return wrong
	}
	return cannotTell
}
