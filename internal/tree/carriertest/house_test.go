package carriertest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/appraise"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/judge"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/verify"
	"imaseal/keys/kernelcert"
	"imaseal/sign"
)

// kernel is one with EVM that verifies signatures, and knows the key.
func kernel(t *testing.T, key sign.Verifiers) (*target.Target, target.EVM) {
	t.Helper()
	x509 := target.State{X509: true}
	to, err := target.Open(target.Options{
		Version: "6.12", EVM: &x509, Keys: func(kernelcert.Kernel) sign.Verifiers { return key },
	}, host.Host{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	covers, err := to.EVM()
	if err != nil {
		t.Fatal(err)
	}
	return to, covers
}

// signer signs everything, for IMA and for EVM on any file system.
func signer(t *testing.T, name string) (*label.Labeller, sign.Verifiers, target.EVM) {
	t.Helper()
	key := runtest.Key(t, name)
	_, covers := kernel(t, sign.Only(key))
	return &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: &label.Key{Signer: key, Own: key, Version: 2},
		EVM: &label.EVM{Covers: covers, Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}},
	}, sign.Only(key), covers
}

// judging is what a kernel with appraise_tcb and EVM makes of files on an ext4
// that they are not on yet.
func judging(t *testing.T, keys sign.Verifiers) *judge.Judge {
	t.Helper()
	to, covers := kernel(t, keys)
	rules, err := builtin.Policy(to.Kernel, string(policy.SetAppraiseTCB))
	if err != nil {
		t.Fatal(err)
	}
	return &judge.Judge{
		Policy: rules, Place: inspect.Place{Type: "ext4"}, Covers: covers, Moves: true,
		Kernel: appraise.Kernel{Kernel: to.Kernel, Keys: keys, EVM: appraise.EVM{X509: true, Keys: keys, Target: to.Layout()}},
	}
}

// A carrier that the engine has never heard of is signed, verified and judged:
// nothing but tree.Source, tree.File and tree.Sink is between them.
func TestHouse(t *testing.T) {
	of := makeToy(files())
	before := of.Dump(t)
	labels, keys, covers := signer(t, "p256")
	got, _, err := do(t.Context(), t, of, labels, nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, got, report.Labelled)
	changed := make(map[string][]byte)
	for name, res := range got {
		changed[Attr(name, imaevm.AttrIMA)], changed[Attr(name, imaevm.AttrEVM)] = res.IMA, res.EVM
	}
	wantDump(t, before, of.Dump(t), changed)
	got, _, err = do(t.Context(), t, of, labels, noApply{t}, 3)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, got, report.Unchanged)

	checks := map[report.Outcome]run.Job{
		report.Valid:   &verify.Verifier{Keys: keys, Covers: covers, NeedSignature: true, NeedEVM: true},
		report.Allowed: judging(t, keys),
	}
	for want, job := range checks {
		got, _, err := do(t.Context(), t, of, job, noApply{t}, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, got, want)
	}
}

// What is not as it was when it was signed is found, with the kernel's word for
// it.
func TestHouseNoticesChanges(t *testing.T) {
	const name = "bin/set-id"
	tests := map[string]struct {
		change func(*toyFile)
		cause  appraise.Cause
	}{
		"content":   {func(f *toyFile) { f.content = append(bytes.Clone(f.content), '!') }, appraise.InvalidSignature},
		"owner":     {func(f *toyFile) { f.gid++ }, appraise.InvalidImmutable},
		"mode":      {func(f *toyFile) { f.mode |= 0o4000 }, appraise.InvalidImmutable},
		"attribute": {func(f *toyFile) { f.attrs["security.capability"] = []byte("caps") }, appraise.InvalidImmutable},
		"no EVM":    {func(f *toyFile) { delete(f.attrs, imaevm.AttrEVM) }, appraise.MissingHMAC},
		"no label":  {func(f *toyFile) { clear(f.attrs) }, appraise.MissingHash},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			of := makeToy(files())
			labels, keys, covers := signer(t, "p256")
			if _, _, err := do(t.Context(), t, of, labels, nil, 1); err != nil {
				t.Fatal(err)
			}
			tt.change(of.files[name])
			verdicts, _, err := do(t.Context(), t, of, &verify.Verifier{Keys: keys, Covers: covers, NeedEVM: true}, noApply{t}, 1)
			if err != nil {
				t.Fatal(err)
			}
			judged, _, err := do(t.Context(), t, of, judging(t, keys), noApply{t}, 1)
			if err != nil {
				t.Fatal(err)
			}
			for path, res := range verdicts {
				if bad := res.Outcome != report.Valid; bad != (path == name) {
					t.Errorf("%s is %s: %s", path, res.Outcome, res.Reason)
				}
			}
			for path, res := range judged {
				if path == name && (res.Outcome != report.Denied || !slices.Equal(res.Causes, []string{string(tt.cause)})) || path != name && res.Outcome != report.Allowed {
					t.Errorf("%s is %s: %s, %s", path, res.Outcome, res.Causes, res.Reasons)
				}
			}
		})
	}
}

// Labels that cover an inode cannot be made for files that have none.
func TestHouseHasNoInodes(t *testing.T) {
	for _, kind := range []imaevm.Type{imaevm.TypeHMAC, imaevm.TypeSignature} {
		of := makeToy(files())
		before := of.Dump(t)
		labels, _, _ := signer(t, "p256")
		labels.EVM.Kinds[plan.Sign] = kind
		var err error
		if labels.EVM.HMAC, err = imaevm.NewHMACKey(make([]byte, 32)); err != nil {
			t.Fatal(err)
		}
		got, _, err := do(t.Context(), t, of, labels, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, got, report.Failed)
		for name, res := range got {
			var bound *target.NotBoundError
			if !errors.As(res.Err, &bound) || bound.Kind != kind {
				t.Errorf("%s: %v", name, res.Err)
			}
		}
		wantDump(t, before, of.Dump(t), nil)
	}
}

// The same file gets the same labels, whatever carries it.
func TestHouseAndMountedAgree(t *testing.T) {
	of := makeToy(files())
	root := runtest.Make(t, "")
	for _, f := range files() {
		name := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		runtest.Write(t, name, f.Content)
		if err := os.Chmod(name, os.FileMode(f.Mode)); err != nil {
			t.Fatal(err)
		}
		of.files[f.Name].uid, of.files[f.Name].gid = uint32(os.Getuid()), uint32(os.Getgid())
	}
	labels, _, _ := signer(t, "rsa2048")
	inMemory, _, err := do(t.Context(), t, of, labels, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	onDisk := runtest.Run{Job: labels}.On(t, root)
	for name, res := range inMemory {
		if other := onDisk[name]; !bytes.Equal(res.IMA, other.IMA) || !bytes.Equal(res.EVM, other.EVM) || len(res.EVM) == 0 {
			t.Errorf("%s: %x and %x, on disk %x and %x", name, res.IMA, res.EVM, other.IMA, other.EVM)
		}
	}
	if len(onDisk) != len(inMemory) {
		t.Errorf("%d on disk, %d in memory", len(onDisk), len(inMemory))
	}
}
