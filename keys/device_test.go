package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// device is all that a new kind of key has to bring.
type device struct {
	crypto.Signer
	public crypto.PublicKey
	err    error
}

func (d *device) Public() crypto.PublicKey { return d.public }

func (d *device) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.err != nil {
		return nil, d.err
	}
	return d.Signer.Sign(rand.Reader, digest, opts)
}

func (*device) Close() error { return nil }

func TestDevice(t *testing.T) {
	key, other := newP256(t), newP256(t)
	m := &material{source: "tpm:0x81000001"}
	id := imaevm.KeyID(7)
	k, err := newKey(t.Context(), &device{Signer: key, public: key.Public()}, m, Options{KeyID: &id})
	if err != nil || k.KeyID() != id || k.Source() != m.source {
		t.Errorf("%v, %v", k, err)
	}
	gone := errors.New("device gone")
	if _, err := newKey(t.Context(), &device{public: key.Public(), err: gone}, m, Options{}); !errors.Is(err, gone) || !strings.Contains(err.Error(), m.source) {
		t.Errorf("a device that fails: %v", err)
	}
	if _, err := newKey(t.Context(), &device{Signer: other, public: key.Public()}, m, Options{}); err == nil || !strings.Contains(err.Error(), "does not verify its own signature") {
		t.Errorf("another key's device: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := newKey(ctx, &device{Signer: key, public: key.Public()}, m, Options{}); !errors.Is(err, interrupted) {
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
