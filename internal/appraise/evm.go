package appraise

import (
	"errors"
	"slices"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
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
	evmMaybe          // evmPass or evmFail
	evmMaybeImmutable // evmPassImmutable or evmFailImmutable
)

// evmStatus is evm_verifyxattr() for security.ima. The words say what is
// missing for a certain answer.
func (k *Kernel) evmStatus(f *File) (evmStatus, string) {
	e := k.EVM
	overlay := f.Magic.Known && f.Magic.Value == policy.MagicOverlay
	switch {
	case !e.IsActive(), overlay && !e.X509:
		return evmUnknown, ""
	case f.EVM == nil && (len(f.IMA) > 0 || len(f.Attrs) > 0):
		return evmNoLabel, ""
	case f.EVM == nil:
		return evmNoXattrs, ""
	case len(f.EVM) == 0:
		return evmFail, ""
	}
	switch imaevm.Type(f.EVM[0]) {
	case imaevm.TypeHMAC:
		return k.evmHMAC(f)
	case imaevm.TypeSignature, imaevm.TypePortable:
		if len(f.EVM) <= imaevm.SignatureHeader { // evm_verify_hmac() looks at that first
			return evmFail, ""
		}
		return k.evmSignature(f)
	}
	return evmFail, ""
}

// evmHMAC: a wrong length, no key in the kernel, and file systems mounted in
// a user namespace are all the same to the kernel.
func (k *Kernel) evmHMAC(f *File) (evmStatus, string) {
	mac, err := imaevm.ParseHMAC(f.EVM)
	if err != nil || !k.EVM.HMAC || f.UserMount == policy.True {
		return evmFail, ""
	}
	attrs, known := f.covered(false)
	switch {
	case k.EVM.Key == nil:
		return evmMaybe, NoHMACKey
	case !f.Bound:
		return evmMaybe, NotBound
	case !known:
		return evmMaybe, NoHMACAttrs
	}
	input, err := imaevm.Input(imaevm.TypeHMAC, attrs, f.Meta, k.EVM.Target)
	switch {
	case errors.Is(err, imaevm.ErrNoAttrs):
		return evmNoXattrs, ""
	case err != nil:
		return evmMaybe, "what EVM covers: " + err.Error()
	}
	if k.EVM.Key.Sum(input) != mac {
		return evmFail, ""
	}
	return evmPass, ""
}

func (k *Kernel) evmSignature(f *File) (evmStatus, string) {
	portable := imaevm.Type(f.EVM[0]) == imaevm.TypePortable
	pass, fail, maybe := evmPass, evmFail, evmMaybe
	if portable {
		pass, fail, maybe = evmPassImmutable, evmFailImmutable, evmMaybeImmutable
	}
	if k.EVM.SigV3 && k.IsSigV3() && f.EVM[1] != 3 {
		return evmFail, ""
	}
	sig, err := imaevm.ParseSignature(f.EVM)
	if err != nil || f.UserMount == policy.True {
		return fail, ""
	}
	attrs, known := f.covered(portable)
	switch {
	case k.HasHash(sig.Alg) == policy.False:
		return fail, ""
	case k.EVM.Keys == nil:
		return maybe, NoEVMKeys
	case !hasKey(k.EVM.Keys, sig.KeyID):
		return fail, ""
	case !portable && !f.Bound:
		return maybe, NotBound
	case !known:
		return maybe, NoSignatureAttrs
	}
	input, err := imaevm.Input(sig.Kind, attrs, f.Meta, k.EVM.Target)
	switch {
	case errors.Is(err, imaevm.ErrNoIMA):
		return fail, ""
	case errors.Is(err, imaevm.ErrNoAttrs):
		return evmNoXattrs, ""
	case err != nil:
		return maybe, "what EVM covers: " + err.Error()
	}
	sum, err := hash.Sum(sig.Alg, input)
	if err != nil {
		return maybe, "EVM's digest: " + err.Error()
	}
	// Before 7.2 the version byte is not looked at: 3 is verified like 2.
	signed, ok := signedDigest(sig, sum, sig.Version == 3 && k.IsSigV3())
	if !ok {
		return fail, ""
	}
	switch check(k.EVM.Keys, sig.KeyID, signed, sig.Raw) {
	case right:
		return pass, ""
	case cannotTell:
		return maybe, "the EVM signature by key " + sig.KeyID.String() + Unchecked
	}
	return fail, ""
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
