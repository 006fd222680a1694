// Package keys opens private keys for signing and public keys for verifying,
// and finds their ids as the kernel does.
//
// # References
//
// A private key is named by a reference. A path is a file: PEM or DER, PKCS#8
// (encrypted or not), PKCS#1, SEC 1, or the old PEM encryption of OpenSSL; a
// PEM file may also hold the key's certificate and its chain. Prefixes are
// kept for devices ("tpm:", "pkcs11:"), so a file of such a name is written
// "./tpm:x". A device needs one file here or in a package of its own, which
// returns a backend, and one line in openBackend.
//
// # Key ids
//
// A label names its key by four bytes. The kernel takes the first key of the
// keyring whose certificate's subject key identifier ends with them
// (request_asymmetric_key() in security/integrity/digsig_asymmetric.c), so the
// id of a key with a certificate is the tail of that. It finds a certificate by
// the end of its issuer's name too, and one without a subject key identifier only
// by that (package kernelcert). Without a certificate it
// is the tail of the SHA-1 of the public key: of the PKCS#1 form for RSA, of
// the uncompressed point for EC, the bits that openssl and most authorities
// make the identifier of. Verifiers answer as the kernel would: a key that has
// a certificate is not found by another id.
//
// # Kinds
//
// RSA keys of 2048, 3072 and 4096 bits, and of 1024 and 1536 bits, which
// kernels refuse in FIPS mode, with a warning; P-256, P-384, P-521. The kernel
// takes no other RSA sizes (crypto/rsa.c rsa_check_key_length()) but 512,
// which is refused here, and no Ed25519. Of P-192 there are certificates to verify
// with, and no private keys. Its ML-DSA is not implemented.
//
// # Certificates
//
// Which certificates a kernel loads is for package kernelcert to say. A set of
// Verifiers holds the keys of all, since a label may be for any kernel;
// Verifiers.For leaves out those that one kernel cannot have.
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// Options is what may come with a private key. The zero value is usable.
type Options struct {
	// Certificate is the path of a file with the key's certificate, PEM or
	// DER; it wins over one in the key file.
	Certificate string
	// KeyID is the id to put into labels, whatever the certificate says.
	KeyID *imaevm.KeyID
}

// A backend is what a kind of private key must do. Sign is like that of a
// crypto.Signer, which brings its own randomness; it must be safe for
// concurrent use, and deterministic if it can. One that can hang gives up when
// the context ends, with an error that wraps context.Cause.
type backend interface {
	Public() crypto.PublicKey
	Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	io.Closer
}

// material is what a private key came with.
type material struct {
	source   string
	certs    []*keyfile.Certificate
	warnings []Warning
}

// A Key is a private key with its id. It is a sign.Signer and a
// sign.Verifier, safe for concurrent use, and never prints what is secret.
type Key struct {
	*Public
	backend  backend
	warnings []Warning
}

// Open opens the private key that ref names. If a passphrase is needed, ask is
// called once; a nil ask means that there is none. A constant digest is signed
// and verified before Open returns. A device that hangs is given up when ctx
// ends; the Key does not depend on it afterwards. The errors wrap *keyfile.UnsupportedError,
// *MismatchError, *keyfile.PassphraseError or what reading the file gave, and name the
// file. The caller closes the Key.
func Open(ctx context.Context, ref string, ask keyfile.Ask, o Options) (*Key, error) {
	b, info, err := openBackend(ref, ask)
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

// openBackend is the one list of the kinds of key references.
func openBackend(ref string, ask keyfile.Ask) (backend, *material, error) {
	switch scheme, _, _ := strings.Cut(ref, ":"); scheme {
	case "tpm", "pkcs11":
		return nil, nil, fmt.Errorf("key %q: %s keys are not supported; a file of that name is written ./%s", ref, scheme, ref)
	}
	return openFile(ref, ask)
}

// newKey finds the public half, the certificate and the id of a key.
func newKey(ctx context.Context, b backend, m *material, o Options) (*Key, error) {
	p, err := newPublic(b.Public(), m.source)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", m.source, err)
	}
	k := &Key{Public: p, backend: b, warnings: m.warnings}
	certs, certSource := m.certs, m.source
	if o.Certificate != "" {
		if certs, err = keyfile.OpenCertificates(o.Certificate); err != nil {
			return nil, err
		}
		certSource = o.Certificate
	}
	if len(certs) > 0 {
		if err := p.useCertificate(certs, certSource); err != nil {
			return nil, err
		}
	}
	k.warnings = append(k.warnings, p.check()...)
	if o.KeyID != nil && *o.KeyID != p.id {
		if p.cert != nil {
			k.warnings = append(k.warnings, Warning{Kind: KeyIDNotCertificates, Source: certSource,
				Detail: fmt.Sprintf("key id %s is used, but kernels find the certificate by %s", *o.KeyID, p.id)})
		}
		p.id = *o.KeyID
	} else if p.cert == nil && o.KeyID == nil {
		k.warnings = append(k.warnings, Warning{Kind: KeyIDFromKey, Source: m.source,
			Detail: fmt.Sprintf("no certificate: key id %s is made from the key, and wrong if the certificate in the kernel has another subject key identifier", p.id)})
	}
	if err := k.selfCheck(ctx); err != nil {
		return nil, fmt.Errorf("%q: %w", m.source, err)
	}
	return k, nil
}

// Warnings returns what is questionable about the key, its file and its
// certificate, but does not prevent its use.
func (k *Key) Warnings() []Warning { return k.warnings }

// Close releases the key. It must not be used any more.
func (k *Key) Close() error { return k.backend.Close() }

// SignDigest returns the raw signature over d: RSASSA-PKCS1-v1_5, or DER of an
// ECDSA signature, whose nonce is that of RFC 6979 unless a device makes its
// own. The error for a digest that the kernel would not verify is a
// *sign.DigestError.
func (k *Key) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	if err := k.scheme.Check(d.Algorithm()); err != nil {
		return nil, err
	}
	if k.scheme == sign.RSA {
		h, input := rsaInput(d)
		return k.backend.Sign(ctx, input, h)
	}
	return k.backend.Sign(ctx, d.Bytes(), d.Algorithm().Crypto())
}

// Verifier makes a Key the sign.Verifiers that know this key only.
func (k *Key) Verifier(id imaevm.KeyID) (sign.Verifier, error) { return sign.Only(k).Verifier(id) }

// selfCheck signs and verifies a constant digest, so that a key that cannot
// sign, or whose halves do not belong together, fails before the first file.
func (k *Key) selfCheck(ctx context.Context) error {
	d, err := hash.Sum(hash.SHA256, []byte("imaseal"))
	if err != nil {
		return err
	}
	sig, err := k.SignDigest(ctx, d)
	if err != nil {
		return fmt.Errorf("signing a test digest: %w", err)
	}
	if err := k.VerifyDigest(d, sig); err != nil {
		return fmt.Errorf("the key does not verify its own signature: %w", err)
	}
	return nil
}

// Format prints which key it is, whatever the verb: nothing of a private key
// comes out of the fmt package.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// openFile opens the private key in a file.
func openFile(path string, ask keyfile.Ask) (backend, *material, error) {
	f, err := keyfile.OpenPrivate(path, ask)
	if err != nil {
		return nil, nil, err
	}
	m := &material{source: path, certs: f.Certificates}
	if who := keyfile.ReadableBy(f.Mode); who != "" {
		m.warnings = append(m.warnings, Warning{ReadableByOthers, path, "the private key can be read by " + who + "; chmod 600 it"})
	}
	return fileKey{f.Key}, m, nil
}

// fileKey is a private key in memory.
type fileKey struct{ key crypto.Signer }

// Public returns the public half.
func (k fileKey) Public() crypto.PublicKey { return k.key.Public() }

// Sign gives ECDSA the nonces of RFC 6979, which Go does for want of a source
// of randomness. It takes a millisecond and does not look at the context.
func (k fileKey) Sign(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := k.key.(*ecdsa.PrivateKey); ok {
		return k.key.Sign(nil, digest, opts)
	}
	return k.key.Sign(rand.Reader, digest, opts)
}

// Close drops nothing: Go gives no way to clear the numbers of a key.
func (fileKey) Close() error { return nil }

// rsaInput returns what a signer of PKCS#1 v1.5 takes for d. Go's own
// DigestInfo of RIPEMD-160 is another than the kernel's, which has the object
// identifier 1.3.36.3.2.1 (crypto/rsassa-pkcs1.c).
func rsaInput(d hash.Digest) (crypto.Hash, []byte) {
	if d.Algorithm() == hash.RMD160 {
		prefix := []byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x24, 0x03, 0x02, 0x01, 0x05, 0x00, 0x04, 0x14}
		return 0, d.AppendTo(prefix)
	}
	return d.Algorithm().Crypto(), d.Bytes()
}

// Signer returns the key for other uses than labels, such as certificates,
// until ctx ends.
func (k *Key) Signer(ctx context.Context) crypto.Signer { return signer{ctx, k.backend} }

// A signer is a backend as a crypto.Signer, which knows no contexts.
type signer struct {
	ctx context.Context
	backend
}

// Sign ignores random: the backend has its own.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.backend.Sign(s.ctx, digest, opts)
}
