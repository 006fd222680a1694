package relabel

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
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/keys"
	"imaseal/sign"
	"imaseal/walk"
)

// renamed keeps security.* as user.*.
// A hookedStore calls its hooks, if it has them, and fails with their errors.
type hookedStore struct {
	attr.Store
	set  func(name string) error
	get  func(name string) error
	held map[string][]byte // instead of what the file has
	list func([]string) []string
}

func (s hookedStore) Set(f attr.File, name string, value []byte) error {
	if s.set != nil {
		if err := s.set(name); err != nil {
			return err
		}
	}
	return s.Store.Set(f, name, value)
}

func (s hookedStore) Get(f attr.File, name string) ([]byte, error) {
	if s.get != nil {
		if err := s.get(name); err != nil {
			return nil, err
		}
	}
	if value, ok := s.held[name]; ok {
		return value, nil
	}
	return s.Store.Get(f, name)
}

func (s hookedStore) List(f attr.File) ([]string, error) {
	names, err := s.Store.List(f)
	if s.list != nil {
		names = s.list(names)
	}
	return names, err
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

func openKey(t testing.TB, name string) *keys.Key {
	t.Helper()
	dir := "../../testdata/vectors/keys/"
	k, err := keys.Open(t.Context(), dir+name+".key.pem", nil, keys.Options{Certificate: dir + name + ".cert.der"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// newSigner returns a Labeller that signs everything, with portable EVM
// signatures too, and its counted key.
func newSigner(t testing.TB, key *keys.Key, store attr.Store) (*Labeller, *countedKey) {
	t.Helper()
	counted := &countedKey{Signer: key}
	signing := &SigningKey{Signer: sign.NewCache(counted), Own: key, Version: 2}
	return &Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: signing, Writer: Writer{Store: store},
		EVM: &EVMLabels{
			View: &EVMView{Store: store}, Algo: hash.SHA256, Key: signing,
			Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable},
		},
	}, counted
}

// count counts the results with an outcome.
func count(results map[string]report.Result, o report.Outcome) (n int) {
	for _, r := range results {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// one runs a job on a file.
func one(t testing.TB, path string, job Job) report.Result {
	t.Helper()
	e := walk.OpenFile(path)
	if e.Err != nil || e.Skip != "" {
		t.Fatalf("%s: %v %s", path, e.Err, e.Skip)
	}
	defer e.File.Close()
	shared := &running{written: make(map[uint64]int)}
	defer shared.close()
	return job(context.Background(), shared.take(), &e)
}

func mustGet(t testing.TB, path, name string) []byte {
	t.Helper()
	value := make([]byte, 4096)
	n, err := unix.Getxattr(path, name, value)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return value[:n]
}

func mustSet(t testing.TB, path, name string, value []byte) {
	t.Helper()
	if err := unix.Setxattr(path, name, value, 0); err != nil {
		t.Fatal(err)
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
			root := tree(t, spec.String())
			key := openKey(t, name)
			var writes atomic.Int64
			store := hookedStore{Store: renamed, set: func(string) error { writes.Add(1); return nil }}
			signer, counted := newSigner(t, key, store)
			first := run(t, signer.Label, 4, root)
			// Three digests of contents, and three of what EVM covers.
			if n := count(first, report.Labelled); n != 30 || counted.n.Load() != 6 || writes.Load() != 60 {
				t.Errorf("%d labelled, %d operations, %d writes", n, counted.n.Load(), writes.Load())
			}
			writes.Store(0)
			signer, counted = newSigner(t, key, store)
			again := run(t, signer.Label, 4, root)
			if n := count(again, report.Unchanged); n != 30 || counted.n.Load() != 0 || writes.Load() != 0 {
				t.Errorf("the second time %d unchanged, %d operations, %d writes", n, counted.n.Load(), writes.Load())
			}
			signer, _ = newSigner(t, key, renamed)
			signer.Force = true
			forced := run(t, signer.Label, 4, root)
			for path, res := range first {
				other := forced[path]
				if !slices.Equal(res.IMA, other.IMA) || !slices.Equal(res.EVM, other.EVM) || other.Outcome != report.Labelled {
					t.Errorf("%s: %x %x, with force %s %x %x", path, res.IMA, res.EVM, other.Outcome, other.IMA, other.EVM)
				}
				if res.Class != "sign" || !res.HasKeyID || res.KeyID != key.KeyID() {
					t.Errorf("%s: class %q, key %v %s", path, res.Class, res.HasKeyID, res.KeyID)
				}
			}
		})
	}
}

// A key that fails in the middle fails files, and leaves them as they were.
func TestKeyFails(t *testing.T) {
	root := tree(t, "file a content=a\nfile b content=b\nfile c content=c\nfile d content=d")
	signer, counted := newSigner(t, openKey(t, "p256"), renamed)
	counted.failAt = 4 // the EVM label of the second file, or something after
	found := run(t, signer.Label, 4, root)
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
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	store := hookedStore{Store: renamed, set: func(name string) error {
		if name == imaevm.AttrEVM {
			return fmt.Errorf("writing %s: %w", name, unix.EPERM)
		}
		return nil
	}}
	signer, _ := newSigner(t, openKey(t, "p256"), store)
	logName := filepath.Join(t.TempDir(), "log")
	log, err := undo.Create(logName, undo.Header{Namespace: "user", Command: "sign"})
	if err != nil {
		t.Fatal(err)
	}
	signer.Writer.Log = log
	res := one(t, name, signer.Label)
	const want = "half labelled: security.ima is written: writing security.evm: operation not permitted"
	if res.Outcome != report.Failed || res.Err.Error() != want {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	if len(res.IMA) == 0 || !slices.Equal(res.IMA, mustGet(t, name, "user.ima")) || res.EVM != nil {
		t.Errorf("carries %x and %x", res.IMA, res.EVM)
	}

	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	undone := undoLog(t, logName, root)
	if _, err := unix.Getxattr(name, "user.ima", nil); undone["f"].Outcome != report.Restored || err != unix.ENODATA {
		t.Errorf("undone: %v, %v", undone, err)
	}
}

// A file that is touched when its label has been written is read again, and
// what the first attempt wrote makes it labelled.
func TestTouchedIsLabelled(t *testing.T) {
	name := filepath.Join(tree(t, "file f content=x"), "f")
	touched := false
	store := hookedStore{Store: renamed, set: func(string) error {
		if touched {
			return nil
		}
		touched = true
		return os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour))
	}}
	signer, _ := newSigner(t, openKey(t, "p256"), store)
	signer.EVM = nil
	if res := one(t, name, signer.Label); res.Outcome != report.Labelled || !touched {
		t.Errorf("%s %v, touched: %v", res.Outcome, res.Err, touched)
	}
}

// A security module lists an attribute that is not stored: it does not count.
// One that cannot be read is a failure, not an attribute that is not there.
func TestListedAttributes(t *testing.T) {
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	key := openKey(t, "p256")
	plain, _ := newSigner(t, key, renamed)
	want := one(t, name, plain.Label)

	listed := hookedStore{Store: renamed, list: func(names []string) []string { return append(names, "security.selinux") }}
	signer, _ := newSigner(t, key, listed)
	if res := one(t, name, signer.Label); res.Outcome != report.Unchanged || !slices.Equal(res.EVM, want.EVM) {
		t.Errorf("listed and absent: %s %v", res.Outcome, res.Err)
	}
	mustSet(t, name, "user.selinux", []byte("system_u:object_r:bin_t:s0\x00"))
	if res := one(t, name, signer.Label); res.Outcome != report.Labelled {
		t.Errorf("with a value: %s %v", res.Outcome, res.Err)
	}
	listed.get = func(name string) error {
		if name == "security.selinux" {
			return unix.EOPNOTSUPP
		}
		return nil
	}
	signer, _ = newSigner(t, key, listed)
	if res := one(t, name, signer.Label); res.Outcome != report.Failed || !errors.Is(res.Err, unix.EOPNOTSUPP) {
		t.Errorf("not to be read: %s %v", res.Outcome, res.Err)
	}
}

// An empty label is none: it is replaced, whatever the class.
func TestEmptyLabels(t *testing.T) {
	root := tree(t, "file f content=x")
	name := filepath.Join(root, "f")
	mustSet(t, name, "user.ima", nil)
	mustSet(t, name, "user.evm", nil)
	signer, _ := newSigner(t, openKey(t, "p256"), renamed)
	if res := one(t, name, signer.Label); res.Outcome != report.Labelled || len(res.IMA) == 0 || len(res.EVM) == 0 {
		t.Errorf("%s %v: %x %x", res.Outcome, res.Err, res.IMA, res.EVM)
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustWrite(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
