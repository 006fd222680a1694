// Package pkcs11 signs with keys in tokens: smart cards, security modules, what
// else has a PKCS#11 module. The module runs in a process of its own, which
// p11-kit starts and speaks its remote procedure calls with, so that this
// program needs no C, and survives a module that does not.
//
// A key is named by a URI of RFC 7512:
//
//	pkcs11:token=signing;object=ima?module-path=/usr/lib/softhsm/libsofthsm2.so
//
// Without module-path all modules are asked that p11-kit is configured with. One
// token that can sign and one private key in it must match. The PIN is that of
// pin-source, a file, else of IMASEAL_PKCS11_PIN, else it is asked for; it is
// tried once in a run, and not at all when the token would lock after that.
//
// RSA keys sign by CKM_RSA_PKCS over a DigestInfo, EC keys by CKM_ECDSA.
package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"imaseal/keys/child"
	"imaseal/keys/keyfile"
	"imaseal/keys/pkcs11/p11kit"
)

// Options says how a token is used. The zero value is usable.
type Options struct {
	// Ask asks for the PIN; nil means that nobody can be asked.
	Ask keyfile.Ask
	// PIN is the one to take where the URI names none; nil means that there
	// is none. Key.Close clears it.
	PIN []byte
	// Jobs is how many signatures are made at once, each with a process and
	// a session of its own; 0 is 1, which is all that most tokens can do.
	Jobs int
	// Timeout bounds each call of the module; 0 is a minute.
	Timeout time.Duration
	// Notice, if not nil, is told what the module writes to standard error
	// and that a session was lost. It must be safe for concurrent use.
	Notice func(text string)
}

// A Key is a private key in a token. It is safe for concurrent use.
type Key struct {
	uri    *uri
	o      Options
	stderr func(line string) // Options.Notice, as long as there are not too many
	public crypto.PublicKey
	certs  []*x509.Certificate

	sessions chan *session // one for each job, nil for one to be opened
	closing  sync.Once

	// opening holds an element while a session is opened or logged in, which
	// some modules cannot do in several processes at once: SoftHSM writes a
	// token's file at a login, and others find it cut short. It guards what
	// follows.
	opening chan struct{}

	pin    []byte
	hasPIN bool  // it was found
	broken error // a *PINError: the PIN is not to be tried again
}

// Open opens the private key that a URI names. The errors are *URIError,
// *MatchError, *PINError, *p11kit.CallError, *child.EndedError, *child.TimeoutError and
// *keyfile.UnsupportedError. The caller closes the Key, which does not depend on
// ctx afterwards.
func Open(ctx context.Context, ref string, o Options) (*Key, error) {
	u, err := parseURI(ref)
	if err != nil {
		return nil, err
	}
	if u.module != "" {
		if _, err := os.Stat(u.module); err != nil {
			return nil, fmt.Errorf("module: %w", err)
		}
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	jobs := max(o.Jobs, 1)
	k := &Key{uri: u, o: o, stderr: child.FirstLines("p11-kit", o.Notice), pin: o.PIN, sessions: make(chan *session, jobs), opening: make(chan struct{}, 1)}
	s, err := k.open(ctx)
	if err != nil {
		clear(k.pin)
		return nil, err
	}
	k.sessions <- s
	for range jobs - 1 {
		k.sessions <- nil
	}
	if k.certs, err = s.certificates(ctx); err == nil {
		k.public, err = s.publicKey(ctx, k.certs)
	}
	if err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// open opens a session and finds the key.
func (k *Key) open(ctx context.Context) (s *session, err error) {
	if err := k.lock(ctx); err != nil {
		return nil, err
	}
	defer k.unlock()
	c, err := p11kit.Dial(ctx, k.uri.module, p11kit.Options{Timeout: k.o.Timeout, Notice: k.stderr})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	t, err := findToken(ctx, c, k.uri)
	if err != nil {
		return nil, err
	}
	raw, err := c.OpenSession(ctx, t.slot)
	if err != nil {
		return nil, err
	}
	s = &session{Session: raw, token: t}
	if t.Flags&p11kit.LoginRequired != 0 {
		if err := k.login(ctx, s, p11kit.User); err != nil {
			return nil, err
		}
	}
	if err := s.findKey(ctx, k.uri); err != nil {
		return nil, err
	}
	a, err := s.Attributes(ctx, s.key, p11kit.KeyType, p11kit.Sign, p11kit.AlwaysAuthenticate)
	if err != nil {
		return nil, err
	}
	switch typ := a[p11kit.KeyType].Ulong; {
	case typ == p11kit.EC:
		s.ec = true
	case typ != p11kit.RSA:
		return nil, &keyfile.UnsupportedError{Kind: fmt.Sprintf("PKCS#11 type 0x%x", typ)}
	}
	if sign, ok := a[p11kit.Sign]; ok && sign.Ulong == 0 {
		return nil, errNotForSigning
	}
	s.always = a[p11kit.AlwaysAuthenticate].Ulong != 0
	return s, nil
}

var errNotForSigning = errors.New("the token does not allow the key to sign (CKA_SIGN is false)")

func (k *Key) lock(ctx context.Context) error {
	select {
	case k.opening <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the token: %w", context.Cause(ctx))
	}
}

func (k *Key) unlock() { <-k.opening }

// login gives the token the PIN. It does that no more after the first wrong one.
// The caller has called lock.
func (k *Key) login(ctx context.Context, s *session, user uint64) error {
	switch flags := s.token.Flags; {
	case k.broken != nil:
		return k.broken
	case flags&p11kit.UserPINLocked != 0:
		return &PINError{Token: s.token.Label, Why: "locked after too many wrong ones"}
	case flags&p11kit.UserPINFinalTry != 0:
		return &PINError{Token: s.token.Label, Why: "only one try is left before the token locks; log in with another program first"}
	case flags&p11kit.ProtectedAuthenticationPath != 0:
		return s.login(ctx, user, nil)
	}
	if err := k.findPIN(s.token.Label); err != nil {
		return err
	}
	err := s.login(ctx, user, k.pin)
	if _, ok := err.(*PINError); ok {
		k.broken = err
	}
	return err
}

// findPIN finds the PIN, once. The caller has called lock.
func (k *Key) findPIN(token string) error {
	if k.hasPIN {
		return nil
	}
	if k.uri.pinFile != "" {
		b, mode, err := keyfile.Read(k.uri.pinFile)
		if err != nil {
			return fmt.Errorf("pin-source: %w", err)
		}
		if who := keyfile.ReadableBy(mode); who != "" {
			k.o.Notice(fmt.Sprintf("%q: the PIN can be read by %s; chmod 600 it", k.uri.pinFile, who))
		}
		clear(k.pin)
		k.pin, _, _ = bytes.Cut(b, []byte("\n"))
		k.pin = bytes.TrimSuffix(k.pin, []byte("\r"))
	} else if len(k.pin) == 0 && k.o.Ask != nil {
		pin, err := k.o.Ask(fmt.Sprintf("PIN of token %q", token))
		if err != nil {
			return fmt.Errorf("asking for the PIN: %w", err)
		}
		k.pin = pin
	}
	if k.hasPIN = len(k.pin) > 0; !k.hasPIN {
		return &PINError{Token: token, Why: "none is given"}
	}
	return nil
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Certificates returns the certificates with the key's CKA_ID.
func (k *Key) Certificates() []*x509.Certificate { return k.certs }

// Parallel returns how many signatures are made at once.
func (k *Key) Parallel() int { return cap(k.sessions) }

// Close ends all sessions and forgets the PIN. It must not be called before the
// calls of Sign have returned.
func (k *Key) Close() error {
	k.closing.Do(func() {
		for range cap(k.sessions) {
			if s := <-k.sessions; s != nil {
				s.Close()
			}
		}
		clear(k.pin)
	})
	return nil
}
