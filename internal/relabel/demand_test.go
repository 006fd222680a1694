package relabel

import (
	"errors"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

func parsed(t *testing.T, text string) *Policy {
	t.Helper()
	k := policy.Kernel{Major: 7, Minor: 2}
	p, err := policy.Parse(strings.ReplaceAll(text, ";", "\n"), k)
	if err != nil {
		t.Fatal(err)
	}
	return &Policy{Policy: p, Kernel: k}
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
		var demand *DemandError
		if got != want || (want == 0) != errors.As(err, &demand) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	p := parsed(t, "appraise")
	p.Kernel.Hashes = func(a hash.Algorithm) policy.Truth { return policy.Of(a == hash.SHA1) }
	if got, err := p.Algorithm(); got != hash.SHA1 || err != nil {
		t.Errorf("of a kernel with sha1 only: %s, %v", got, err)
	}
}

func TestPolicyCheckKey(t *testing.T) {
	for text, needs := range map[string]bool{
		"measure":                       false,
		"appraise":                      false,
		"appraise appraise_type=imasig": true,
		"appraise appraise_type=imasig;appraise fowner=0":                  false,
		"appraise func=MODULE_CHECK appraise_type=imasig|modsig":           false,
		"appraise func=SETXATTR_CHECK appraise_algos=sha384;dont_appraise": false,
	} {
		if err := parsed(t, text).CheckKey(); (err != nil) != needs {
			t.Errorf("%s: %v", text, err)
		}
	}
	secure, err := builtin.Policy(policy.Kernel{Major: 6, Minor: 12}, "secure_boot")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Policy{Policy: secure}).CheckKey(); err == nil {
		t.Error("secure_boot needs no key")
	}
}
