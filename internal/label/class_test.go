package label_test

import (
	"errors"
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/sign"
)

// What a policy makes of a file: skipped, hashed, signed, or refused with a code
// by which there is advice.
func TestPolicyClasses(t *testing.T) {
	key := runtest.Key(t, "p256")
	withKey := &label.Key{Signer: key, Own: key, Version: 2}
	tests := []struct {
		name, policy string
		set          func(*label.Labeller)
		outcome      report.Outcome
		code         reason.Code // of the outcome, or of a *label.DemandError
		class        plan.Class
	}{
		{"not appraised", "appraise fowner=4294967294", nil, report.Skipped, reason.NotAppraised, ""},
		{"appraised", "appraise", nil, report.Labelled, "", plan.Hash},
		{"skipped by a rule", "appraise", func(l *label.Labeller) { l.Rules = plan.Only(plan.Skip) }, report.Skipped, reason.ByRule, ""},
		{"signature, no key", "appraise appraise_type=imasig", nil, report.Failed, reason.NeedsKey, ""},
		{"signature", "appraise appraise_type=imasig", func(l *label.Labeller) { l.Key = withKey }, report.Labelled, "", plan.Sign},
		{"version 3", "appraise appraise_type=sigv3", func(l *label.Labeller) { l.Key = withKey }, report.Failed, reason.NeedsVersion3, ""},
		{"version 3, and given", "appraise appraise_type=sigv3", func(l *label.Labeller) { l.Key = &label.Key{Signer: key, Own: key, Version: 3} }, report.Labelled, "", plan.Sign},
		{"fs-verity", "appraise digest_type=verity appraise_type=sigv3", func(l *label.Labeller) { l.Key = withKey }, report.Failed, reason.NeedsVerity, ""},
		{"fs-verity and content", "appraise func=FILE_CHECK mask=MAY_READ digest_type=verity appraise_type=sigv3;appraise", nil, report.Failed, reason.NoLabelFulfils, ""},
		{"another algorithm", "appraise appraise_algos=sha512", nil, report.Failed, reason.DeniedAlgorithm, ""},
		{"that algorithm", "appraise appraise_algos=sha512,sha256", nil, report.Labelled, "", plan.Hash},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			l := hashes()
			l.Policy = parsed(t, tt.policy)
			if tt.set != nil {
				tt.set(l)
			}
			res := one(t, l, path)
			code := res.Code
			var demand *label.DemandError
			if errors.As(res.Err, &demand) {
				code = demand.Code
				if demand.Advice == "" || demand.Error() == "" {
					t.Errorf("%+v", demand)
				}
			}
			if res.Outcome != tt.outcome || code != tt.code || res.Class != string(tt.class) {
				t.Errorf("%s, code %q, class %q, %v", res.Outcome, code, res.Class, res.Err)
			}
			if (runtest.Label(t, path, imaevm.AttrIMA) != nil) != (tt.outcome == report.Labelled) {
				t.Error("a file that fails has a label, or one that is labelled has none")
			}
		})
	}
}

// Under a policy that demands signatures, a file that somebody trusted has signed
// is as it should be without a key; one that is not signed, or not any more, is
// refused.
func TestPolicyTakesTrusted(t *testing.T) {
	key := runtest.Key(t, "p384")
	root := runtest.Make(t, "file signed content=x\nfile changed content=x\nfile hashed content=x\nfile none content=x")
	theirs, _ := signer(t, key)
	for _, name := range []string{"signed", "changed"} {
		one(t, theirs, root+"/"+name)
	}
	one(t, hashes(), root+"/hashed")
	runtest.Write(t, root+"/changed", "y")
	l := hashes()
	l.Policy, l.Trust = parsed(t, "appraise appraise_type=imasig"), sign.Only(key)
	results := runtest.Run{Job: l}.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"signed": "kept", "changed": "failed", "hashed": "failed", "none": "failed"})
	if res := results["signed"]; res.Code != reason.TrustedKey || res.KeyID != key.KeyID() {
		t.Errorf("%+v", res)
	}
	for _, name := range []string{"changed", "hashed", "none"} {
		var demand *label.DemandError
		if err := results[name].Err; !errors.As(err, &demand) || demand.Code != reason.NeedsKey {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A module with a signature of its own needs none of IMA where the rule takes
// that.
func TestPolicyTakesModuleSignatures(t *testing.T) {
	root := runtest.Make(t, `file lib/modules/a.ko content="module~Module signature appended~\n"`+"\nfile lib/modules/b.ko content=module")
	l := hashes()
	l.Policy = parsed(t, "appraise func=MODULE_CHECK appraise_type=imasig|modsig")
	results := runtest.Run{Job: l}.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"lib/modules/a.ko": "labelled", "lib/modules/b.ko": "failed"})
	var demand *label.DemandError
	if err := results["lib/modules/b.ko"].Err; !errors.As(err, &demand) || demand.Code != reason.NeedsKey {
		t.Errorf("%v", err)
	}
}
