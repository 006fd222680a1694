package keys

import (
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"

	"imaseal/internal/imaevm"
)

// device is all that a new kind of key has to bring.
type device struct {
	crypto.Signer
	public crypto.PublicKey
	err    error
}

func (d *device) Public() crypto.PublicKey { return d.public }

func (d *device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if random == nil {
		return nil, errors.New("a device wants randomness")
	}
	if d.err != nil {
		return nil, d.err
	}
	return d.Signer.Sign(random, digest, opts)
}

func (*device) Close() error { return nil }

func TestDevice(t *testing.T) {
	key, other := newP256(t), newP256(t)
	m := &material{source: "tpm:0x81000001"}
	id := imaevm.KeyID(7)
	k, err := newKey(&device{Signer: key, public: key.Public()}, m, Options{KeyID: &id})
	if err != nil || k.KeyID() != id || k.Source() != m.source {
		t.Errorf("%v, %v", k, err)
	}
	gone := errors.New("device gone")
	if _, err := newKey(&device{public: key.Public(), err: gone}, m, Options{}); !errors.Is(err, gone) || !strings.Contains(err.Error(), m.source) {
		t.Errorf("a device that fails: %v", err)
	}
	if _, err := newKey(&device{Signer: other, public: key.Public()}, m, Options{}); err == nil || !strings.Contains(err.Error(), "does not verify its own signature") {
		t.Errorf("another key's device: %v", err)
	}
}
