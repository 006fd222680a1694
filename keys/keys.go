// Package keys opens private keys for signing and public keys for verifying,
// and finds their ids as the kernel does.
//
// # References
//
// A private key is named by a reference:
//
//	FILE           see package keyfile
//	-, env:NAME    the same text on standard input, or in a variable
//	pkcs11:…       in a token, see package pkcs11
//	tpm:HANDLE     in a TPM, see package tpm; a FILE can be a key of one, too
//	SCHEME://REST  behind a program, see package program
//
// A file whose name looks like another one of these is written "./env:x"; "env" and
// "-:x" do not. A kind of key that is not in a file has a package of its own, which
// returns a backend, and a line in kindOf and in openBackend. What is not in the
// memory of this process is tried again when it fails for a moment, given up when it
// fails for good, and each of its signatures is checked with the public key.
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
// which is refused here, and no Ed25519. P-192 gives a warning, too. ML-DSA-44, 65 and 87, which Linux 7.2 and later can
// verify, and only in labels of version 3.
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
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/stream"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// A Key is a private key with its id. It is a sign.Signer and a
// sign.Verifier, safe for concurrent use, and never prints what is secret.
type Key struct {
	*Public
	backend  backend
	warnings []Warning
	took     time.Duration // for the signature of selfCheck
}

// newKey finds the public half, the certificate and the id of a key.
func newKey(ctx context.Context, b backend, m *material, o Options) (*Key, error) {
	p, err := newPublic(b.Public(), m.source)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", m.source, err)
	}
	k := &Key{Public: p, backend: b, warnings: m.warnings}
	if !m.inMemory {
		k.backend = newDevice(b, m.source, o.Notice)
	}
	certs, certSource := m.certs, m.source
	if o.Certificate != "" {
		certs, err = stream.Await(ctx, func() ([]*keyfile.Certificate, error) { return keyfile.OpenCertificates(o.Certificate) })
		if err != nil {
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

// Parallel returns how many calls of SignDigest at once keep the key busy;
// more than that wait for one another.
func (k *Key) Parallel() int {
	if p, ok := k.backend.(interface{ Parallel() int }); ok {
		return p.Parallel()
	}
	return runtime.GOMAXPROCS(0)
}

// SignatureTime returns how long the key took for a signature when it was opened.
func (k *Key) SignatureTime() time.Duration { return k.took }

// Close releases the key. It must not be used any more.
func (k *Key) Close() error { return k.backend.Close() }

// SignDigest returns the raw signature over d: RSASSA-PKCS1-v1_5, or DER of an
// ECDSA signature, whose nonce is that of RFC 6979 unless a device makes its
// own. What a device has signed is checked with the public key, and a device
// that fails for a moment is tried again. The error for a digest that the
// kernel would not verify is a *sign.DigestError, that of an ML-DSA key
// sign.ErrHashless; for others see device.Sign.
func (k *Key) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	if k.IsHashless() {
		return nil, sign.ErrHashless
	}
	if err := k.scheme.Check(d.Algorithm()); err != nil {
		return nil, err
	}
	h, input := k.input(d)
	return k.backend.Sign(ctx, input, h)
}

// SignMessage returns the raw signature of an ML-DSA key over a message: pure, with
// an empty context and, if a device does not make it otherwise, deterministic.
func (k *Key) SignMessage(ctx context.Context, message []byte) ([]byte, error) {
	if !k.IsHashless() {
		return nil, fmt.Errorf("%s keys sign digests", k.scheme)
	}
	return k.backend.Sign(ctx, message, crypto.Hash(0))
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
	begin := time.Now()
	label, err := sign.Label(ctx, k, imaevm.TypeSignature, 3, d)
	k.took = time.Since(begin)
	if err == nil {
		err = sign.Verify(label, d, k)
	}
	if _, bad := errors.AsType[*sign.BadSignatureError](err); bad {
		err = ErrOwnSignature
	}
	if err != nil {
		return fmt.Errorf("signing a test digest: %w", err)
	}
	return nil
}

// Format prints which key it is, whatever the verb: nothing of a private key
// comes out of the fmt package.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// input returns what a crypto.Signer of the key takes for d. Go's own DigestInfo
// of RIPEMD-160 is another than the kernel's, which has the object identifier
// 1.3.36.3.2.1 (crypto/rsassa-pkcs1.c).
func (p *Public) input(d hash.Digest) (crypto.Hash, []byte) {
	if p.scheme == sign.RSA && d.Algorithm() == hash.RMD160 {
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
