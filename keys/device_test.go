package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// fake is all that a new kind of key has to bring.
type fake struct {
	crypto.Signer
	public crypto.PublicKey
	err    error
}

func (d *fake) Public() crypto.PublicKey { return d.public }

func (d *fake) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.err != nil {
		return nil, d.err
	}
	return d.Signer.Sign(rand.Reader, digest, opts)
}

func (*fake) Close() error { return nil }

func TestDevice(t *testing.T) {
	key, other := newP256(t), newP256(t)
	m := &material{source: "tpm:0x81000001"}
	id := imaevm.KeyID(7)
	k, err := newKey(t.Context(), &fake{Signer: key, public: key.Public()}, m, Options{KeyID: &id})
	if err != nil || k.KeyID() != id || k.Source() != m.source {
		t.Errorf("%v, %v", k, err)
	}
	gone := errors.New("device gone")
	if _, err := newKey(t.Context(), &fake{public: key.Public(), err: gone}, m, Options{}); !errors.Is(err, gone) || !strings.Contains(err.Error(), m.source) {
		t.Errorf("a device that fails: %v", err)
	}
	if _, err := newKey(t.Context(), &fake{Signer: other, public: key.Public()}, m, Options{}); err == nil || !strings.Contains(err.Error(), "does not verify its own signature") {
		t.Errorf("another key's device: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := newKey(ctx, &fake{Signer: key, public: key.Public()}, m, Options{}); !errors.Is(err, interrupted) {
		t.Errorf("a device that is given up: %v", err)
	}
	d, err := hash.Sum(hash.SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SignDigest(ctx, d); !errors.Is(err, interrupted) {
		t.Errorf("a digest: %v", err)
	}
	if _, err := k.Signer(ctx).Sign(nil, d.Bytes(), crypto.SHA256); !errors.Is(err, interrupted) {
		t.Errorf("something else: %v", err)
	}
}

func newRSA(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// flaky is a backend that fails as it is told to.
type flaky struct {
	fake
	calls int
	fail  func(call int) error
}

func (f *flaky) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	f.calls++
	if err := f.fail(f.calls); err != nil {
		return nil, err
	}
	return f.fake.Sign(ctx, digest, opts)
}

// momentary is a temporary error.
type momentary struct{ error }

func (momentary) Temporary() bool { return true }

func TestDeviceIsTriedAgain(t *testing.T) {
	key := newP256(t)
	busy := momentary{errors.New("busy")}
	synctest.Test(t, func(t *testing.T) {
		var told []string
		f := &flaky{fake: fake{Signer: key, public: key.Public()}, fail: func(call int) error {
			if call%2 == 1 {
				return busy
			}
			return nil
		}}
		d := newDevice(f, "tpm:x", func(s string) { told = append(told, s) })
		begun := time.Now()
		for range 5 {
			if _, err := d.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); f.calls != 10 || took != 5*waits[0] {
			t.Errorf("%d calls, %v", f.calls, took)
		}
		d.Close()
		want := []string{
			`key "tpm:x": busy; trying again in 200ms`,
			`key "tpm:x": busy; trying again in 200ms`,
			`key "tpm:x": busy; trying again in 200ms`,
			`key "tpm:x": 5 signatures had to be tried again`,
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}

func TestDeviceIsGivenUp(t *testing.T) {
	key := newP256(t)
	for _, test := range []struct {
		err   error
		calls int
	}{
		{momentary{errors.New("busy")}, hopeless * (1 + len(waits))},
		{errors.New("denied"), hopeless},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{fake: fake{Signer: key, public: key.Public()}, fail: func(int) error { return test.err }}
			d := newDevice(f, "tpm:x", nil)
			for n := range 10 {
				_, err := d.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
				_, gone := errors.AsType[*GivenUpError](err)
				if !errors.Is(err, test.err) || gone != (n >= hopeless) {
					t.Errorf("signature %d: %v", n, err)
				}
			}
			if f.calls != test.calls {
				t.Errorf("%d calls, want %d", f.calls, test.calls)
			}
			want := `key "tpm:x" is given up after 3 failures in a row: ` + test.err.Error()
			if d.broken == nil || d.broken.Error() != want {
				t.Errorf("%v, want %s", d.broken, want)
			}
		})
	}
}

// TestDeviceThatWorksIsNotGivenUp fails often, but never three times in a row.
func TestDeviceThatWorksIsNotGivenUp(t *testing.T) {
	key := newP256(t)
	denied := errors.New("denied")
	f := &flaky{fake: fake{Signer: key, public: key.Public()}, fail: func(call int) error {
		if call%3 != 0 {
			return denied
		}
		return nil
	}}
	d := newDevice(f, "tpm:x", nil)
	for n := range 12 {
		if _, err := d.Sign(t.Context(), make([]byte, 32), crypto.SHA256); (err == nil) != (n%3 == 2) {
			t.Errorf("signature %d: %v", n, err)
		}
	}
}

// TestDeviceIsInterrupted ends the context between two tries. That is no
// failure of the device.
func TestDeviceIsInterrupted(t *testing.T) {
	key := newP256(t)
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{fake: fake{Signer: key, public: key.Public()}, fail: func(int) error { return momentary{errors.New("busy")} }}
		d := newDevice(f, "tpm:x", nil)
		interrupted := errors.New("interrupted")
		for range 2 * hopeless {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(100*time.Millisecond, func() { cancel(interrupted) })
			if _, err := d.Sign(ctx, make([]byte, 32), crypto.SHA256); !errors.Is(err, interrupted) {
				t.Errorf("%v", err)
			}
		}
		if d.failed != 0 || d.broken != nil {
			t.Errorf("%d failures, %v", d.failed, d.broken)
		}
	})
}

// TestDeviceSignsSomethingElse has a device sign another digest, once.
func TestDeviceSignsSomethingElse(t *testing.T) {
	for _, key := range []crypto.Signer{newP256(t), newRSA(t)} {
		m := &material{source: "tpm:x"}
		other := &mistaken{fake: fake{Signer: key, public: key.Public()}}
		k, err := newKey(t.Context(), other, m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := hash.Sum(hash.SHA256, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		other.wrong = true
		if sig, err := k.SignDigest(t.Context(), d); sig != nil || !errors.Is(err, ErrOwnSignature) {
			t.Errorf("%s: %x, %v", k.Kind(), sig, err)
		}
		other.wrong = false
		if _, err := k.SignDigest(t.Context(), d); err != nil {
			t.Errorf("%s: %v", k.Kind(), err)
		}
	}
}

// TestDeviceBecomesAnother has a device with another key after a while, which it
// says itself, as one does that was loaded anew.
func TestDeviceBecomesAnother(t *testing.T) {
	for _, keys := range [][2]crypto.Signer{{newP256(t), newP256(t)}, {newRSA(t), newP256(t)}} {
		f := &fake{Signer: keys[0], public: keys[0].Public()}
		k, err := newKey(t.Context(), f, &material{source: "tpm:x"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := hash.Sum(hash.SHA256, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		f.Signer, f.public = keys[1], keys[1].Public()
		if sig, err := k.SignDigest(t.Context(), d); sig != nil || !errors.Is(err, ErrOwnSignature) {
			t.Errorf("%s: %x, %v", k.Kind(), sig, err)
		}
		if public := k.Signer(t.Context()).Public(); public != keys[0].Public() {
			t.Errorf("%s: another public key", k.Kind())
		}
		f.Signer = keys[0]
		if _, err := k.SignDigest(t.Context(), d); err != nil {
			t.Errorf("%s: %v", k.Kind(), err)
		}
	}
}

type mistaken struct {
	fake
	wrong bool
}

func (m *mistaken) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if m.wrong {
		digest = append([]byte{^digest[0]}, digest[1:]...)
	}
	return m.fake.Sign(ctx, digest, opts)
}
