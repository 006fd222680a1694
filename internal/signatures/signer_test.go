package signatures

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

var (
	_ Key                = (*keys.Key)(nil)
	_ sign.MessageSigner = (*Signer)(nil)
)

// kinds are keys of the vectors.
var kinds = []string{"rsa2048", "p256"}

func openKey(t testing.TB, kind string) *keys.Key {
	t.Helper()
	b, err := os.ReadFile("../../testdata/vectors/keys/" + kind + ".key.pem")
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.Open(t.Context(), keytest.File(t, b), nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// A counted key counts what it signs.
type counted struct {
	*keys.Key
	n atomic.Int64
}

func (c *counted) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	c.n.Add(1)
	return c.Key.SignDigest(ctx, d)
}

func digest(t testing.TB, text string) hash.Digest {
	t.Helper()
	d, err := hash.Sum(hash.SHA256, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A memory is a Store of which everything can be made up.
type memory struct {
	mu    sync.Mutex
	sigs  map[string][]byte
	calls int
	get   func(ctx context.Context, call int) error // before each Get
	put   func(ctx context.Context, call int) error
}

func (m *memory) Get(ctx context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	m.calls++
	call := m.calls
	m.mu.Unlock()
	if m.get != nil {
		if err := m.get(ctx, call); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sig, ok := m.sigs[name]
	if !ok {
		return nil, ErrNone
	}
	return sig, nil
}

func (m *memory) Put(ctx context.Context, name string, sig []byte) error {
	m.mu.Lock()
	m.calls++
	call := m.calls
	m.mu.Unlock()
	if m.put != nil {
		if err := m.put(ctx, call); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sigs == nil {
		m.sigs = make(map[string][]byte)
	}
	m.sigs[name] = sig
	return nil
}

func (m *memory) Parallel() int { return 4 }
func (m *memory) Close() error  { return nil }

func newSigner(t testing.TB, k Key, s Store, o Options) *Signer {
	t.Helper()
	signer, err := New(t.Context(), k, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestFoundOnce: what was signed once is found by another run, by the name that is
// documented, and the key has nothing to do.
func TestFoundOnce(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			key := &counted{Key: openKey(t, kind)}
			store := new(memory)
			d := digest(t, "x")
			want, err := key.Key.SignDigest(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			for run, s := range []Statistic{{Made: 1, Stored: 1}, {Found: 1}} {
				signer := newSigner(t, key, store, Options{})
				sig, err := signer.SignDigest(t.Context(), d)
				if err != nil || !bytes.Equal(sig, want) {
					t.Fatalf("%x, %v, want %x", sig, err, want)
				}
				if got := signer.Settle(); got != s {
					t.Errorf("run %d: %+v, want %+v", run+1, got, s)
				}
			}
			if key.n.Load() != 1 {
				t.Errorf("the key has signed %d times", key.n.Load())
			}
			print, err := key.Fingerprint()
			if err != nil {
				t.Fatal(err)
			}
			text := hex.EncodeToString(d.Bytes())
			name := "v1/" + hex.EncodeToString(print[:]) + "/sha256/" + text[:3] + "/" + text
			if !bytes.Equal(store.sigs[name], want) || len(store.sigs) != 1 {
				t.Errorf("%s is not there: %v", name, slices.Collect(maps.Keys(store.sigs)))
			}
			public := keytest.Run(t, "openssl", "pkey", "-in", "../../testdata/vectors/keys/"+kind+".key.pem", "-pubout", "-outform", "DER")
			if sha256.Sum256(public) != print {
				t.Errorf("openssl has another fingerprint")
			}
		})
	}
}

// TestMessages: ML-DSA keys, which sign messages, have a store as well.
func TestMessages(t *testing.T) {
	key := openKey(t, "mldsa44")
	store := new(memory)
	d := digest(t, "x")
	for _, want := range []Statistic{{Made: 1, Stored: 1}, {Found: 1}} {
		signer := newSigner(t, key, store, Options{})
		label, err := sign.Label(t.Context(), signer, imaevm.TypeSignature, 3, d)
		if err == nil {
			err = sign.Verify(label, d, key)
		}
		if got := signer.Settle(); err != nil || got != want {
			t.Errorf("%+v, want %+v; %v", got, want, err)
		}
	}
}

// TestLies: whatever a store gives, labels hold signatures of the key over their
// digest, in the form that it makes; and the store has the right one then.
func TestLies(t *testing.T) {
	for _, kind := range kinds {
		key, other := openKey(t, kind), openKey(t, "p384")
		d := digest(t, "x")
		want, err := key.SignDigest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		another, err := key.SignDigest(t.Context(), digest(t, "y"))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := other.SignDigest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		lies := map[string][]byte{
			"empty": {}, "nil": nil, "a page": []byte("<html>404</html>"), "another digest's": another, "another key's": foreign,
			"cut": want[:len(want)-1], "longer": append(slices.Clone(want), 0), "of zeros": make([]byte, len(want)), "large": make([]byte, maxSize),
		}
		for i := range want {
			flipped := slices.Clone(want)
			flipped[i] ^= 0x40
			lies[fmt.Sprint("byte ", i)] = flipped
		}
		if kind == "p256" {
			lies["no DER"] = longForm(t, d, want, key)
		}
		for what, lie := range lies {
			store := new(memory)
			var told []string
			signer := newSigner(t, key, store, Options{Notice: func(tr Trouble, err error) { told = append(told, fmt.Sprint(tr, " ", err)) }})
			store.Put(t.Context(), signer.prefix+nameOf(d), lie)
			sig, err := signer.SignDigest(t.Context(), d)
			if got := signer.Settle(); err != nil || !bytes.Equal(sig, want) || got != (Statistic{Made: 1, Rejected: 1, Stored: 1}) {
				t.Errorf("%s, %s: %+v, %v", kind, what, got, err)
			}
			if len(told) != 1 || !strings.Contains(told[0], "is no signature of the key") {
				t.Errorf("%s, %s: told %q", kind, what, told)
			}
			if !bytes.Equal(store.sigs[signer.prefix+nameOf(d)], want) {
				t.Errorf("%s, %s: the store has %x", kind, what, sig)
			}
		}
	}
}

// longForm returns an ECDSA signature with its outer length in two bytes, which
// kernels take.
func longForm(t *testing.T, d hash.Digest, sig []byte, key *keys.Key) []byte {
	t.Helper()
	long := append([]byte{sig[0], 0x81, sig[1]}, sig[2:]...)
	if err := key.VerifyDigest(d, long); err != nil {
		t.Fatalf("the form that is to be refused verifies nowhere: %v", err)
	}
	return long
}

// TestReadOnly: a dry run stores nothing.
func TestReadOnly(t *testing.T) {
	store := new(memory)
	signer := newSigner(t, openKey(t, "p256"), store, Options{ReadOnly: true})
	if _, err := signer.SignDigest(t.Context(), digest(t, "x")); err != nil {
		t.Fatal(err)
	}
	if got := signer.Settle(); got != (Statistic{Made: 1}) || len(store.sigs) > 0 {
		t.Errorf("%+v, %d stored", got, len(store.sigs))
	}
}

// TestTroubles: a store that is away, slow, or full costs a run a few moments, is told
// once of each kind, and counted; one that comes back is used again.
func TestTroubles(t *testing.T) {
	key := openKey(t, "p256")
	away := errors.New("made up")
	const files = 2000
	for _, c := range []struct {
		name   string
		store  *memory
		told   []string
		most   time.Duration
		counts func(Statistic) bool
	}{
		{"away", &memory{get: failing(away), put: failing(away)}, []string{"0 made up", "2 made up"}, time.Second,
			func(s Statistic) bool {
				return s.Unreachable == files && s.Unstored == files && s.Made == files && s.Stored+s.Found == 0
			}},
		{"fails after 5 s", &memory{get: slowly(5*time.Second, away)}, []string{"0 made up"}, 16 * time.Second,
			func(s Statistic) bool { return s.Unreachable == files && s.Stored == files }},
		{"slow", &memory{get: slowly(4*time.Second, nil)}, []string{"0 it takes 4s to answer"}, 13 * time.Second,
			func(s Statistic) bool { return s.Unreachable == files-3 && s.Stored == files }},
		{"full", &memory{put: failing(away)}, []string{"2 made up"}, time.Second,
			func(s Statistic) bool { return s.Unreachable == 0 && s.Unstored == files }},
		{"fails now and then", &memory{get: sometimes(away)}, []string{"0 made up"}, time.Second,
			func(s Statistic) bool { return s.Unreachable == files/2 && s.Stored == files }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				signer := newSigner(t, key, c.store, Options{Notice: func(tr Trouble, err error) { told = append(told, fmt.Sprint(int(tr), " ", err)) }})
				begin := time.Now()
				for i := range files {
					if _, err := signer.SignDigest(t.Context(), digest(t, fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
				}
				got := signer.Settle()
				slices.Sort(told)
				if took := time.Since(begin); took > c.most || !c.counts(got) || !slices.Equal(told, c.told) {
					t.Errorf("%v, %+v, told %q", took, got, told)
				}
			})
		})
	}
}

func failing(err error) func(context.Context, int) error {
	return func(context.Context, int) error { return err }
}

func slowly(d time.Duration, err error) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func sometimes(err error) func(context.Context, int) error {
	var n atomic.Int64
	return func(context.Context, int) error {
		if n.Add(1)%2 == 0 {
			return err
		}
		return nil
	}
}

// TestComesBack: a store that was left alone is asked again after a while, by one
// call.
func TestComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		asked := 0
		store := &memory{get: func(context.Context, int) error {
			asked++
			if away.Load() {
				return errors.New("made up")
			}
			return nil
		}}
		signer := newSigner(t, openKey(t, "p256"), store, Options{})
		sign := func(n int) {
			for range n {
				if _, err := signer.SignDigest(t.Context(), digest(t, "x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		sign(10)
		if asked != tooMany {
			t.Errorf("asked %d times", asked)
		}
		time.Sleep(restFor + time.Second)
		sign(10)
		if asked != tooMany+1 {
			t.Errorf("asked %d times after a rest", asked)
		}
		away.Store(false)
		time.Sleep(restFor + time.Second)
		sign(10)
		if s := signer.Settle(); asked != tooMany+11 || s.Found != 10 {
			t.Errorf("asked %d times, %+v", asked, s)
		}
	})
}

// TestInterrupted: a store that hangs keeps no run from ending.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		signer, err := New(ctx, openKey(t, "p256"), &memory{put: hang}, Options{Notice: func(tr Trouble, err error) { t.Errorf("told %v %v", tr, err) }})
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		for i := range 20 { // more than are stored at once
			work.Go(func() { signer.SignDigest(ctx, digest(t, fmt.Sprint(i))) })
		}
		time.Sleep(time.Second)
		cancel()
		work.Wait()
		if s := signer.Settle(); s.Made != 20 || s.Stored+s.Unstored+s.Unreachable != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestKeyFails: the errors of the key are the run's.
func TestKeyFails(t *testing.T) {
	store := new(memory)
	signer := newSigner(t, openKey(t, "p256"), store, Options{})
	md5, err := hash.Sum(hash.MD5, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.SignDigest(t.Context(), md5); err == nil {
		t.Error("the key has signed what kernels do not take")
	}
	if s := signer.Settle(); s != (Statistic{}) || len(store.sigs) > 0 {
		t.Errorf("%+v, %d stored", s, len(store.sigs))
	}
}
