package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"
	"time"

	"filippo.io/mldsa"
)

// waits are those before another try at what failed for a moment.
var waits = []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second}

const (
	// hopeless is how many signatures in a row fail, each with all its
	// tries, before a device is given up, so that a run of many files ends.
	hopeless = 3
	// loud is how many tries are told one by one; the rest are counted.
	loud = 3
)

// A device is a backend that is not this process: it can fail for a moment,
// and sign something else than it was asked for.
type device struct {
	backend
	source string
	notice func(text string)
	public crypto.PublicKey // of the opening, which labels are made for

	mu     sync.Mutex
	failed int   // signatures in a row
	broken error // a *GivenUpError
	again  int   // tries after the first ones
}

func newDevice(b backend, source string, notice func(string)) *device {
	if notice == nil {
		notice = func(string) {}
	}
	return &device{backend: b, source: source, notice: notice, public: b.Public()}
}

// Public returns the public key that the device had when it was opened.
func (d *device) Public() crypto.PublicKey { return d.public }

// Sign asks the device for a signature and checks it with that public key. What
// fails with a temporary error is tried again, four times in all. After three
// signatures in a row that failed it gives up, and every call fails at once
// with a *GivenUpError. The error for a signature over something else wraps
// ErrOwnSignature.
func (d *device) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	d.mu.Lock()
	broken := d.broken
	d.mu.Unlock()
	if broken != nil {
		return nil, broken
	}
	for try := 0; ; try++ {
		sig, err := d.backend.Sign(ctx, digest, opts)
		if err == nil && !verifies(d.public, digest, opts.HashFunc(), sig) {
			err = ErrOwnSignature
		}
		switch {
		case err == nil:
			d.mu.Lock()
			d.failed = 0
			d.mu.Unlock()
			return sig, nil
		case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
			return nil, err
		case try == len(waits) || !isTemporary(err):
			return nil, d.fail(err)
		}
		d.tell(err, waits[try])
		select {
		case <-time.After(waits[try]):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another try: %w", context.Cause(ctx))
		}
	}
}

// fail counts a signature that could not be made.
func (d *device) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed++; d.failed >= hopeless && d.broken == nil {
		d.broken = &GivenUpError{Source: d.source, Err: err}
	}
	return err
}

// tell says that something is tried again.
func (d *device) tell(err error, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.again++; d.again <= loud {
		d.notice(fmt.Sprintf("key %q: %v; trying again in %v", d.source, err, wait))
	}
}

// Parallel is that of the backend, one if it does not say.
func (d *device) Parallel() int {
	if p, ok := d.backend.(interface{ Parallel() int }); ok {
		return p.Parallel()
	}
	return 1
}

// Close closes the backend.
func (d *device) Close() error {
	if d.again > loud {
		d.notice(fmt.Sprintf("key %q: %d signatures had to be tried again", d.source, d.again))
	}
	return d.backend.Close()
}

// verifies reports whether sig is the key's over a digest, for ML-DSA over a
// message.
func verifies(key crypto.PublicKey, digest []byte, h crypto.Hash, sig []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, h, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *mldsa.PublicKey:
		return h == 0 && mldsa.Verify(k, digest, sig, nil) == nil
	}
	return false
}

func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}
