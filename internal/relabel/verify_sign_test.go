package relabel

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/sign"
)

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
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	hmac, err := imaevm.NewHMACKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	view := &EVMView{Store: renamed, Counted: []string{"security.ima"}, NoUUID: true}
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
		key := openKey(t, tt.key)
		store := hookedStore{Store: renamed, held: make(map[string][]byte)}
		checker := &Verifier{Store: store, Keys: sign.Only(key), HMAC: hmac, View: view}
		signer, _ := newSigner(t, key, renamed)
		signer.Rules, signer.Force, signer.ReplaceSignatures = plan.Only(tt.class), true, true
		signer.Key.Version = tt.version
		signer.EVM.View, signer.EVM.HMAC = view, hmac
		signer.EVM.Kinds = map[plan.Class]imaevm.Type{tt.class: tt.evm}
		made := one(t, name, signer.Label)
		if made.Err != nil && tt.evm != imaevm.TypePortable {
			t.Logf("%v: %v", tt.evm, made.Err) // no generations here
			continue
		}
		if res := one(t, name, checker.Verify); res.Outcome != report.Valid || made.Outcome != report.Labelled {
			t.Fatalf("%+v: %s %v, then %s %s", tt, made.Outcome, made.Err, res.Outcome, res.Reason)
		}
		for attr, label := range map[string][]byte{imaevm.AttrIMA: made.IMA, imaevm.AttrEVM: made.EVM} {
			flips(label, func(what string, at int, b []byte) {
				store.held[attr] = b
				if res := one(t, name, checker.Verify); res.Outcome == report.Valid || res.Outcome == report.Failed {
					t.Errorf("%+v, %s of %s at %d: %s %v", tt, what, attr, at, res.Outcome, res.Err)
				}
			})
			delete(store.held, attr)
		}
	}
}

// A detached signature is as strict, and says what is wrong with it.
func TestFlippedSigFile(t *testing.T) {
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	key := openKey(t, "p256")
	signer, _ := newSigner(t, key, renamed)
	signer.SigFiles = true
	if res := one(t, name, signer.Label); res.Outcome != report.Labelled {
		t.Fatal(res.Err)
	}
	label := mustRead(t, name+".sig")
	if !bytes.Equal(label, mustGet(t, name, "user.ima")) {
		t.Errorf("%x", label)
	}
	checker := &Verifier{Store: renamed, Keys: sign.Only(key), SigFiles: true}
	if res := one(t, name, checker.Verify); res.Outcome != report.Valid {
		t.Errorf("%s %s", res.Outcome, res.Reason)
	}
	flips(label, func(what string, at int, b []byte) {
		mustWrite(t, name+".sig", b)
		if res := one(t, name, checker.Verify); res.Outcome == report.Valid || res.Outcome == report.Failed {
			t.Errorf("%s at %d: %s %v", what, at, res.Outcome, res.Err)
		}
	})
	mustWrite(t, name+".sig", bytes.Repeat([]byte{3}, maxSigFile+1))
	if res := one(t, name, checker.Verify); res.Outcome != report.Failed {
		t.Errorf("too long: %s", res.Outcome)
	}
}

// Without a key for what is there, a label is neither right nor wrong.
func TestUnverifiable(t *testing.T) {
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	p256, p384 := openKey(t, "p256"), openKey(t, "p384")
	signer, _ := newSigner(t, p256, renamed)
	one(t, name, signer.Label)
	ambiguous, err := keys.OpenVerifiers("../../testdata/vectors/keys/p256.cert.der")
	if err != nil {
		t.Fatal(err)
	}
	view := &EVMView{Store: renamed}
	v1 := []byte{3, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 8, 0xff}
	tests := []struct {
		name     string
		ima, evm []byte
		keys     sign.Verifiers
		want     report.Outcome
		reason   string
	}{
		{"all right", nil, nil, ambiguous, report.Valid, ""},
		{"no key", nil, nil, nil, report.Unverifiable, "signature by key 6bca908e, and no key to check it with"},
		{"another key", nil, nil, sign.Only(p384), report.Unverifiable, "no key with id 6bca908e"},
		{"HMAC", nil, append([]byte{2}, make([]byte, 20)...), sign.Only(p256), report.Unverifiable, "security.evm: HMAC, and no HMAC key to check it with"},
		{"unknown EVM label", nil, []byte{0x77}, sign.Only(p256), report.Invalid, "security.evm: unknown label type 0x77"},
		{"hash as EVM label", nil, append([]byte{4, 4}, make([]byte, 32)...), sign.Only(p256), report.Invalid, "security.evm: a label of type hash, which the kernel refuses there"},
		{"portable as IMA label", mustGet(t, name, "user.evm"), nil, sign.Only(p256), report.Invalid, "security.ima holds a label of type portable signature, which the kernel refuses there"},
		{"version 1, another key", v1, nil, sign.Only(p256), report.Unverifiable, "no key with id 0102030405060708"},
		{"version 1, no key", v1, nil, nil, report.Unverifiable, "signature of version 1 by key 0102030405060708, and no key to check it with"},
		{"version 1, unknown digest", slices.Concat(v1[:7], []byte{7}, v1[8:]), nil, ambiguous, report.Unverifiable, "signature of version 1 over a digest of unknown algorithm 7"},
		{"verity", append([]byte{6, 3, 4, 0x6b, 0xca, 0x90, 0x8e, 0, 1}, 0), nil, sign.Only(p256), report.Invalid, "verity signature on a file without fs-verity"},
	}
	ima, evm := mustGet(t, name, "user.ima"), mustGet(t, name, "user.evm")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustSet(t, name, "user.ima", ima)
			mustSet(t, name, "user.evm", evm)
			if tt.ima != nil {
				mustSet(t, name, "user.ima", tt.ima)
			}
			if tt.evm != nil {
				mustSet(t, name, "user.evm", tt.evm)
			}
			c := &Verifier{Store: renamed, Keys: tt.keys, View: view}
			if res := one(t, name, c.Verify); res.Outcome != tt.want || res.Reason != tt.reason {
				t.Errorf("%s, %q", res.Outcome, res.Reason)
			}
		})
	}
}
