// Package program signs with keys that lie behind a program of somebody else:
// in a cloud service, in Vault, in a signing server. Two kinds of programs are
// known, by their names in PATH; a reference SCHEME://REST has
//
//	imaseal-key-SCHEME   started once, asked for many signatures at a time
//	sigstore-kms-SCHEME  started for each signature: sigstore's plug-in protocol v1
//
// and the first counts where there are both.
//
// # Protocol of imaseal-key-SCHEME, version 1
//
// The program is started without arguments. Both sides write one JSON object a
// line, in UTF-8, to the program's standard input and output; bytes are in
// base64. The first line both ways says protocol and version. Then come
// requests, of which as many are under way as the program asked for, and
// answers, in any order, by the number of the request. Fields that a side does
// not know it ignores. When standard input ends the program ends. The manual,
// doc/imaseal-key.7, says the same to those who write one.
//
//	> {"protocol":"imaseal-key","version":1,"key":"SCHEME://REST"}
//	< {"protocol":"imaseal-key","version":1,"public":"MFkw…","parallel":8}
//	> {"id":1,"hash":"sha256","digest":"HcYxyZnKtFiOV8IW5GzRCo5jAlINeWHe2lpgOHyyy6Q="}
//	> {"id":2,"hash":"sha256","digest":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
//	< {"id":2,"error":"quota exceeded","temporary":true}
//	< {"id":1,"signature":"MEUCIE6007…"}
//
// # Protocol of sigstore-kms-SCHEME, v1
//
// Its arguments are "v1" and a JSON object that names the key, the method and
// the digest; a JSON object on its standard output is the answer. Source:
// pkg/signature/kms/cliplugin of github.com/sigstore/sigstore.
//
// # Programs in general
//
// What a program writes to standard error is passed on line by line, up to a
// bound. It runs in
// a process group of its own, so that Ctrl-C on the terminal reaches it by the
// end of its input alone, and nothing that it has started is left when it is
// given up. For that it cannot read from the terminal.
package program

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	"filippo.io/mldsa"

	"imaseal/hash"
	"imaseal/keys/child"
)

// Options says how a program is used. The zero value is usable.
type Options struct {
	// Jobs is how many signatures are asked for at once; 0 leaves that to
	// the program.
	Jobs int
	// Timeout bounds one signature, and the start; 0 is a minute.
	Timeout time.Duration
	// Notice, if not nil, is told what the program writes to standard error
	// and that it was started again. It must be safe for concurrent use.
	Notice func(text string)

	stderr func(line string) // Notice, as long as there are not too many
}

// maxParallel bounds what programs and users ask for.
const maxParallel = 256

// A Key is a private key behind a program. It is safe for concurrent use.
type Key struct {
	public crypto.PublicKey
	certs  []*x509.Certificate
	name   string        // the program's
	slots  chan struct{} // one for each signature under way
	asks   protocol
}

// A protocol asks a program.
type protocol interface {
	sign(ctx context.Context, r request, h crypto.Hash) ([]byte, error)
	close() error
}

var reference = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://`)

// Scheme returns the scheme of a reference to a key behind a program, and
// false for another reference.
func Scheme(ref string) (string, bool) {
	m := reference.FindStringSubmatch(ref)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// Open finds the program for ref and asks it for the public key. The errors
// are *MissingError and those of Sign. The caller closes the Key, which does
// not depend on ctx afterwards.
func Open(ctx context.Context, ref string, o Options) (*Key, error) {
	scheme, ok := Scheme(ref)
	if !ok {
		return nil, errors.New("not SCHEME://KEY")
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	o.stderr = child.FirstLines("the program of "+scheme+"://", o.Notice)
	missing := &MissingError{Ref: ref}
	for _, kind := range []struct {
		prefix string
		open   func(ctx context.Context, path, name, ref string, o Options) (*Key, error)
	}{{"imaseal-key-", openStaying}, {"sigstore-kms-", openSigstore}} {
		name := kind.prefix + scheme
		path, err := exec.LookPath(name)
		if err != nil {
			missing.Programs = append(missing.Programs, name)
			continue
		}
		return kind.open(ctx, path, name, ref, o)
	}
	return nil, missing
}

// newKey returns a Key of which n signatures are made at once.
func newKey(name string, n int, o Options, asks protocol) *Key {
	if o.Jobs > 0 {
		n = o.Jobs
	}
	n = min(max(n, 1), maxParallel)
	return &Key{name: name, slots: make(chan struct{}, n), asks: asks}
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Certificates returns what certificates the program sent along.
func (k *Key) Certificates() []*x509.Certificate { return k.certs }

// Parallel returns how many signatures are made at once; callers beyond that
// wait.
func (k *Key) Parallel() int { return cap(k.slots) }

// Sign returns the raw signature over a digest: PKCS#1 v1.5, or DER of an ECDSA
// signature; or over a message, with an ML-DSA key. Errors that wrap *AnswerError, *child.EndedError and *child.TimeoutError may
// be temporary, and say so; a *ProtocolError is never. When ctx ends Sign does
// not wait any longer, and the error wraps its cause.
func (k *Key) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	var r request
	if _, ok := k.public.(*mldsa.PublicKey); ok {
		r.Message = digest
	} else {
		name, err := hashName(opts.HashFunc())
		if err != nil {
			return nil, err
		}
		r.Hash, r.Digest = name, digest
	}
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for %s: %w", k.name, context.Cause(ctx))
	}
	sig, err := k.asks.sign(ctx, r, opts.HashFunc())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	return sig, nil
}

// Close ends the program. It must not be called before the calls of Sign have
// returned.
func (k *Key) Close() error { return k.asks.close() }

// hashName returns the name that the kernel has for a hash function.
func hashName(h crypto.Hash) (string, error) {
	for _, a := range hash.All() {
		if h != 0 && a.Crypto() == h {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("programs are not asked for signatures over %v digests", h)
}
