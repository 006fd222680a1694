package verify_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
)

// checks is the run of a Verifier.
func checks(v *verify.Verifier, s *runtest.Spy) runtest.Run {
	return runtest.Run{Job: v, Spy: s, ReadOnly: true}
}

// hashLabel returns the label of a content by any algorithm.
func hashLabel(t *testing.T, a hash.Algorithm, content string) []byte {
	t.Helper()
	return runtest.HashLabel(t, a, []byte(content))
}

func TestVerify(t *testing.T) {
	treetest.Leaks(t)
	signature, err := imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, KeyID: 0xabcd, Raw: []byte{1}}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	portable := bytes.Clone(signature)
	portable[0] = byte(imaevm.TypePortable)
	good := hashLabel(t, hash.SHA256, "x")
	whirlpool := append([]byte{byte(imaevm.TypeHash), hash.WP512.Number()}, make([]byte, hash.WP512.Size())...)
	const refused = "which the kernel refuses there"
	tests := []struct {
		name    string
		label   []byte
		outcome report.Outcome
		code    reason.Code
		said    string // in the reason
		warning reason.Code
	}{
		{"sha256", good, report.Valid, "", "", ""},
		{"sha512", hashLabel(t, hash.SHA512, "x"), report.Valid, "", "", ""},
		{"sha1", hashLabel(t, hash.SHA1, "x"), report.Valid, "", "", ""},
		{"md5", hashLabel(t, hash.MD5, "x"), report.Valid, "", "", ""},
		{"padded-md5", append(hashLabel(t, hash.MD5, "x"), 0, 0, 0, 0), report.Valid, "", "", ""},
		{"longer", append(bytes.Clone(good), 0), report.Valid, "", "", reason.TrailingBytes},
		{"other", hashLabel(t, hash.SHA256, "y"), report.Invalid, reason.WrongDigest, "the content is sha256:", ""},
		{"none", nil, report.Unlabelled, reason.NoIMA, "no security.ima", ""},
		{"empty", []byte{}, report.Unlabelled, reason.NoIMA, "no security.ima", ""},
		{"short", good[:20], report.Invalid, reason.Malformed, "malformed security.ima", ""},
		{"unknown", []byte{0x77}, report.Invalid, reason.Malformed, "malformed security.ima", ""},
		{"not-computable", whirlpool, report.Unverifiable, reason.NotComputable, "cannot be computed", ""},
		{"signature", signature, report.Unverifiable, reason.NoKey, "by key 0000abcd, and no key", ""},
		{"broken-signature", signature[:9], report.Invalid, reason.Malformed, "malformed security.ima", ""},
		{"portable", portable, report.Invalid, reason.WrongType, refused, ""},
		{"hmac", append([]byte{2}, make([]byte, 20)...), report.Invalid, reason.WrongType, refused, ""},
	}
	root := runtest.Make(t, "")
	for _, tt := range tests {
		treetest.Add(t, root, "file "+tt.name+" content=x")
		if tt.label != nil {
			runtest.SetLabel(t, root+"/"+tt.name, imaevm.AttrIMA, tt.label)
		}
	}
	s := new(runtest.Spy)
	r := checks(new(verify.Verifier), s)
	r.Jobs, r.ReadOnly = 2, false // it has nothing for a sink
	results := r.On(t, root)
	for _, tt := range tests {
		res := results[tt.name]
		if res.Outcome != tt.outcome || res.Code != tt.code || !strings.Contains(res.Reason, tt.said) || (tt.said == "") != (res.Reason == "") ||
			res.Warnings.Code() != tt.warning {
			t.Errorf("%s: %s, %s, reason %q, warning %q", tt.name, res.Outcome, res.Code, res.Reason, res.Warnings)
		}
		if !bytes.Equal(res.IMA, tt.label) {
			t.Errorf("%s: label %x", tt.name, res.IMA)
		}
	}
	if s.Sets.Load()+s.Removes.Load() != 0 {
		t.Error("verify writes")
	}
}

// Any byte of a label that is flipped is found.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	good := hashLabel(t, hash.SHA256, "x")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, bad)
		res := checks(new(verify.Verifier), nil).On(t, root)["f"]
		if res.Outcome == report.Valid || res.Outcome == report.Unlabelled {
			t.Errorf("byte %d flipped: %s", i, res.Outcome)
		}
	}
}

// A verdict is about one state of the file: what an attempt found out before
// the file was changed is forgotten.
func TestVerifyOfChangingFile(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=x")
	path := root + "/f"
	runtest.SetLabel(t, path, imaevm.AttrIMA, append(hashLabel(t, hash.SHA256, "x"), 0))
	w, err := os.OpenFile(path, os.O_RDWR, 0) // whoever writes has no lease in the way
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	time.Sleep(40 * time.Millisecond)
	s := new(runtest.Spy)
	calls := 0
	s.Before = func(op, name string) error {
		if name == imaevm.AttrEVM {
			if calls++; calls == 1 {
				runtest.Overwrite(t, path, "y")
				runtest.SetLabel(t, path, imaevm.AttrIMA, hashLabel(t, hash.SHA256, "y"))
			}
		}
		return nil
	}
	res := checks(new(verify.Verifier), s).On(t, root)["f"]
	if res.Outcome != report.Valid || len(res.Warnings) > 0 || res.Bytes != 2 {
		t.Errorf("%+v", res)
	}
	s.Before = func(op, name string) error {
		runtest.Overwrite(t, path, fmt.Sprint(calls%10))
		calls++
		return nil
	}
	res = checks(new(verify.Verifier), s).On(t, root)["f"]
	if res.Outcome != report.Failed || res.Err != run.ErrChanging {
		t.Errorf("%+v", res)
	}
}
