package label_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/sign"
)

// A detached signature is written beside the file, whole, and left alone where it
// is right; one that is not imaseal's is a failure before anything is written.
func TestSigFiles(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=x\nfile other content=y\ndir d")
	path := root + "/f"
	l, _ := signer(t, runtest.Key(t, "p256"))
	l.SigFiles = true
	r := runtest.Run{Job: l, Jobs: 2}
	runtest.WantOutcomes(t, r.On(t, root), map[string]string{"f": "labelled", "other": "labelled"})
	beside, err := os.ReadFile(path + ".sig")
	if err != nil || !bytes.Equal(beside, runtest.Label(t, path, imaevm.AttrIMA)) {
		t.Errorf("%x, %v", beside, err)
	}
	results := r.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"f": "unchanged", "other": "unchanged", "f.sig": "skipped", "other.sig": "skipped"})
	if res := results["f.sig"]; res.Code != reason.SignatureFile {
		t.Errorf("%+v", res)
	}
	for what, content := range map[string]string{"torn": "", "another's": string(append([]byte{3, 2}, make([]byte, 30)...))} {
		runtest.Write(t, path+".sig", content)
		if res := one(t, l, path); res.Outcome != report.Labelled {
			t.Errorf("%s: %s, %v", what, res.Outcome, res.Err)
		}
		if b, err := os.ReadFile(path + ".sig"); err != nil || !bytes.Equal(b, beside) {
			t.Errorf("%s: %x, %v", what, b, err)
		}
	}
	dry := runtest.Run{Job: l, Outer: func(tree.Sink) tree.Sink { return tree.DryRun{} }}
	if err := os.Remove(path + ".sig"); err != nil {
		t.Fatal(err)
	}
	if res := dry.One(t, path); res.Outcome != report.Labelled {
		t.Errorf("dry run: %s, %v", res.Outcome, res.Err)
	}
	if _, err := os.Stat(path + ".sig"); err == nil {
		t.Error("a dry run writes")
	}
}

// What is in its place and no signature of files is left alone, and nothing is
// written to the file then, unless force is used.
func TestForeignSigFiles(t *testing.T) {
	for what, tt := range map[string]struct {
		put  func(name string) error
		want error
		text string
	}{
		"of another program": {func(name string) error { return os.WriteFile(name, []byte("-----BEGIN PGP SIGNATURE-----"), 0o644) },
			label.ErrForeignSigFile, "writing the detached signature: a file of that name holds something else, and is left alone"},
		"a link": {func(name string) error { return os.Symlink("f", name) }, nil, "writing the detached signature: it is not a regular file"},
	} {
		t.Run(what, func(t *testing.T) {
			path := runtest.Make(t, "file f content=x") + "/f"
			if err := tt.put(path + ".sig"); err != nil {
				t.Fatal(err)
			}
			l, _ := signer(t, runtest.Key(t, "p256"))
			l.SigFiles = true
			res := one(t, l, path)
			if fmt.Sprint(res.Err) != tt.text || tt.want != nil && !errors.Is(res.Err, tt.want) {
				t.Errorf("%s, %v", res.Outcome, res.Err)
			}
			runtest.WantLabel(t, path, nil)
			if res.IMA != nil || res.EVM != nil || evmOf(t, path) != nil {
				t.Errorf("carries %x and %x", res.IMA, res.EVM)
			}
			l.Force = true
			if res := one(t, l, path); res.Outcome != report.Labelled {
				t.Errorf("with force: %s, %v", res.Outcome, res.Err)
			}
			if b, err := os.ReadFile(path + ".sig"); err != nil || !bytes.Equal(b, runtest.Label(t, path, imaevm.AttrIMA)) {
				t.Errorf("%x, %v", b, err)
			}
		})
	}
}

// A signature that cannot be written beside the file says so, and that the labels
// are there; nothing is left of the attempt.
func TestSigFileFails(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	treetest.Leaks(t)
	root := runtest.Make(t, "file d/f content=x")
	dir := filepath.Join(root, "d")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	key := plainKey{} // the keys of testdata are another user's
	l := &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: &label.Key{Signer: key, Own: sign.Only(key), Version: 2}, SigFiles: true,
		EVM: &label.EVM{Covers: covers(t, target.Options{}), Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}},
	}
	for _, want := range []string{"half labelled: security.evm is written: ", ""} {
		want += "writing the detached signature: permission denied"
		res := one(t, l, dir+"/f")
		if res.Outcome != report.Failed || fmt.Sprint(res.Err) != want || !errors.Is(res.Err, unix.EACCES) {
			t.Errorf("%s, %v; want %s", res.Outcome, res.Err, want)
		}
		if len(res.IMA) == 0 || len(res.EVM) == 0 {
			t.Errorf("carries %x and %x", res.IMA, res.EVM)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// A plainKey makes signatures that anybody could.
type plainKey struct{}

func (plainKey) KeyID() imaevm.KeyID { return 7 }

func (plainKey) SignDigest(_ context.Context, d hash.Digest) ([]byte, error) { return d.Bytes(), nil }

func (plainKey) VerifyDigest(d hash.Digest, sig []byte) error {
	if !bytes.Equal(sig, d.Bytes()) {
		return sign.ErrSignature
	}
	return nil
}

// Only signed files have one, by whatever name they are.
func TestSigFilesOfClasses(t *testing.T) {
	root := runtest.Make(t, "file run mode=0755 content=x\nfile data content=y\nfile .sig content=z\nfile notes.sig content=text")
	l, _ := signer(t, runtest.Key(t, "p256"))
	l.SigFiles, l.Rules = true, plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}
	runtest.WantOutcomes(t, runtest.Run{Job: l}.On(t, root), map[string]string{"run": "labelled", "data": "labelled", ".sig": "labelled", "notes.sig": "labelled"})
	names, err := filepath.Glob(root + "/*.sig")
	if err != nil || strings.Join(names, " ") != root+"/.sig "+root+"/notes.sig "+root+"/run.sig" {
		t.Errorf("%q, %v", names, err)
	}
}
