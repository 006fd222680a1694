package relabel

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
)

// hashLabel returns the label of a content by any algorithm.
func hashLabel(t *testing.T, a hash.Algorithm, content string) []byte {
	t.Helper()
	d, err := hash.Sum(a, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	b, err := imaevm.NewHash(d).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
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
	tests := []struct {
		name    string
		label   []byte
		outcome report.Outcome
		said    string // in the reason
		warning bool
	}{
		{"sha256", good, report.Valid, "", false},
		{"sha512", hashLabel(t, hash.SHA512, "x"), report.Valid, "", false},
		{"sha1", hashLabel(t, hash.SHA1, "x"), report.Valid, "", false},
		{"md5", hashLabel(t, hash.MD5, "x"), report.Valid, "", false},
		{"padded-md5", append(hashLabel(t, hash.MD5, "x"), 0, 0, 0, 0), report.Valid, "", false},
		{"longer", append(bytes.Clone(good), 0), report.Valid, "", true},
		{"other", hashLabel(t, hash.SHA256, "y"), report.Invalid, "the content is sha256:", false},
		{"none", nil, report.Unlabelled, "no security.ima", false},
		{"empty", []byte{}, report.Unlabelled, "no security.ima", false},
		{"short", good[:20], report.Invalid, "malformed security.ima", false},
		{"unknown", []byte{0x77}, report.Invalid, "malformed security.ima", false},
		{"not-computable", whirlpool, report.Unverifiable, "cannot be computed", false},
		{"signature", signature, report.Unverifiable, "by key 0000abcd, and no key", false},
		{"broken-signature", signature[:9], report.Invalid, "malformed security.ima", false},
		{"portable", portable, report.Invalid, "which the kernel refuses there", false},
		{"hmac", append([]byte{2}, make([]byte, 20)...), report.Invalid, "which the kernel refuses there", false},
	}
	root := tree(t, "")
	for _, tt := range tests {
		treetest.Add(t, root, "file "+tt.name+" content=x")
		if tt.label != nil {
			setLabel(t, root+"/"+tt.name, imaevm.AttrIMA, tt.label)
		}
	}
	s := &spy{Store: renamed}
	results := run(t, (&Verifier{Store: s}).Verify, 2, root)
	for _, tt := range tests {
		res := results[tt.name]
		if res.Outcome != tt.outcome || !strings.Contains(res.Reason, tt.said) || (tt.said == "") != (res.Reason == "") || (res.Warning() != "") != tt.warning {
			t.Errorf("%s: %s, reason %q, warning %q", tt.name, res.Outcome, res.Reason, res.Warning())
		}
		if !bytes.Equal(res.IMA, tt.label) {
			t.Errorf("%s: label %x", tt.name, res.IMA)
		}
	}
	if s.sets.Load()+s.removes.Load() != 0 {
		t.Error("verify writes")
	}
}

// Any byte of a label that is flipped is found.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	root := tree(t, "file f content=x")
	good := hashLabel(t, hash.SHA256, "x")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		setLabel(t, root+"/f", imaevm.AttrIMA, bad)
		if res := run(t, (&Verifier{Store: renamed}).Verify, 1, root)["f"]; res.Outcome == report.Valid || res.Outcome == report.Unlabelled {
			t.Errorf("byte %d flipped: %s", i, res.Outcome)
		}
	}
}

// A verdict is about one state of the file: what an attempt found out before
// the file was changed is forgotten.
func TestVerifyOfChangingFile(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file f content=x")
	path := root + "/f"
	setLabel(t, path, imaevm.AttrIMA, append(hashLabel(t, hash.SHA256, "x"), 0))
	time.Sleep(2 * timestampStep)
	s := &spy{Store: renamed}
	calls := 0
	s.before = func(op, name string) error {
		if name == imaevm.AttrEVM {
			if calls++; calls == 1 {
				overwrite(t, path, "y")
				setLabel(t, path, imaevm.AttrIMA, hashLabel(t, hash.SHA256, "y"))
			}
		}
		return nil
	}
	res := run(t, (&Verifier{Store: s}).Verify, 1, root)["f"]
	if res.Outcome != report.Valid || res.Warning() != "" || res.Bytes != 2 {
		t.Errorf("%+v", res)
	}
	s.before = func(op, name string) error {
		overwrite(t, path, fmt.Sprint(calls%10))
		calls++
		return nil
	}
	if res := run(t, (&Verifier{Store: s}).Verify, 1, root)["f"]; res.Outcome != report.Failed || res.Err != ErrChanging {
		t.Errorf("%+v", res)
	}
}

func TestClear(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "file both\nfile ima\nfile evm\nfile none")
	for name, attrs := range map[string]string{"both": "security.ima security.evm", "ima": "security.ima", "evm": "security.evm"} {
		for _, a := range strings.Fields(attrs) {
			setLabel(t, root+"/"+name, a, []byte("label"))
		}
	}
	both := []string{imaevm.AttrIMA, imaevm.AttrEVM}
	dry := attr.DryRun{Store: renamed}
	results := run(t, (&Clearer{Attrs: both, Writer: Writer{Store: dry, DryRun: true}}).Clear, 2, root)
	wantResults(t, results, map[string]string{"both": "cleared", "ima": "cleared", "evm": "cleared", "none": "unchanged"})
	wantLabel(t, root+"/both", []byte("label"))

	results = run(t, (&Clearer{Attrs: both[:1], Writer: Writer{Store: renamed}}).Clear, 2, root)
	wantResults(t, results, map[string]string{"both": "cleared", "ima": "cleared", "evm": "unchanged", "none": "unchanged"})
	s := &spy{Store: renamed}
	for range 2 {
		results = run(t, (&Clearer{Attrs: both, Writer: Writer{Store: s}}).Clear, 2, root)
	}
	wantResults(t, results, map[string]string{"both": "unchanged", "ima": "unchanged", "evm": "unchanged", "none": "unchanged"})
	if s.removes.Load() != 2 {
		t.Errorf("%d removes", s.removes.Load())
	}
	for _, name := range []string{"both", "ima", "evm", "none"} {
		if label(t, root+"/"+name, imaevm.AttrIMA) != nil || label(t, root+"/"+name, imaevm.AttrEVM) != nil {
			t.Errorf("%s has a label", name)
		}
	}
}

// A dry run says what a run would, and writes nothing.
func TestDryRun(t *testing.T) {
	root := tree(t, "file a content=1\nfile b content=2")
	setLabel(t, root+"/b", imaevm.AttrIMA, right(t, []byte("2")))
	s := attr.DryRun{Store: renamed}
	l := labeller(s)
	l.Writer.DryRun = true
	results := run(t, l.Label, 1, root)
	wantResults(t, results, map[string]string{"a": "labelled", "b": "unchanged"})
	if !bytes.Equal(results["a"].IMA, right(t, []byte("1"))) {
		t.Errorf("label %x", results["a"].IMA)
	}
	wantLabel(t, root+"/a", nil)
	// Nor does it where the file is being changed.
	time.Sleep(2 * timestampStep)
	n := 0
	spied := &spy{Store: s, before: func(string, string) error {
		n++
		return os.WriteFile(root+"/a", []byte(fmt.Sprint(n)), 0o644)
	}}
	l = labeller(spied)
	l.Writer.DryRun = true
	if res := run(t, l.Label, 1, root)["a"]; res.Err != ErrChanging {
		t.Errorf("%+v", res)
	}
	wantLabel(t, root+"/a", nil)
}

// A file system without attributes is a failure of each file, not a tree whose
// files have none.
func TestNoAttributes(t *testing.T) {
	root := treetest.Make(t, "file f")
	store := attr.Renamed{Store: attr.FS{}, From: "security.", To: "nonsense."}
	jobs := map[string]Job{
		"label":  labeller(store).Label,
		"verify": (&Verifier{Store: store}).Verify,
		"clear":  (&Clearer{Attrs: []string{imaevm.AttrIMA}, Writer: Writer{Store: store}}).Clear,
	}
	for name, job := range jobs {
		if res := run(t, job, 1, root)["f"]; res.Outcome != report.Failed || !strings.Contains(fmt.Sprint(res.Err), "operation not supported") {
			t.Errorf("%s: %s, %v", name, res.Outcome, res.Err)
		}
	}
}
