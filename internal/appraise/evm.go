package appraise

import (
	"errors"
	"slices"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
)

// An evmStatus is one of enum integrity_status, or what may be one of two.
type evmStatus uint8

const (
	evmUnknown evmStatus = iota // EVM is not active, or does not do this file system
	evmPass
	evmPassImmutable
	evmNoLabel
	evmNoXattrs
	evmFail
	evmFailImmutable
	evmCrash          // of the kernel
	evmMaybe          // evmPass or evmFail
	evmMaybeImmutable // evmPassImmutable or evmFailImmutable
)

// evmStatus is evm_verifyxattr() for security.ima, after IMA has computed a digest
// of the algorithm loaded, zero if that is not known. The reasons say what is
// missing for a certain answer.
func (k *Kernel) evmStatus(f *File, loaded hash.Algorithm) (evmStatus, reason.List) {
	e := k.EVM
	overlay := f.Magic.Known && f.Magic.Value == policy.MagicOverlay
	switch {
	case !e.IsActive(), overlay && !e.X509:
		return evmUnknown, nil
	case f.EVM == nil && (len(f.IMA) > 0 || len(f.Attrs) > 0):
		return evmNoLabel, nil
	case f.EVM == nil:
		return evmNoXattrs, nil
	case len(f.EVM) == 0:
		return evmFail, nil
	}
	switch imaevm.Type(f.EVM[0]) {
	case imaevm.TypeHMAC:
		return k.evmHMAC(f)
	case imaevm.TypeSignature, imaevm.TypePortable:
		if len(f.EVM) <= imaevm.SignatureHeader { // evm_verify_hmac() looks at that first
			return evmFail, nil
		}
		return k.evmSignature(f, loaded)
	}
	return evmFail, nil
}

// evmHMAC: a wrong length, no key in the kernel, and file systems mounted in
// a user namespace are all the same to the kernel.
func (k *Kernel) evmHMAC(f *File) (evmStatus, reason.List) {
	mac, err := imaevm.ParseHMAC(f.EVM)
	if err != nil || !k.EVM.HMAC || f.UserMount == policy.True {
		return evmFail, nil
	}
	attrs, known := f.covered(false)
	switch {
	case k.EVM.Key == nil:
		return evmMaybe, missing(because(NoHMACKey))
	case !f.Bound:
		return evmMaybe, missing(because(NotBound))
	case !known:
		return evmMaybe, missing(because(NoHMACAttrs))
	}
	input, err := imaevm.Input(imaevm.TypeHMAC, attrs, f.Meta, k.EVM.Target)
	switch {
	case errors.Is(err, imaevm.ErrNoAttrs):
		return evmNoXattrs, nil
	case err != nil:
		return evmMaybe, missing(reason.New(NoInput, "what EVM covers: %v", err))
	}
	if k.EVM.Key.Sum(input) != mac {
		return evmFail, nil
	}
	return evmPass, nil
}

// evmStatuses are what the kind of a signature can come to.
type evmStatuses struct {
	kind              imaevm.Type
	pass, fail, maybe evmStatus
}

var (
	boundStatuses    = evmStatuses{imaevm.TypeSignature, evmPass, evmFail, evmMaybe}
	portableStatuses = evmStatuses{imaevm.TypePortable, evmPassImmutable, evmFailImmutable, evmMaybeImmutable}
)

func (k *Kernel) evmSignature(f *File, loaded hash.Algorithm) (evmStatus, reason.List) {
	s := boundStatuses
	if imaevm.Type(f.EVM[0]) == imaevm.TypePortable {
		s = portableStatuses
	}
	switch {
	case k.EVM.SigV3 && k.IsSigV3() && f.EVM[1] != 3:
		return evmFail, nil
	case f.UserMount == policy.True:
		return s.fail, nil
	case f.EVM[1] == 1:
		return k.evmV1(f, s, loaded)
	}
	sig, err := imaevm.ParseSignature(f.EVM)
	switch {
	case err != nil, k.Presence(sig.Alg) == policy.Absent:
		return s.fail, nil
	case k.EVM.Keys == nil:
		return s.maybe, missing(because(NoEVMKeys))
	case canBe(k.EVM.Keys, sig) != right:
		return s.fail, nil
	}
	sum, status, why := k.evmDigest(f, sig.Alg, s)
	if sum.IsZero() {
		return status, why
	}
	// Before 7.2 the version byte is not looked at: 3 is verified like 2.
	switch check(k.EVM.Keys, sig, sum, sig.Version == 3 && k.IsSigV3()) {
	case right:
		return k.ifLoaded(sig.Alg, loaded, s)
	case cannotTell:
		return s.maybe, missing(unchecked(UncheckedEVM, "EVM signature", sig.KeyID))
	}
	return s.fail, nil
}

// ifLoaded is the status of a right signature: EVM loads no module for its digest,
// which was loaded already only for certain if IMA has just computed one of the same
// algorithm. Kernel: init_desc(), security/integrity/evm/evm_crypto.c.
func (k *Kernel) ifLoaded(a, loaded hash.Algorithm, s evmStatuses) (evmStatus, reason.List) {
	switch p := k.Presence(a); {
	case p == policy.BuiltIn, a == loaded:
		return s.pass, nil
	case p == policy.UnknownPresence:
		return s.maybe, missing(reason.New(UnknownDigest, "not known whether the kernel has %s", a))
	case p == policy.Present:
		return s.maybe, missing(reason.New(UnloadedDigest, "not known whether the kernel has %s built in, and EVM loads no module", a))
	}
	return s.maybe, missing(reason.New(UnloadedDigest, "EVM does not load the module for %s: something else must have done so", a))
}

// evmDigest is what a signature in security.evm covers; without a digest the
// status is certain or maybe for the reasons.
func (k *Kernel) evmDigest(f *File, a hash.Algorithm, s evmStatuses) (hash.Digest, evmStatus, reason.List) {
	attrs, known := f.covered(s.kind == imaevm.TypePortable)
	switch {
	case s.kind != imaevm.TypePortable && !f.Bound:
		return hash.Digest{}, s.maybe, missing(because(NotBound))
	case !known:
		return hash.Digest{}, s.maybe, missing(because(NoSignatureAttrs))
	}
	input, err := imaevm.Input(s.kind, attrs, f.Meta, k.EVM.Target)
	switch {
	case errors.Is(err, imaevm.ErrNoIMA):
		return hash.Digest{}, s.fail, nil
	case errors.Is(err, imaevm.ErrNoAttrs):
		return hash.Digest{}, evmNoXattrs, nil
	case err != nil:
		return hash.Digest{}, s.maybe, missing(reason.New(NoInput, "what EVM covers: %v", err))
	}
	sum, err := hash.Sum(a, input)
	if err != nil {
		return hash.Digest{}, s.maybe, missing(reason.New(NoEVMDigest, "EVM's digest: %v", err))
	}
	return sum, s.pass, nil
}

// covered returns the attributes that count, security.ima in its place, and
// whether all of them are known to.
func (f *File) covered(portable bool) ([]imaevm.Attr, bool) {
	known := true
	var attrs []imaevm.Attr
	for _, a := range f.Attrs {
		if a.Name == imaevm.AttrIMA || a.Name == imaevm.AttrEVM {
			continue
		}
		if !portable && a.Counts != policy.True {
			known = known && a.Counts == policy.False
			continue
		}
		attrs = append(attrs, a.Attr)
	}
	if len(f.IMA) == 0 {
		return attrs, known
	}
	list := imaevm.Protected()
	ima := slices.IndexFunc(list, func(p imaevm.ProtectedAttr) bool { return p.Name == imaevm.AttrIMA })
	at := slices.IndexFunc(attrs, func(a imaevm.Attr) bool {
		i := slices.IndexFunc(list, func(p imaevm.ProtectedAttr) bool { return p.Name == a.Name })
		return i < 0 || i > ima
	})
	if at < 0 {
		at = len(attrs)
	}
	return slices.Insert(attrs, at, imaevm.Attr{Name: imaevm.AttrIMA, Value: f.IMA}), known
}
