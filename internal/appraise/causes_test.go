package appraise

import (
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/sign"
)

// anyKeys is a keyring that nobody knows.
type anyKeys struct{}

func (anyKeys) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	return nil, &sign.AmbiguousKeyError{KeyID: id}
}

// TestCauses: a denial is certain, and its cause may not be.
func TestCauses(t *testing.T) {
	strange := toySign(imaevm.TypeSignature, 2, good, verity) // over other content
	for _, c := range []struct {
		name, policy string
		change       func(*Kernel, *File)
		op           match.Operation
		status       Status
		causes       []Cause
	}{
		{"the platform keyring may have signed the kernel", "appraise func=KEXEC_KERNEL_CHECK appraise_algos=sha512",
			func(k *Kernel, f *File) { k.Platform, f.IMA = anyKeys{}, strange }, match.KexecKernel, Denied, []Cause{InvalidSignature, DeniedAlgorithm}},
		{"without the algorithms", "appraise func=KEXEC_KERNEL_CHECK",
			func(k *Kernel, f *File) { k.Platform, f.IMA = anyKeys{}, strange }, match.KexecKernel, Undecided, []Cause{InvalidSignature}},
		{"no module is checked by the platform keyring", "appraise func=MODULE_CHECK appraise_algos=sha512",
			func(k *Kernel, f *File) { k.Platform, f.IMA = anyKeys{}, strange }, match.Module, Denied, []Cause{InvalidSignature}},
		{"keys not known, and an algorithm", "appraise appraise_algos=sha512", func(k *Kernel, f *File) { k.Keys, f.IMA = nil, sigV2 }, match.Read,
			Denied, []Cause{InvalidSignature, DeniedAlgorithm}},
		{"EVM before IMA", "appraise", func(k *Kernel, f *File) {
			k.EVM.HMAC, f.IMA = true, badHash
			f.EVM = append([]byte{2}, make([]byte, 20)...)
		}, match.Read, Denied, []Cause{InvalidHMAC, InvalidHash}},
		{"EVM alone", "appraise", func(k *Kernel, f *File) {
			k.EVM.HMAC = true
			f.EVM = append([]byte{2}, make([]byte, 20)...)
		}, match.Read, Undecided, []Cause{InvalidHMAC}},
		{"a portable signature", "appraise", func(k *Kernel, f *File) {
			k.EVM.X509, k.EVM.Keys = true, nil
			f.EVM = evmLabel(imaevm.TypePortable, 2, evmKey, f)
		}, match.Read, Undecided, []Cause{InvalidImmutable}},
		{"and writing", "appraise", func(k *Kernel, f *File) {
			k.EVM.X509, k.EVM.Keys = true, nil
			f.EVM = evmLabel(imaevm.TypePortable, 2, evmKey, f)
		}, match.Write, Denied, []Cause{InvalidImmutable, ""}},
		{"one access, then the next", "appraise func=FILE_CHECK;appraise func=BPRM_CHECK appraise_type=sigv3",
			func(k *Kernel, f *File) { k.Keys, f.IMA = nil, sigV2 }, match.Exec, Denied, []Cause{InvalidSignature, SigV3Required}},
		{"FUSE", "appraise", func(_ *Kernel, f *File) { f.Magic, f.IMA = match.Is[uint32](policy.MagicFUSE), badHash }, match.Read,
			Denied, []Cause{InvalidHash, Unverifiable}},
	} {
		k, f := kernel(7, 2), file(hashed)
		c.change(k, f)
		j := k.Judge(parse(t, c.policy), f, c.op, match.Root())
		want := Verdict{Status: c.status, Causes: c.causes}
		if got := (Verdict{Status: j.Status, Causes: j.Causes}); !same(got, want) {
			t.Errorf("%s: %+v, want %+v", c.name, j.Verdict, want)
		}
		if len(j.Causes) != 1 && (j.Cause() != "" || j.Reasons == nil) {
			t.Errorf("%s: cause %q, reasons %v", c.name, j.Cause(), j.Reasons)
		}
	}
}
