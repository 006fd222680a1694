package verify_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/verify"
	"imaseal/keys"
	"imaseal/sign"
)

// covers is an EVM without a UUID whose HMACs and inode-bound signatures cover the
// attributes, and whose portable ones cover all that a kernel can protect.
func covers(counted ...string) target.EVM {
	e := target.EVM{CountsUUID: policy.False}
	for _, p := range imaevm.Protected() {
		counts := policy.False
		for _, name := range counted {
			if p.Name == name {
				counts = policy.True
			}
		}
		e.Attrs = append(e.Attrs, target.Attr{Name: p.Name, Counts: counts})
	}
	return e
}

// newSigner returns a Labeller of files of the class, with EVM labels of the kind.
func newSigner(key *keys.Key, class plan.Class, kind imaevm.Type, evm target.EVM) *label.Labeller {
	return &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(class),
		Key: &label.Key{Signer: key, Own: sign.Only(key), Version: 2},
		EVM: &label.EVM{Covers: evm, Kinds: map[plan.Class]imaevm.Type{class: kind}},
	}
}

// flips calls f with a label whose bytes are flipped one after the other, and
// with it cut short and made longer.
func flips(label []byte, f func(what string, at int, b []byte)) {
	for at := range label {
		for _, bits := range []byte{0x01, 0x80, 0xff} {
			b := bytes.Clone(label)
			b[at] ^= bits
			f("flipped", at, b)
		}
		f("cut", at, label[:at])
	}
	f("made longer", len(label), append(bytes.Clone(label), 0))
}

// No label is valid any more when a byte of it is another, or is missing.
func TestFlippedLabels(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	hmac, err := imaevm.NewHMACKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	evm := covers(imaevm.AttrIMA)
	for _, tt := range []struct {
		key     string
		class   plan.Class
		evm     imaevm.Type
		version uint8
	}{
		{"rsa2048", plan.Sign, imaevm.TypePortable, 2},
		{"p256", plan.Sign, imaevm.TypePortable, 2},
		{"p384", plan.Hash, imaevm.TypeSignature, 3},
		{"p256", plan.Hash, imaevm.TypeHMAC, 2},
	} {
		key := runtest.Key(t, tt.key)
		held := make(map[string][]byte)
		r := checks(&verify.Verifier{Keys: sign.Only(key), HMAC: hmac, Covers: evm}, &runtest.Spy{Held: held})
		signer := newSigner(key, tt.class, tt.evm, evm)
		signer.Force, signer.ReplaceSignatures = true, true
		signer.Key.Version, signer.EVM.HMAC = tt.version, hmac
		made := runtest.Run{Job: signer}.One(t, name)
		if tt.evm != imaevm.TypePortable && isWithoutGenerations(made.Err) {
			t.Logf("%v: %v", tt.evm, made.Err)
			continue
		}
		if res := r.One(t, name); res.Outcome != report.Valid || made.Outcome != report.Labelled {
			t.Fatalf("%+v: %s %v, then %s %s", tt, made.Outcome, made.Err, res.Outcome, res.Reason)
		}
		for attr, label := range map[string][]byte{imaevm.AttrIMA: made.IMA, imaevm.AttrEVM: made.EVM} {
			flips(label, func(what string, at int, b []byte) {
				held[attr] = b
				if res := r.One(t, name); res.Outcome == report.Valid || res.Outcome == report.Failed {
					t.Errorf("%+v, %s of %s at %d: %s %v", tt, what, attr, at, res.Outcome, res.Err)
				}
			})
			delete(held, attr)
		}
	}
}

// isWithoutGenerations reports whether a file system has no generations of inodes.
func isWithoutGenerations(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, errors.ErrUnsupported)
}

// A detached signature is as strict, and says what is wrong with it.
func TestFlippedSigFile(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	key := runtest.Key(t, "p256")
	signer := newSigner(key, plan.Sign, imaevm.TypePortable, covers())
	signer.SigFiles = true
	if res := (runtest.Run{Job: signer}).One(t, name); res.Outcome != report.Labelled {
		t.Fatal(res.Err)
	}
	label, err := os.ReadFile(name + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(label, runtest.Label(t, name, imaevm.AttrIMA)) {
		t.Errorf("%x", label)
	}
	r := checks(&verify.Verifier{Keys: sign.Only(key), SigFiles: true}, nil)
	if res := r.One(t, name); res.Outcome != report.Valid {
		t.Errorf("%s %s", res.Outcome, res.Reason)
	}
	flips(label, func(what string, at int, b []byte) {
		runtest.Write(t, name+".sig", string(b))
		if res := r.One(t, name); res.Outcome == report.Valid || res.Outcome == report.Failed {
			t.Errorf("%s at %d: %s %v", what, at, res.Outcome, res.Err)
		}
	})
	const longest = 64 << 10 // that a label can be
	runtest.Write(t, name+".sig", string(bytes.Repeat([]byte{3}, longest+1)))
	if res := r.One(t, name); res.Outcome != report.Failed {
		t.Errorf("too long: %s", res.Outcome)
	}
	if err := os.Remove(name + ".sig"); err != nil {
		t.Fatal(err)
	}
	if res := r.One(t, name); res.Outcome != report.Unlabelled || res.Code != reason.NoSidecar {
		t.Errorf("none: %s, %s", res.Outcome, res.Code)
	}
}

// Without a key for what is there, a label is neither right nor wrong.
func TestUnverifiable(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	p256, p384 := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	runtest.Run{Job: newSigner(p256, plan.Sign, imaevm.TypePortable, covers())}.One(t, name)
	certificate, err := keys.OpenVerifiers("../../testdata/vectors/keys/p256.cert.der")
	if err != nil {
		t.Fatal(err)
	}
	v1 := []byte{3, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 8, 0xff}
	ima, evm := runtest.Label(t, name, imaevm.AttrIMA), runtest.Label(t, name, imaevm.AttrEVM)
	tests := []struct {
		name     string
		ima, evm []byte
		keys     sign.Verifiers
		want     report.Outcome
		code     reason.Code
		reason   string
	}{
		{"all right", nil, nil, certificate, report.Valid, "", ""},
		{"no key", nil, nil, nil, report.Unverifiable, reason.NoKey, "signature by key 6bca908e, and no key to check it with"},
		{"another key", nil, nil, sign.Only(p384), report.Unverifiable, reason.UnknownKey, "no key with id 6bca908e"},
		{"HMAC", nil, append([]byte{2}, make([]byte, 20)...), sign.Only(p256), report.Unverifiable, reason.NoHMACKey, "security.evm: HMAC, and no HMAC key to check it with"},
		{"unknown EVM label", nil, []byte{0x77}, sign.Only(p256), report.Invalid, reason.Malformed, "security.evm: unknown label type 0x77"},
		{"hash as EVM label", nil, append([]byte{4, 4}, make([]byte, 32)...), sign.Only(p256), report.Invalid, reason.WrongType, "security.evm: a label of type hash, which the kernel refuses there"},
		{"verity signature as EVM label", nil, append([]byte{6, 3, 4, 0x6b, 0xca, 0x90, 0x8e, 0, 1}, 0), sign.Only(p256), report.Invalid, reason.WrongType, "security.evm: a label of type verity signature, which the kernel refuses there"},
		{"portable as IMA label", evm, nil, sign.Only(p256), report.Invalid, reason.WrongType, "security.ima holds a label of type portable signature, which the kernel refuses there"},
		{"version 1, no key", v1, nil, nil, report.Unverifiable, reason.NoKey, "signature of version 1 by key 0102030405060708, and no key to check it with"},
		{"version 1, another key", v1, nil, certificate, report.Unverifiable, reason.UnknownKey, "no key with id 0102030405060708"},
		{"version 1, one other key", v1, nil, sign.Only(p256), report.Unverifiable, reason.UnknownKey, "no key with id 0102030405060708"},
		{"verity", append([]byte{6, 3, 4, 0x6b, 0xca, 0x90, 0x8e, 0, 1}, 0), nil, sign.Only(p256), report.Invalid, reason.NoVerity, "verity signature on a file without fs-verity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runtest.SetLabel(t, name, imaevm.AttrIMA, ima)
			runtest.SetLabel(t, name, imaevm.AttrEVM, evm)
			if tt.ima != nil {
				runtest.SetLabel(t, name, imaevm.AttrIMA, tt.ima)
			}
			if tt.evm != nil {
				runtest.SetLabel(t, name, imaevm.AttrEVM, tt.evm)
			}
			res := checks(&verify.Verifier{Keys: tt.keys, Covers: covers()}, nil).One(t, name)
			if res.Outcome != tt.want || res.Code != tt.code || res.Reason != tt.reason {
				t.Errorf("%s, %s, %q", res.Outcome, res.Code, res.Reason)
			}
		})
	}
}
