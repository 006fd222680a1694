package label_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
	"imaseal/sign"
)

// Valid signatures of trusted keys are kept, in both labels, and no key makes
// others; what is not valid, or not trusted, gives way with a word.
func TestTrust(t *testing.T) {
	p256, p384 := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	trusting := func(l *label.Labeller) { l.Trust = sign.Only(p384) }
	for name, tt := range map[string]struct {
		algo    hash.Algorithm // of the signature in place
		change  func(*label.Labeller)
		content string // when its turn comes
		want    report.Outcome
		code    reason.Code
		warning reason.Code
	}{
		"trusted":                  {hash.SHA256, trusting, "x", report.Kept, reason.TrustedKey, ""},
		"trusted, other algorithm": {hash.SHA512, trusting, "x", report.Kept, reason.TrustedKey, ""},
		"not trusted":              {hash.SHA256, func(*label.Labeller) {}, "x", report.Labelled, "", reason.ReplacedSignature},
		"not valid any more":       {hash.SHA256, trusting, "y", report.Labelled, "", reason.ReplacedSignature},
		"other keys trusted":       {hash.SHA256, func(l *label.Labeller) { l.Trust = sign.Only(p256) }, "x", report.Labelled, "", reason.ReplacedSignature},
		"forced":                   {hash.SHA256, func(l *label.Labeller) { trusting(l); l.Force = true }, "x", report.Labelled, "", reason.ReplacedSignature},
		"to be replaced":           {hash.SHA256, func(l *label.Labeller) { trusting(l); l.ReplaceSignatures = true }, "x", report.Labelled, "", reason.ReplacedSignature},
		"no key, to be replaced": {hash.SHA256, func(l *label.Labeller) {
			trusting(l)
			l.Key, l.EVM, l.ReplaceSignatures = nil, nil, true
		}, "x", report.Kept, reason.TrustedKey, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			other, _ := newSigner(p384)
			other.Algo = tt.algo
			was := runtest.Run{Job: other}.One(t, path)
			runtest.Write(t, path, tt.content)
			l, counted := newSigner(p256)
			tt.change(l)
			res := runtest.Run{Job: l}.One(t, path)
			if res.Outcome != tt.want || res.Code != tt.code || res.Warnings.Code() != tt.warning {
				t.Errorf("%s %s %v, warnings %v", res.Outcome, res.Code, res.Err, res.Warnings)
			}
			key := p256.KeyID()
			if kept := tt.want == report.Kept; kept {
				key = p384.KeyID()
				if !slices.Equal(res.IMA, was.IMA) || counted.n.Load() != 0 {
					t.Errorf("label %x, was %x, %d operations", res.IMA, was.IMA, counted.n.Load())
				}
			}
			if res.KeyID != key || !res.HasKeyID {
				t.Errorf("key %s, want %s", res.KeyID, key)
			}
			if l.EVM == nil {
				return
			}
			mustHave(t, path, res)
			checker := &verify.Verifier{Keys: sign.Only(map[bool]sign.Verifier{true: p384, false: p256}[key == p384.KeyID()]), Covers: protected(), NeedEVM: true}
			if res := (runtest.Run{Job: checker, ReadOnly: true}).One(t, path); res.Outcome != report.Valid {
				t.Errorf("%s, %s", res.Outcome, res.Reason)
			}
		})
	}
}

// Where a policy demands signatures and there is no key, trusted ones do.
func TestTrustWithoutKey(t *testing.T) {
	p256, p384 := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	root := runtest.Make(t, "file trusted content=x\nfile other content=x\nfile stale content=x\nfile unsigned content=x")
	for name, key := range map[string]sign.Signer{"trusted": p384, "other": p256, "stale": p384} {
		l, _ := newSigner(p384)
		l.EVM, l.Key.Signer = nil, key
		runtest.Run{Job: l}.One(t, filepath.Join(root, name))
	}
	runtest.Write(t, root+"/stale", "y")
	l := hashes()
	l.Trust = sign.Only(p384)
	l.Policy = parsed(t, "appraise appraise_type=imasig")
	results := runtest.Run{Job: l}.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"trusted": "kept", "other": "failed", "stale": "failed", "unsigned": "failed"})
	for name, res := range results {
		var demand *label.DemandError
		if name != "trusted" && (!errors.As(res.Err, &demand) || demand.Code != reason.NeedsKey) {
			t.Errorf("%s: %v", name, res.Err)
		}
	}
	if res := results["unsigned"]; res.Bytes != 0 {
		t.Errorf("%d bytes are read of a file that only a key would help", res.Bytes)
	}
	if res := results["trusted"]; res.Code != reason.TrustedKey || res.Class != string(plan.Sign) {
		t.Errorf("%+v", res)
	}
}

// An EVM label that does not fit beside an IMA label that does is mended, and
// said; one of another key is not called so, nor one that the run makes anew.
func TestMendedEVM(t *testing.T) {
	p256, p384 := runtest.Key(t, "p256"), runtest.Key(t, "p384")
	hmac, err := imaevm.NewHMACKey(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	signer := func() *label.Labeller {
		l, _ := newSigner(p256)
		return l
	}
	hmacs := func() *label.Labeller {
		l := hashes()
		l.EVM = &label.EVM{Covers: protected(), HMAC: hmac, Kinds: map[plan.Class]imaevm.Type{plan.Hash: imaevm.TypeHMAC}}
		return l
	}
	chmod := func(t *testing.T, path string) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		job    func() *label.Labeller
		change func(t *testing.T, path string)
		want   report.Outcome
		mended bool
	}{
		"signature":           {signer, chmod, report.Labelled, true},
		"HMAC":                {hmacs, chmod, report.Labelled, true},
		"nothing":             {hmacs, func(*testing.T, string) {}, report.Unchanged, false},
		"new content":         {hmacs, func(t *testing.T, path string) { runtest.Write(t, path, "y") }, report.Labelled, false},
		"no label":            {signer, func(t *testing.T, path string) { runtest.RemoveLabel(t, path, imaevm.AttrEVM) }, report.Labelled, false},
		"of another kind":     {hmacs, func(t *testing.T, path string) { runtest.SetLabel(t, path, imaevm.AttrEVM, []byte{3}) }, report.Labelled, false},
		"broken, of the kind": {hmacs, func(t *testing.T, path string) { runtest.SetLabel(t, path, imaevm.AttrEVM, []byte{2}) }, report.Labelled, true},
		"of another key": {signer, func(t *testing.T, path string) {
			right := runtest.Label(t, path, imaevm.AttrIMA)
			other, _ := newSigner(p384)
			runtest.Run{Job: other}.One(t, path)
			runtest.SetLabel(t, path, imaevm.AttrIMA, right)
		}, report.Labelled, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x mode=0644") + "/f"
			if res := (runtest.Run{Job: tt.job()}).One(t, path); res.Outcome != report.Labelled || len(res.Warnings) > 0 {
				t.Fatalf("%s, %v, %v", res.Outcome, res.Err, res.Warnings)
			}
			tt.change(t, path)
			res := runtest.Run{Job: tt.job()}.One(t, path)
			if res.Outcome != tt.want || res.Warnings.Has(reason.MendedEVM) != tt.mended || len(res.Warnings) > 1 {
				t.Errorf("%s, %v, %v", res.Outcome, res.Err, res.Warnings)
			}
			mustHave(t, path, res)
			checker := &verify.Verifier{Keys: sign.Only(p256), HMAC: hmac, Covers: protected(), NeedEVM: true}
			if res := (runtest.Run{Job: checker, ReadOnly: true}).One(t, path); res.Outcome != report.Valid {
				t.Errorf("%s, %s", res.Outcome, res.Reason)
			}
		})
	}
}

// What stands in the place of a detached signature and is none fails the file
// before any of its labels is written.
func TestForeignSigFile(t *testing.T) {
	for name, tt := range map[string]struct {
		beside string // what is there
		err    string
		force  report.Outcome
	}{
		"nothing":            {"", "", report.Labelled},
		"a signature":        {"file f.sig content=\x03old", "", report.Labelled},
		"an empty file":      {"file f.sig", "", report.Labelled},
		"of another program": {"file f.sig content=PGP", label.ErrForeignSigFile.Error(), report.Labelled},
		"a link":             {"link f.sig f", "it is not a regular file", report.Labelled},
		"a directory":        {"dir f.sig", "it is not a regular file", report.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			root := runtest.Make(t, "file f content=x")
			treetest.Add(t, root, tt.beside)
			path := filepath.Join(root, "f")
			l, _ := newSigner(runtest.Key(t, "p256"))
			l.SigFiles = true
			s := new(runtest.Spy)
			res := runtest.Run{Job: l, Spy: s}.One(t, path)
			if tt.err != "" {
				if res.Outcome != report.Failed || !strings.HasSuffix(res.Err.Error(), "writing the detached signature: "+tt.err) || s.Sets.Load() != 0 {
					t.Errorf("%s, %v, %d sets", res.Outcome, res.Err, s.Sets.Load())
				}
				runtest.WantLabel(t, path, nil)
				l.Force = true
				res = runtest.Run{Job: l}.One(t, path)
			}
			if res.Outcome != tt.force {
				t.Errorf("%s, %v", res.Outcome, res.Err)
			}
			if tt.force == report.Failed {
				return
			}
			if got, err := os.ReadFile(path + ".sig"); err != nil || !bytes.Equal(got, res.IMA) || len(got) == 0 {
				t.Errorf("%x, %v; the label is %x", got, err, res.IMA)
			}
			// A second run writes nothing, and does not take the signature for a file.
			l.Force = false
			results := runtest.Run{Job: l}.On(t, root)
			runtest.WantOutcomes(t, results, map[string]string{"f": "unchanged", "f.sig": "skipped"})
			if results["f.sig"].Code != reason.SignatureFile {
				t.Errorf("%+v", results["f.sig"])
			}
		})
	}
}
