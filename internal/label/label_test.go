package label_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/undo"
	"imaseal/internal/verify"
	"imaseal/keys"
	"imaseal/sign"
)

// hashes returns the job that gives every file a hash.
func hashes() *label.Labeller {
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}
}

// A countedKey counts what a private key does, and fails from the failAt-th
// time on.
type countedKey struct {
	sign.Signer
	n      atomic.Int64
	failAt int64
}

var errKey = errors.New("the token was pulled out")

func (k *countedKey) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	if n := k.n.Add(1); k.failAt > 0 && n >= k.failAt {
		return nil, errKey
	}
	return k.Signer.SignDigest(ctx, d)
}

// protected is an EVM that counts all that a kernel can protect.
func protected() target.EVM {
	e := target.EVM{CountsUUID: policy.False}
	for _, p := range imaevm.Protected() {
		e.Attrs = append(e.Attrs, target.Attr{Name: p.Name, Counts: policy.True})
	}
	return e
}

// newSigner returns a Labeller that signs everything, with portable EVM
// signatures too, and its counted key.
func newSigner(key *keys.Key) (*label.Labeller, *countedKey) {
	counted := &countedKey{Signer: key}
	signing := &label.Key{Signer: sign.NewCache(counted), Own: sign.Only(key), Version: 2}
	return &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: signing,
		EVM: &label.EVM{Covers: protected(), Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}},
	}, counted
}

// openWriter opens a file for writing, so that nobody gets a lease, and returns
// when its times tell of every later change.
func openWriter(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	time.Sleep(40 * time.Millisecond)
	return f
}

// mustHave compares what files have with the labels of their result.
func mustHave(t *testing.T, path string, res report.Result) {
	t.Helper()
	ima, evm := runtest.Label(t, path, imaevm.AttrIMA), runtest.Label(t, path, imaevm.AttrEVM)
	if !tree.Same(ima, res.IMA) || !tree.Same(evm, res.EVM) {
		t.Errorf("%s has %x and %x, and its result %x and %x", filepath.Base(path), ima, evm, res.IMA, res.EVM)
	}
}

// Equal contents are signed once in a run, what is valid not at all, and the
// same tree and key give the same bytes.
func TestSignsOnce(t *testing.T) {
	var spec strings.Builder
	for i := range 30 {
		fmt.Fprintf(&spec, "file %d/f content=%d\n", i, i%3)
	}
	for _, name := range []string{"rsa2048", "p256", "p521"} {
		t.Run(name, func(t *testing.T) {
			root := runtest.Make(t, spec.String())
			key := runtest.Key(t, name)
			s := new(runtest.Spy)
			signer, counted := newSigner(key)
			first := runtest.Run{Job: signer, Jobs: 4, Spy: s}.On(t, root)
			// Three digests of contents, and three of what EVM covers.
			if n := runtest.Count(first, report.Labelled); n != 30 || counted.n.Load() != 6 || s.Sets.Load() != 60 {
				t.Errorf("%d labelled, %d operations, %d writes", n, counted.n.Load(), s.Sets.Load())
			}
			s = new(runtest.Spy)
			signer, counted = newSigner(key)
			again := runtest.Run{Job: signer, Jobs: 4, Spy: s}.On(t, root)
			if n := runtest.Count(again, report.Unchanged); n != 30 || counted.n.Load() != 0 || s.Sets.Load() != 0 {
				t.Errorf("the second time %d unchanged, %d operations, %d writes", n, counted.n.Load(), s.Sets.Load())
			}
			signer, _ = newSigner(key)
			signer.Force = true
			forced := runtest.Run{Job: signer, Jobs: 4}.On(t, root)
			for path, res := range first {
				other := forced[path]
				if !slices.Equal(res.IMA, other.IMA) || !slices.Equal(res.EVM, other.EVM) || other.Outcome != report.Labelled {
					t.Errorf("%s: %x %x, with force %s %x %x", path, res.IMA, res.EVM, other.Outcome, other.IMA, other.EVM)
				}
				if res.Class != "sign" || !res.HasKeyID || res.KeyID != key.KeyID() {
					t.Errorf("%s: class %q, key %v %s", path, res.Class, res.HasKeyID, res.KeyID)
				}
				mustHave(t, filepath.Join(root, path), other)
			}
		})
	}
}

// A label of the own key in another form is none that is asked for.
func TestFormOfSignatures(t *testing.T) {
	path := runtest.Make(t, "file f content=x") + "/f"
	l, counted := signer(t, runtest.Key(t, "p256"))
	for i, set := range []func(){func() {}, func() { l.Key.Version = 3 }, func() { l.Algo = hash.SHA512 }} {
		set()
		for _, want := range []report.Outcome{report.Labelled, report.Unchanged} {
			if res := one(t, l, path); res.Outcome != want || len(res.Warnings) > 0 && want == report.Unchanged {
				t.Errorf("form %d: %s, %v, %v", i, res.Outcome, res.Err, res.Warnings)
			}
		}
		if n := counted.n.Load(); n != int64(2*(i+1)) {
			t.Errorf("form %d: %d operations", i, n)
		}
	}
}

// A key that fails in the middle fails files, and leaves them as they were.
func TestKeyFails(t *testing.T) {
	root := runtest.Make(t, "file a content=a\nfile b content=b\nfile c content=c\nfile d content=d")
	signer, counted := newSigner(runtest.Key(t, "p256"))
	counted.failAt = 4 // the EVM label of the second file, or something after
	found := runtest.Run{Job: signer, Jobs: 4}.On(t, root)
	failed := 0
	for path, res := range found {
		switch res.Outcome {
		case report.Labelled:
		case report.Failed:
			failed++
			if !errors.Is(res.Err, errKey) || res.IMA != nil || res.EVM != nil {
				t.Errorf("%s: %v, %x, %x", path, res.Err, res.IMA, res.EVM)
			}
			if _, err := unix.Getxattr(filepath.Join(root, path), "user.ima", nil); err != unix.ENODATA {
				t.Errorf("%s has a label: %v", path, err)
			}
		default:
			t.Errorf("%s is %s", path, res.Outcome)
		}
	}
	if failed < 2 {
		t.Errorf("%d failed", failed)
	}
}

// A file whose EVM label cannot be written is half labelled, and says so: in
// the error, and in the labels of the result. Undo puts it back.
func TestHalfLabelled(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	s := &runtest.Spy{Before: func(op, name string) error {
		if op == "set" && name == imaevm.AttrEVM {
			return fmt.Errorf("writing %s: %w", name, unix.EPERM)
		}
		return nil
	}}
	signer, _ := newSigner(runtest.Key(t, "p256"))
	logName := filepath.Join(t.TempDir(), "log")
	log, err := undo.Create(logName, undo.Header{Namespace: "user", Command: "sign"})
	if err != nil {
		t.Fatal(err)
	}
	res := runtest.Run{Job: signer, Spy: s, Outer: func(inner tree.Sink) tree.Sink {
		return undo.Logged{Sink: inner, Log: log}
	}}.One(t, name)
	const want = "half labelled: security.ima is written: writing security.evm: operation not permitted"
	if res.Outcome != report.Failed || res.Err.Error() != want {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	if len(res.IMA) == 0 || !slices.Equal(res.IMA, runtest.Label(t, name, imaevm.AttrIMA)) || res.EVM != nil {
		t.Errorf("carries %x and %x", res.IMA, res.EVM)
	}

	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	undone := runtest.Undo(t, logName, root)
	if _, err := unix.Getxattr(name, "user.ima", nil); undone["f"].Outcome != report.Restored || err != unix.ENODATA {
		t.Errorf("undone: %v, %v", undone, err)
	}
}

// A file that is touched when its label has been written is read again, and
// what the first attempt wrote makes it labelled.
func TestTouchedIsLabelled(t *testing.T) {
	name := filepath.Join(runtest.Make(t, "file f content=x"), "f")
	openWriter(t, name) // or a lease would tell that nothing was written
	touched := false
	s := &runtest.Spy{Before: func(op, _ string) error {
		if op != "set" || touched {
			return nil
		}
		touched = true
		return os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour))
	}}
	signer, _ := newSigner(runtest.Key(t, "p256"))
	signer.EVM = nil
	if res := (runtest.Run{Job: signer, Spy: s, Writers: run.Allow}).One(t, name); res.Outcome != report.Labelled || !touched || res.Bytes != 2 {
		t.Errorf("%s %v after %d bytes, touched: %v", res.Outcome, res.Err, res.Bytes, touched)
	}
}

// Promise 3, for EVM: a change of the owner or the mode between looking and
// writing begins anew, too, and the label is that of the last.
func TestPromise3OwnerChanged(t *testing.T) {
	root := runtest.Make(t, "file f content=x mode=0644")
	path := root + "/f"
	key := runtest.Key(t, "p256")
	for what, withEVM := range map[string]bool{"EVM covers the mode": true, "IMA does not": false} {
		t.Run(what, func(t *testing.T) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			signer, _ := newSigner(key)
			signer.Force = true
			imaSets := 0
			if !withEVM {
				signer.EVM = nil
				runtest.RemoveLabel(t, path, imaevm.AttrEVM)
			}
			s := &runtest.Spy{Before: func(op, name string) error {
				if op == "set" && name == imaevm.AttrIMA {
					if imaSets++; imaSets == 1 {
						return os.Chmod(path, 0o755)
					}
				}
				return nil
			}}
			res := runtest.Run{Job: signer, Spy: s}.One(t, path)
			wantSets := map[bool]int{true: 2, false: 1}[withEVM]
			if res.Outcome != report.Labelled || imaSets != wantSets {
				t.Errorf("%s, %v after %d attempts", res.Outcome, res.Err, imaSets)
			}
			checker := &verify.Verifier{Keys: sign.Only(key), Covers: protected(), NeedEVM: withEVM}
			if res := (runtest.Run{Job: checker, ReadOnly: true}).One(t, path); res.Outcome != report.Valid {
				t.Errorf("%s, %s", res.Outcome, res.Reason)
			}
		})
	}
}

// A security module lists an attribute that is not stored: it does not count.
// One that cannot be read is a failure, not an attribute that is not there.
func TestListedAttributes(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	key := runtest.Key(t, "p256")
	plain, _ := newSigner(key)
	want := runtest.Run{Job: plain}.One(t, name)

	listed := &runtest.Spy{List: func(names []string) []string { return append(names, "security.selinux") }}
	signer, _ := newSigner(key)
	if res := (runtest.Run{Job: signer, Spy: listed}).One(t, name); res.Outcome != report.Unchanged || !slices.Equal(res.EVM, want.EVM) {
		t.Errorf("listed and absent: %s %v", res.Outcome, res.Err)
	}
	runtest.SetLabel(t, name, "security.selinux", []byte("system_u:object_r:bin_t:s0\x00"))
	if res := (runtest.Run{Job: signer, Spy: listed}).One(t, name); res.Outcome != report.Labelled {
		t.Errorf("with a value: %s %v", res.Outcome, res.Err)
	}
	listed.Before = func(op, name string) error {
		if op == "get" && name == "security.selinux" {
			return unix.EOPNOTSUPP
		}
		return nil
	}
	signer, _ = newSigner(key)
	if res := (runtest.Run{Job: signer, Spy: listed}).One(t, name); res.Outcome != report.Failed || !errors.Is(res.Err, unix.EOPNOTSUPP) {
		t.Errorf("not to be read: %s %v", res.Outcome, res.Err)
	}
}

// An empty label is none: it is replaced, whatever the class.
func TestEmptyLabels(t *testing.T) {
	root := runtest.Make(t, "file f content=x")
	name := filepath.Join(root, "f")
	runtest.SetLabel(t, name, imaevm.AttrIMA, []byte{})
	runtest.SetLabel(t, name, imaevm.AttrEVM, []byte{})
	signer, _ := newSigner(runtest.Key(t, "p256"))
	res := runtest.Run{Job: signer}.One(t, name)
	if res.Outcome != report.Labelled || len(res.IMA) == 0 || len(res.EVM) == 0 {
		t.Errorf("%s %v: %x %x", res.Outcome, res.Err, res.IMA, res.EVM)
	}
	mustHave(t, name, res)
}
