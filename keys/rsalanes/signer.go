// Package rsalanes makes RSA signatures, PKCS#1 v1.5, eight at once.
//
// One processor core multiplies eight pairs of numbers in the time of little
// more than one, if it has AVX-512 IFMA: each number takes a 64-bit lane of the
// 512-bit registers. That pays where many digests are signed by one key, and
// the package is for that: a Signer gathers what its callers want signed at the
// same time into batches. RSA-2048, 3072 and 4096 with two primes of the same
// length are signed so; other keys, other processors, lone callers and FIPS
// mode get crypto/rsa. The signatures are the same, byte by byte.
//
// A signature from the lanes leaves only if it proves right with the public
// key: one that went wrong in one half would give the key away. Otherwise
// crypto/rsa makes it, and checks it too.
//
// Nothing that is secret decides about a branch or an address. What is secret,
// where it lies, and what is claimed stands in doc/rsa-lanes.md.
package rsalanes

import (
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// A Signer signs with one private key. It is a crypto.Signer, safe for
// concurrent use; Parallel says how much of it serves best.
type Signer struct {
	key *rsa.PrivateKey
	crt *crt // nil: crypto/rsa does it all
	collector
	workspaces sync.Pool // of *workspace, all zeros
}

// New returns a Signer for a key. The error is that of a key which is not
// valid.
func New(key *rsa.PrivateKey) (*Signer, error) {
	if fips140.Enabled() {
		return newSigner(key, nil)
	}
	return newSigner(key, newArithmetic())
}

// newSigner takes the arithmetic of the lanes, or nil for none.
func newSigner(key *rsa.PrivateKey, a *arithmetic) (*Signer, error) {
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("RSA key: %w", err)
	}
	own := *key // its primes and exponents are only read
	own.Precompute()
	s := &Signer{key: &own}
	if a == nil {
		return s, nil
	}
	var err error
	if s.crt, err = newCRT(&own, a); err != nil {
		return nil, fmt.Errorf("RSA key: %w", err)
	}
	s.collector.run = s.run
	return s, nil
}

// Public returns the *rsa.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return &s.key.PublicKey }

// Parallel returns how many calls of Sign at once keep all processors busy.
// With lanes it is a batch for each of them and one that is gathered meanwhile.
func (s *Signer) Parallel() int {
	processors := runtime.GOMAXPROCS(0)
	if s.crt == nil {
		return processors
	}
	return lanes * (processors + 1)
}

// Sign does what (*rsa.PrivateKey).Sign does: PKCS#1 v1.5, or PSS if opts are
// *rsa.PSSOptions. It may wait for other callers for some tens of microseconds,
// and while they have the processors, for two milliseconds.
func (s *Signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); !pss && s.crt != nil {
		if message, ok := encode(opts.HashFunc(), digest, s.crt.size); ok {
			s.collector.enter()
			defer s.collector.leave()
			if signature := s.collector.sign(message); signature != nil {
				return signature, nil
			}
		}
	}
	return s.key.Sign(random, digest, opts)
}

// run signs a batch.
func (s *Signer) run(messages [][]byte) [][]byte {
	w, ok := s.workspaces.Get().(*workspace)
	if !ok {
		w = s.crt.newWorkspace()
	}
	defer s.workspaces.Put(w)
	return s.crt.sign(w, messages)
}

// Close wipes what the lanes have of the key. The Signer must not be used any
// more. The key that New was given stays as it is.
func (s *Signer) Close() error {
	if s.crt != nil {
		s.crt.wipe()
	}
	return nil
}
