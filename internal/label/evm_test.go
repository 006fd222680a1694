package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// codes returns the codes of the warnings.
func codes(res report.Result) string {
	var all []reason.Code
	for _, n := range res.Warnings {
		all = append(all, n.Code)
	}
	return fmt.Sprint(all)
}

// hmacKey is one of EVM's.
func hmacKey(t *testing.T) *imaevm.HMACKey {
	t.Helper()
	k, err := imaevm.NewHMACKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Promise 12: a new IMA label does not leave an EVM label that it makes wrong,
// unless that is told to.
func TestPromise12StaleEVM(t *testing.T) {
	portable := func(t *testing.T, path string) []byte {
		l, _ := signer(t, runtest.Key(t, "p256"))
		runtest.Write(t, path, "before")
		if res := one(t, l, path); res.Outcome != report.Labelled {
			t.Fatal(res.Err)
		}
		runtest.Write(t, path, "x")
		return evmOf(t, path)
	}
	hmac := func(t *testing.T, path string) []byte {
		runtest.SetLabel(t, path, imaevm.AttrEVM, append([]byte{byte(imaevm.TypeHMAC)}, make([]byte, 20)...))
		return evmOf(t, path)
	}
	unknown := func(t *testing.T, path string) []byte {
		runtest.SetLabel(t, path, imaevm.AttrEVM, []byte{0x77, 1})
		return evmOf(t, path)
	}
	tests := []struct {
		name  string
		stale label.Stale
		evm   func(*testing.T, string) []byte
		fails bool
		warns string
	}{
		{"portable", label.RefuseStale, portable, true, "[]"},
		{"portable, and a kernel with an HMAC key", label.RenewedByKernel, portable, true, "[]"},
		{"portable, left", label.LeaveStale, portable, false, "[stale-evm replaced-signature]"},
		{"HMAC", label.RefuseStale, hmac, true, "[]"},
		{"HMAC, and a kernel with an HMAC key", label.RenewedByKernel, hmac, false, "[]"},
		{"HMAC, left", label.LeaveStale, hmac, false, "[stale-evm]"},
		{"unknown", label.RefuseStale, unknown, true, "[]"},
		{"unknown, left", label.LeaveStale, unknown, false, "[stale-evm]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			evm := tt.evm(t, path)
			before := runtest.Label(t, path, imaevm.AttrIMA)
			l := hashes()
			l.Stale, l.ReplaceSignatures = tt.stale, true
			res := one(t, l, path)
			if errors.Is(res.Err, label.ErrStaleEVM) != tt.fails || (res.Outcome == report.Labelled) == tt.fails || codes(res) != tt.warns {
				t.Errorf("%s, %v, %v", res.Outcome, res.Err, res.Warnings)
			}
			if !bytes.Equal(res.EVM, evm) || !bytes.Equal(evmOf(t, path), evm) {
				t.Errorf("EVM label %x, in the result %x", evmOf(t, path), res.EVM)
			}
			if tt.fails {
				runtest.WantLabel(t, path, before)
			} else {
				runtest.WantLabel(t, path, runtest.Right(t, "x"))
			}
			// Where nothing is written nothing becomes wrong.
			runtest.SetLabel(t, path, imaevm.AttrIMA, runtest.Right(t, "x"))
			if res := one(t, l, path); res.Outcome != report.Unchanged || codes(res) != "[]" {
				t.Errorf("%s, %v, %v", res.Outcome, res.Err, res.Warnings)
			}
			// Nor where EVM gets a label of its own.
			both, _ := signer(t, runtest.Key(t, "p384"))
			both.Force = true
			if res := one(t, both, path); res.Outcome != report.Labelled {
				t.Errorf("%s, %v", res.Outcome, res.Err)
			}
		})
	}
}

// Promise 11: a valid signature of a trusted key is kept; of others that is said
// which are replaced.
func TestPromise11ForeignSignatures(t *testing.T) {
	own, other := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	trust := sign.Only(other)
	tests := []struct {
		name     string
		set      func(*label.Labeller)
		breaks   bool // the content, after the other key has signed
		outcome  report.Outcome
		code     reason.Code
		warnings string
		needsKey bool
	}{
		{name: "not trusted", set: func(*label.Labeller) {}, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "trusted", set: func(l *label.Labeller) { l.Trust = trust }, outcome: report.Kept, code: reason.TrustedKey, warnings: "[]"},
		{name: "trusted, and wrong", set: func(l *label.Labeller) { l.Trust = trust }, breaks: true, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "trusted, and replaced all the same", set: func(l *label.Labeller) { l.Trust, l.ReplaceSignatures = trust, true }, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "trusted, and forced", set: func(l *label.Labeller) { l.Trust, l.Force = trust, true }, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "another is trusted", set: func(l *label.Labeller) { l.Trust = sign.Only(runtest.Key(t, "p521")) }, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "by another digest", set: func(l *label.Labeller) { l.Trust, l.Algo = trust, hash.SHA512 }, outcome: report.Kept, code: reason.TrustedKey, warnings: "[]"},
		{name: "by another digest, and wrong", set: func(l *label.Labeller) { l.Trust, l.Algo = trust, hash.SHA512 }, breaks: true, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
		{name: "no key, trusted", set: func(l *label.Labeller) { l.Key, l.EVM, l.Trust = nil, nil, trust }, outcome: report.Kept, code: reason.TrustedKey, warnings: "[]"},
		{name: "no key, trusted and forced", set: func(l *label.Labeller) { l.Key, l.EVM, l.Trust, l.Force = nil, nil, trust, true }, outcome: report.Kept, code: reason.TrustedKey, warnings: "[]"},
		{name: "no key, trusted and wrong", set: func(l *label.Labeller) { l.Key, l.EVM, l.Trust = nil, nil, trust }, breaks: true, outcome: report.Failed, needsKey: true, warnings: "[]"},
		{name: "no key, in a keyring", set: func(l *label.Labeller) { l.Key, l.EVM, l.Trust = nil, nil, keyring{other.KeyID()} }, outcome: report.Kept, code: reason.TrustedKey, warnings: "[]"},
		{name: "a key, and another in a keyring", set: func(l *label.Labeller) { l.Trust = keyring{other.KeyID()} }, outcome: report.Labelled, warnings: "[replaced-signature replaced-signature]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			theirs, _ := signer(t, other)
			if res := one(t, theirs, path); res.Outcome != report.Labelled {
				t.Fatal(res.Err)
			}
			if tt.breaks {
				runtest.Write(t, path, "y")
			}
			before, beforeEVM := runtest.Label(t, path, imaevm.AttrIMA), evmOf(t, path)
			l, counted := signer(t, own)
			tt.set(l)
			res := one(t, l, path)
			if res.Outcome != tt.outcome || res.Code != tt.code || codes(res) != tt.warnings {
				t.Errorf("%s (%s), %v, %v", res.Outcome, res.Code, res.Err, res.Warnings)
			}
			var demand *label.DemandError
			if needs := errors.As(res.Err, &demand) && demand.Code == reason.NeedsKey; needs != tt.needsKey {
				t.Errorf("%v", res.Err)
			}
			kept := tt.outcome != report.Labelled
			if same := tree.Same(runtest.Label(t, path, imaevm.AttrIMA), before) && tree.Same(evmOf(t, path), beforeEVM); same != kept {
				t.Errorf("kept: %v", same)
			}
			if kept && counted.n.Load() != 0 {
				t.Errorf("%d operations of the key", counted.n.Load())
			}
			if want := map[bool]imaevm.KeyID{true: other.KeyID(), false: own.KeyID()}[kept]; res.Err == nil && (!res.HasKeyID || res.KeyID != want) {
				t.Errorf("key %s, want %s", res.KeyID, want)
			}
		})
	}
}

// A keyring of the kernel says which keys it has, and lets nobody check with
// them.
type keyring struct{ id imaevm.KeyID }

func (k keyring) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	if id != k.id {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return nil, &sign.AmbiguousKeyError{KeyID: id}
}

// What a class gets from EVM, and what is there already.
func TestKindsOfEVM(t *testing.T) {
	own, other := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	evm := func(kinds map[plan.Class]imaevm.Type) *label.EVM {
		return &label.EVM{Covers: covers(t, target.Options{NoUUID: true}), Kinds: kinds, HMAC: hmacKey(t)}
	}
	both := map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable, plan.Hash: imaevm.TypeHMAC}
	labelsOf := func(key *label.Key, class plan.Class, kinds map[plan.Class]imaevm.Type) *label.Labeller {
		return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(class), Key: key, EVM: evm(kinds)}
	}
	ownKey := &label.Key{Signer: own, Own: own, Version: 2}
	otherKey := &label.Key{Signer: other, Own: other, Version: 2}
	portable := map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable, plan.Hash: imaevm.TypePortable}
	hmacs := map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypeHMAC}
	tests := []struct {
		name          string
		before, after *label.Labeller
		changed       bool // the content, in between
		kind          imaevm.Type
		outcome       report.Outcome
		warnings      string
	}{
		{"a hash gets an HMAC", nil, labelsOf(ownKey, plan.Hash, both), false, imaevm.TypeHMAC, report.Labelled, "[]"},
		{"a hash gets a portable signature", nil, labelsOf(ownKey, plan.Hash, portable), false, imaevm.TypePortable, report.Labelled, "[]"},
		{"a signed file gets one", nil, labelsOf(ownKey, plan.Sign, both), false, imaevm.TypePortable, report.Labelled, "[]"},
		{"a class without one", nil, labelsOf(ownKey, plan.Hash, map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}), false, 0, report.Labelled, "[]"},
		{"an HMAC does not replace a signature", labelsOf(ownKey, plan.Hash, portable), labelsOf(ownKey, plan.Hash, both), false, imaevm.TypePortable, report.Kept, "[]"},
		{"nor that of another key", labelsOf(otherKey, plan.Hash, portable), labelsOf(ownKey, plan.Hash, both), false, imaevm.TypePortable, report.Kept, "[]"},
		{"a signature replaces an HMAC", labelsOf(ownKey, plan.Hash, both), labelsOf(ownKey, plan.Hash, portable), false, imaevm.TypePortable, report.Labelled, "[]"},
		{"and that of another key, with a word", labelsOf(otherKey, plan.Hash, portable), labelsOf(ownKey, plan.Hash, portable), false, imaevm.TypePortable, report.Labelled, "[replaced-signature]"},
		{"where the content is another, both are", labelsOf(otherKey, plan.Hash, portable), labelsOf(ownKey, plan.Hash, both), true, imaevm.TypeHMAC, report.Labelled, "[replaced-signature]"},
		{"an HMAC for a signed file", labelsOf(otherKey, plan.Sign, portable), labelsOf(otherKey, plan.Sign, hmacs), false, imaevm.TypeHMAC, report.Labelled, "[]"},
		{"an HMAC that is right", labelsOf(ownKey, plan.Hash, both), labelsOf(ownKey, plan.Hash, both), false, imaevm.TypeHMAC, report.Unchanged, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			if tt.before != nil {
				if res := one(t, tt.before, path); res.Outcome != report.Labelled {
					skipWithoutGeneration(t, res.Err)
					t.Fatal(res.Err)
				}
			}
			if tt.changed {
				runtest.Write(t, path, "y")
			}
			res := one(t, tt.after, path)
			skipWithoutGeneration(t, res.Err)
			if res.Outcome != tt.outcome || codes(res) != tt.warnings {
				t.Errorf("%s, %v, %v", res.Outcome, res.Err, res.Warnings)
			}
			var kind imaevm.Type
			if len(res.EVM) > 0 {
				kind = imaevm.Type(res.EVM[0])
			}
			if kind != tt.kind || !bytes.Equal(res.EVM, evmOf(t, path)) {
				t.Errorf("EVM label %x, in the result %x", evmOf(t, path), res.EVM)
			}
		})
	}
}

// skipWithoutGeneration skips a test of labels that cover the inode, where the
// file system has no generations.
func skipWithoutGeneration(t *testing.T, err error) {
	t.Helper()
	if err != nil && bytes.Contains([]byte(err.Error()), []byte("asking for the inode's generation")) {
		t.Skip(err)
	}
}

// A label in security.evm that does not belong there is left alone, unless force
// is used.
func TestUnknownEVM(t *testing.T) {
	path := runtest.Make(t, "file f content=x") + "/f"
	runtest.SetLabel(t, path, imaevm.AttrEVM, []byte{0x77, 1})
	l, counted := signer(t, runtest.Key(t, "p256"))
	res := one(t, l, path)
	if !errors.Is(res.Err, label.ErrUnknownLabel) || res.Err.Error() != "security.evm has a label of unknown type, which is left alone: type 0x77" {
		t.Errorf("%v", res.Err)
	}
	runtest.WantLabel(t, path, nil)
	if !bytes.Equal(res.EVM, []byte{0x77, 1}) || counted.n.Load() > 1 {
		t.Errorf("%x, %d operations", res.EVM, counted.n.Load())
	}
	l.Force = true
	if res := one(t, l, path); res.Outcome != report.Labelled || evmOf(t, path)[0] != byte(imaevm.TypePortable) {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
}
