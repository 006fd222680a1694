package keys

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"filippo.io/mldsa"

	"imaseal/internal/imaevm"
	"imaseal/internal/stream"
	"imaseal/keys/keyfile"
	"imaseal/keys/pkcs11"
	"imaseal/keys/program"
	"imaseal/keys/rsalanes"
	"imaseal/keys/tpm"
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
	// TPM names the device of keys in a TPM; "" is what the variable
	// TPM2TOOLS_TCTI names, else tpm.DefaultDevice.
	TPM string
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

// tpm returns the options of keys in a TPM.
func (o Options) tpm(ask keyfile.Ask) tpm.Options {
	device := cmp.Or(o.TPM, string(o.env("TPM2TOOLS_TCTI")))
	return tpm.Options{Device: device, Ask: ask, Timeout: o.Timeout, Notice: o.Notice}
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

// A refKind is a kind of key reference.
type refKind int

const (
	inFile refKind = iota
	onStdin
	inVariable
	inToken
	inTPM
	behindProgram
)

// variableScheme is what the references of keys in variables begin with.
const variableScheme = "env:"

// kindOf is the one list of what references look like: a scheme counts with its
// colon only, and one of our own counts before a program's.
func kindOf(ref string) refKind {
	_, isProgram := program.Scheme(ref)
	switch {
	case ref == "-":
		return onStdin
	case strings.HasPrefix(ref, variableScheme):
		return inVariable
	case strings.HasPrefix(ref, pkcs11.Scheme):
		return inToken
	case strings.HasPrefix(ref, tpm.Scheme):
		return inTPM
	case isProgram:
		return behindProgram
	}
	return inFile
}

// Check says what is wrong with a reference, and with the name of a TPM, that can
// be said before anything is opened.
func Check(ref, device string) error {
	if device != "" {
		if err := tpm.CheckDevice(device); err != nil {
			return err
		}
	}
	var err error
	switch kindOf(ref) {
	case inTPM:
		err = tpm.Check(ref)
	case inToken:
		err = pkcs11.Check(ref)
	}
	if err != nil {
		return fmt.Errorf("key %q: %w", sourceOf(ref), err)
	}
	return nil
}

// sourceOf is a reference as it is shown: a URI without what may be a PIN.
func sourceOf(ref string) string {
	if kindOf(ref) == inToken {
		ref, _, _ = strings.Cut(ref, "?")
	}
	return ref
}

// IsFile reports whether ref names a file, which may hold public keys too.
func IsFile(ref string) bool { return kindOf(ref) == inFile }

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

// openBackend is the one list of what opens the kinds of key references.
func openBackend(ctx context.Context, ref string, ask keyfile.Ask, o Options) (backend, *material, error) {
	switch kindOf(ref) {
	case behindProgram:
		k, err := program.Open(ctx, ref, program.Options{Jobs: o.Jobs, Timeout: o.Timeout, Notice: o.Notice})
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", ref, err)
		}
		return withCertificates(k, ref, k.Certificates())
	case inToken:
		source := sourceOf(ref)
		k, err := pkcs11.Open(ctx, ref, pkcs11.Options{
			Ask: ask, PIN: o.env(pinVariable), Jobs: o.Jobs, Timeout: o.Timeout, Notice: o.Notice,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", source, err)
		}
		return withCertificates(k, source, k.Certificates())
	case inVariable:
		return openEnv(ctx, ref, ask, o)
	case onStdin:
		return openStdin(ctx, ask, o)
	case inTPM:
		k, err := tpm.Open(ctx, ref, o.tpm(ask))
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", ref, err)
		}
		return k, &material{source: ref}, nil
	}
	return openFile(ctx, ref, ask, o)
}

// openEnv opens the private key in a variable of the environment, which holds
// what would be in a file.
func openEnv(ctx context.Context, ref string, ask keyfile.Ask, o Options) (backend, *material, error) {
	text := o.env(strings.TrimPrefix(ref, variableScheme))
	if len(text) == 0 {
		return nil, nil, fmt.Errorf("key %q: there is no such variable, or it is empty", ref)
	}
	return openText(ctx, text, ref, ask, o)
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
		return openText(ctx, a.text, name, ask, o)
	case <-ctx.Done(): // what reads goes on until there is something
		return nil, nil, fmt.Errorf("reading %s: %w", name, context.Cause(ctx))
	}
}

func openText(ctx context.Context, text []byte, source string, ask keyfile.Ask, o Options) (backend, *material, error) {
	f, err := keyfile.ParsePrivate(text, source, ask)
	if err != nil {
		return nil, nil, err
	}
	return openParsed(ctx, f, source, ask, o)
}

// openFile opens the private key in a file.
func openFile(ctx context.Context, path string, ask keyfile.Ask, o Options) (backend, *material, error) {
	var mode fs.FileMode
	text, err := stream.Await(ctx, func() (text []byte, err error) {
		text, mode, err = keyfile.Read(path)
		return text, err
	})
	if err != nil {
		return nil, nil, err
	}
	f, err := keyfile.ParsePrivate(text, path, ask)
	if err != nil {
		return nil, nil, err
	}
	f.Mode = mode
	return openParsed(ctx, f, path, ask, o)
}

// openParsed returns what signs with a key whose file is read already.
func openParsed(ctx context.Context, f *keyfile.Private, source string, ask keyfile.Ask, o Options) (backend, *material, error) {
	m := &material{source: source, inMemory: f.TPM == nil, certs: f.Certificates}
	if f.TPM != nil {
		k, err := tpm.OpenFile(ctx, source, f.TPM, o.tpm(ask))
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", source, err)
		}
		return k, m, nil
	}
	if who := keyfile.ReadableBy(f.Mode); who != "" {
		m.warnings = append(m.warnings, Warning{ReadableByOthers, source, "the private key can be read by " + who + "; chmod 600 it"})
	}
	b, err := inMemory(f.Key, source)
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
	if key, ok := key.(*mldsa.PrivateKey); ok {
		return mldsaKey{key}, nil
	}
	return ecdsaKey{key}, nil
}

// mldsaKey is an ML-DSA key in memory.
type mldsaKey struct{ key *mldsa.PrivateKey }

// Public returns the public half.
func (k mldsaKey) Public() crypto.PublicKey { return k.key.Public() }

// Sign signs a message, always alike.
func (k mldsaKey) Sign(_ context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.key.SignDeterministic(message, opts)
}

// Close drops nothing: there is no way to clear the numbers of the key.
func (mldsaKey) Close() error { return nil }

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
