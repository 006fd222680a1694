package label_test

import (
	"errors"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/label"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

func parsed(t *testing.T, text string) *label.Policy {
	t.Helper()
	k := policy.Kernel{Major: 7, Minor: 2}
	p, err := policy.Parse(strings.ReplaceAll(text, ";", "\n"), k)
	if err != nil {
		t.Fatal(err)
	}
	return &label.Policy{Policy: p, Kernel: k}
}

func TestPolicyAlgorithm(t *testing.T) {
	for text, want := range map[string]hash.Algorithm{
		"appraise":                                                    hash.SHA256,
		"appraise appraise_algos=sha1,sha512":                         hash.SHA512,
		"appraise appraise_algos=sha1":                                hash.SHA1,
		"appraise;measure":                                            hash.SHA256,
		"appraise appraise_algos=wp512":                               0,
		"appraise;appraise appraise_algos=sm3":                        hash.SM3,
		"appraise func=SETXATTR_CHECK appraise_algos=sha384;appraise": hash.SHA384,
	} {
		got, err := parsed(t, text).Algorithm()
		var demand *label.DemandError
		if got != want || (want == 0) != errors.As(err, &demand) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	p := parsed(t, "appraise")
	p.Kernel.Digests = func(a hash.Algorithm) policy.Presence {
		if a == hash.SHA1 {
			return policy.BuiltIn
		}
		return policy.Absent
	}
	if got, err := p.Algorithm(); got != hash.SHA1 || err != nil {
		t.Errorf("of a kernel with sha1 only: %s, %v", got, err)
	}
}

func TestPolicyCheckKey(t *testing.T) {
	for text, needs := range map[string]struct{ all, narrowed bool }{
		"measure":                       {},
		"appraise":                      {},
		"appraise appraise_type=imasig": {true, true},
		"appraise appraise_type=imasig;appraise fowner=0":                                                  {true, false},
		"appraise func=MODULE_CHECK appraise_type=imasig|modsig":                                           {},
		"appraise func=SETXATTR_CHECK appraise_algos=sha384;dont_appraise":                                 {},
		"appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig;appraise":                                   {},
		"appraise func=SETXATTR_CHECK appraise_algos=sha384;appraise func=BPRM_CHECK appraise_type=imasig": {true, true},
	} {
		for narrowed, want := range map[bool]bool{false: needs.all, true: needs.narrowed} {
			err := parsed(t, text).CheckKey(narrowed)
			var demand *label.DemandError
			if errors.As(err, &demand) != want || (err != nil) != want {
				t.Errorf("%s, narrowed %v: %v", text, narrowed, err)
			}
		}
	}
	secure, err := builtin.Policy(policy.Kernel{Major: 6, Minor: 12}, "secure_boot")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&label.Policy{Policy: secure}).CheckKey(false); err == nil {
		t.Error("secure_boot needs no key")
	}
}
