package keys

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"imaseal/internal/imaevm"
	"imaseal/keys/keyfile"
	"imaseal/keys/pkcs11"
	"imaseal/keys/program"
	"imaseal/keys/rsalanes"
)

// Options is what may come with a private key. The zero value is usable.
type Options struct {
	// Certificate is the path of a file with the key's certificate, PEM or
	// DER; it wins over one in the key file.
	Certificate string
	// KeyID is the id to put into labels, whatever the certificate says.
	KeyID *imaevm.KeyID

	// Stdin is what "-" is read from; nil means that there is none.
	Stdin io.Reader
	// Getenv looks up variables of the environment; nil means that there are
	// none.
	Getenv func(name string) string
	// Jobs is how many signatures a device or program that can make several
	// at once is asked for; 0 leaves that to it.
	Jobs int
	// Timeout is how long a device or program may take for a signature
	// before it counts as hanging; 0 is a minute.
	Timeout time.Duration
	// Notice, if not nil, is told what happens to the key while it is used:
	// that something is tried again, what a program says. It must be safe
	// for concurrent use.
	Notice func(text string)
}

// pinVariable is the variable with the PIN of a token.
const pinVariable = "IMASEAL_PKCS11_PIN"

// env returns the value of a variable, nil for none.
func (o Options) env(name string) []byte {
	if o.Getenv == nil {
		return nil
	}
	return []byte(o.Getenv(name))
}

// A backend is what a kind of private key must do. Sign is like that of a
// crypto.Signer, which brings its own randomness; it must be safe for
// concurrent use, and deterministic if it can. One that can hang gives up when
// the context ends, with an error that wraps context.Cause. An error with a
// method Temporary that returns true is worth another try.
//
// A backend that makes several signatures at once, or but one, says how many
// with a method Parallel() int.
type backend interface {
	Public() crypto.PublicKey
	Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	io.Closer
}

// material is what a private key came with.
type material struct {
	source   string
	inMemory bool // the key is, so that it neither fails nor signs anything else
	certs    []*keyfile.Certificate
	warnings []Warning
}

// Open opens the private key that ref names. If a passphrase is needed, ask is
// called once; a nil ask means that there is none. A constant digest is signed
// and verified before Open returns. A device that hangs is given up when ctx
// ends; the Key does not depend on it afterwards. The errors wrap *keyfile.UnsupportedError,
// *MismatchError, *keyfile.PassphraseError or what reading the file gave, and name the
// file. The caller closes the Key.
func Open(ctx context.Context, ref string, ask keyfile.Ask, o Options) (*Key, error) {
	b, info, err := openBackend(ctx, ref, ask, o)
	if err != nil {
		return nil, err
	}
	k, err := newKey(ctx, b, info, o)
	if err != nil {
		b.Close()
		return nil, err
	}
	return k, nil
}

// IsFile reports whether ref names a file, which may hold public keys too.
func IsFile(ref string) bool {
	if _, ok := program.Scheme(ref); ok || ref == "-" {
		return false
	}
	return !slices.ContainsFunc([]string{pkcs11.Scheme, "env:", "tpm:"}, func(p string) bool { return strings.HasPrefix(ref, p) })
}

// withCertificates returns a key in a device and the certificates that came with
// it, looked at as those in files are.
func withCertificates(b backend, source string, list []*x509.Certificate) (backend, *material, error) {
	certs, err := keyfile.Certificates(list)
	if err != nil {
		b.Close()
		return nil, nil, fmt.Errorf("key %q: its certificate: %w", source, err)
	}
	return b, &material{source: source, certs: certs}, nil
}

// openBackend is the one list of the kinds of key references.
func openBackend(ctx context.Context, ref string, ask keyfile.Ask, o Options) (backend, *material, error) {
	if _, ok := program.Scheme(ref); ok {
		k, err := program.Open(ctx, ref, program.Options{Jobs: o.Jobs, Timeout: o.Timeout, Notice: o.Notice})
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", ref, err)
		}
		return withCertificates(k, ref, k.Certificates())
	}
	switch scheme, _, _ := strings.Cut(ref, ":"); scheme {
	case "pkcs11":
		source, _, _ := strings.Cut(ref, "?") // a PIN may be there by mistake
		k, err := pkcs11.Open(ctx, ref, pkcs11.Options{
			Ask: ask, PIN: o.env(pinVariable), Jobs: o.Jobs, Timeout: o.Timeout, Notice: o.Notice,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", source, err)
		}
		return withCertificates(k, source, k.Certificates())
	case "env":
		return openEnv(ref, ask, o)
	case "-":
		return openStdin(ctx, ask, o)
	case "tpm":
		return nil, nil, fmt.Errorf("key %q: %s keys are not supported; a file of that name is written ./%s", ref, scheme, ref)
	}
	return openFile(ref, ask)
}

// openEnv opens the private key in a variable of the environment, which holds
// what would be in a file.
func openEnv(ref string, ask keyfile.Ask, o Options) (backend, *material, error) {
	text := o.env(strings.TrimPrefix(ref, "env:"))
	if len(text) == 0 {
		return nil, nil, fmt.Errorf("key %q: there is no such variable, or it is empty", ref)
	}
	return openText(text, ref, ask)
}

// openStdin opens the private key that standard input holds.
func openStdin(ctx context.Context, ask keyfile.Ask, o Options) (backend, *material, error) {
	const name = "standard input"
	if o.Stdin == nil {
		return nil, nil, fmt.Errorf("key %q: there is none", name)
	}
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := keyfile.ReadAll(o.Stdin, name)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, nil, a.err
		}
		return openText(a.text, name, ask)
	case <-ctx.Done(): // what reads goes on until there is something
		return nil, nil, fmt.Errorf("reading %s: %w", name, context.Cause(ctx))
	}
}

func openText(text []byte, source string, ask keyfile.Ask) (backend, *material, error) {
	f, err := keyfile.ParsePrivate(text, source, ask)
	if err != nil {
		return nil, nil, err
	}
	b, err := inMemory(f.Key, source)
	return b, &material{source: source, inMemory: true, certs: f.Certificates}, err
}

// openFile opens the private key in a file.
func openFile(path string, ask keyfile.Ask) (backend, *material, error) {
	f, err := keyfile.OpenPrivate(path, ask)
	if err != nil {
		return nil, nil, err
	}
	m := &material{source: path, inMemory: true, certs: f.Certificates}
	if who := keyfile.ReadableBy(f.Mode); who != "" {
		m.warnings = append(m.warnings, Warning{ReadableByOthers, path, "the private key can be read by " + who + "; chmod 600 it"})
	}
	b, err := inMemory(f.Key, path)
	return b, m, err
}

// inMemory returns a private key as a backend.
func inMemory(key crypto.Signer, source string) (backend, error) {
	if key, ok := key.(*rsa.PrivateKey); ok {
		s, err := rsalanes.New(key)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", source, err)
		}
		return rsaKey{s}, nil
	}
	return ecdsaKey{key}, nil
}

// ecdsaKey is an ECDSA key in memory.
type ecdsaKey struct{ key crypto.Signer }

// Public returns the public half.
func (k ecdsaKey) Public() crypto.PublicKey { return k.key.Public() }

// Sign takes the nonces of RFC 6979, which Go does for want of a source of
// randomness. It takes a millisecond at most and does not look at the context.
func (k ecdsaKey) Sign(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.key.Sign(nil, digest, opts)
}

// Close drops nothing: Go gives no way to clear the numbers of a key.
func (ecdsaKey) Close() error { return nil }
