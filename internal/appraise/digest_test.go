package appraise

import (
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// TestPresence is about digests that the kernel has as modules, perhaps or not at
// all: IMA has them loaded, if it is not too early, and EVM does not.
func TestPresence(t *testing.T) {
	for _, c := range []struct {
		name     string
		presence policy.Presence
		atBoot   bool
		evm      hash.Algorithm // of a right portable signature; zero for none
		want     Verdict
	}{
		{"built in", policy.BuiltIn, true, 0, allowed()},
		{"a module", policy.Module, false, 0, allowed()},
		{"a module, at boot", policy.Module, true, 0,
			maybe(missing(reason.New(reason.ModularDigest, "denied before the initramfs has loaded the module for sha512")), Failed)},
		{"one or the other", policy.Present, false, 0, allowed()},
		{"one or the other, at boot", policy.Present, true, 0,
			maybe(missing(reason.New(reason.ModularDigest, "not known whether the kernel has sha512 built in; else denied before the initramfs has loaded its module")), Failed)},
		{"not known", policy.UnknownPresence, false, 0, maybe(missing(reason.New(UnknownDigest, "not known whether the kernel has sha512")), Failed)},
		{"absent", policy.Absent, false, 0, denied(Failed, notThere(hash.SHA512))},

		{"EVM with what IMA has loaded", policy.Module, false, hash.SHA512, allowed()},
		{"EVM with another module", policy.Module, false, hash.SHA384,
			maybe(missing(reason.New(UnloadedDigest, "EVM does not load the module for sha384: something else must have done so")), InvalidImmutable)},
		{"EVM, one or the other", policy.Present, false, hash.SHA384,
			maybe(missing(reason.New(UnloadedDigest, "not known whether the kernel has sha384 built in, and EVM loads no module")), InvalidImmutable)},
		{"EVM, not known", policy.UnknownPresence, false, hash.SHA384,
			maybe(reason.List{
				reason.New(UnknownDigest, "not known whether the kernel has sha512"), reason.New(UnknownDigest, "not known whether the kernel has sha384"),
			}, Failed, InvalidImmutable)},
		{"EVM, built in", policy.BuiltIn, true, hash.SHA384, allowed()},
	} {
		k, f := kernel(6, 12), evmFile()
		k.Digests = all(c.presence)
		f.IMA, f.AtBoot = encode(imaevm.NewHash(sum(hash.SHA512, content))), c.atBoot
		if c.evm != 0 {
			k.EVM.X509 = true
			f.EVM = portable(t, f, c.evm)
		}
		if v := k.check(f, readFile, match.Demands{}, false, byDemand); !same(v, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, v, c.want)
		}
	}
}

// portable is a right portable signature over a digest of an algorithm.
func portable(t *testing.T, f *File, a hash.Algorithm) []byte {
	t.Helper()
	attrs, _ := f.covered(true)
	input, err := imaevm.Input(imaevm.TypePortable, attrs, f.Meta, imaevm.Target{})
	if err != nil {
		t.Fatal(err)
	}
	return toySign(imaevm.TypePortable, 2, evmKey, sum(a, string(input)))
}

// narrow is a keyring whose key signs no digests of Streebog, as RSA and ECDSA keys
// do not.
type narrow struct{ toy }

func (n narrow) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	if _, err := n.toy.Verifier(id); err != nil {
		return nil, err
	}
	return n, nil
}

func (n narrow) VerifyDigest(d hash.Digest, sig []byte) error {
	if d.Algorithm() == hash.Streebog256 {
		return &sign.DigestError{Scheme: sign.RSA, Algorithm: d.Algorithm()}
	}
	return n.toy.VerifyDigest(d, sig)
}

// TestNothingToCompute: what the kernel refuses whatever the digest is, of a digest
// that Go cannot compute.
func TestNothingToCompute(t *testing.T) {
	streebog := func(kind imaevm.Type, id imaevm.KeyID) []byte {
		return encode(imaevm.Signature{Kind: kind, Version: 2, Alg: hash.Streebog256, KeyID: id, Raw: []byte("signature")})
	}
	hashOf := func(n int) []byte { return append([]byte{4, hash.Streebog256.Number()}, make([]byte, n)...) }
	for _, c := range []struct {
		name   string
		ima    []byte
		evm    []byte
		has    policy.Presence
		want   Status
		causes []Cause
	}{
		{"EVM's cause before IMA's", badHash, streebog(imaevm.TypePortable, evmKey), policy.Module, Denied, []Cause{InvalidImmutable}},
		{"and before what cannot be computed", hashOf(32), streebog(imaevm.TypePortable, evmKey), policy.BuiltIn, Denied, []Cause{InvalidImmutable}},
		{"but not before what is not collected", hashOf(32), streebog(imaevm.TypePortable, evmKey), policy.Absent, Denied, []Cause{Failed}},
		{"an EVM digest that the kernel lacks", badHash, streebog(imaevm.TypePortable, evmKey), policy.Absent, Denied, []Cause{InvalidImmutable}},
		{"not known whether", badHash, streebog(imaevm.TypePortable, evmKey), policy.UnknownPresence, Denied, []Cause{InvalidImmutable}},
		{"by an unknown key", badHash, streebog(imaevm.TypePortable, 9), policy.BuiltIn, Denied, []Cause{InvalidImmutable}},
		{"bound", badHash, streebog(imaevm.TypeSignature, evmKey), policy.Module, Denied, []Cause{InvalidHMAC}},
		{"a hash", hashOf(32), nil, policy.BuiltIn, Undecided, []Cause{InvalidHash}},
		{"a short hash", hashOf(31), nil, policy.BuiltIn, Denied, []Cause{InvalidHash}},
		{"a signature", streebog(imaevm.TypeSignature, good), nil, policy.BuiltIn, Denied, []Cause{InvalidSignature}},
		{"a signature by an unknown key", streebog(imaevm.TypeSignature, 9), nil, policy.BuiltIn, Denied, []Cause{InvalidSignature}},
		{"a signature, no digest", streebog(imaevm.TypeSignature, good), nil, policy.Absent, Denied, []Cause{Failed}},
	} {
		k, f := kernel(6, 12), evmFile()
		k.Digests = func(a hash.Algorithm) policy.Presence {
			if a == hash.Streebog256 {
				return c.has
			}
			return policy.BuiltIn
		}
		k.Keys, k.EVM.Keys, k.Platform = narrow{toy{good}}, narrow{toy{evmKey}}, anyKeys{}
		f.IMA, f.EVM, k.EVM.X509 = c.ima, c.evm, c.evm != nil
		v := k.check(f, readFile, match.Demands{}, false, byDemand)
		if got, want := (Verdict{Status: v.Status, Causes: v.Causes}), (Verdict{Status: c.want, Causes: c.causes}); !same(got, want) {
			t.Errorf("%s: %+v, want %+v", c.name, v, want)
		}
	}
}
