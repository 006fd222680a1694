// Package sign makes signature labels and checks them: a digest and a Signer
// become a label, a label and Verifiers a verdict. It knows neither files nor
// key files; the label's bytes are those of package imaevm.
//
// # What is signed
//
// A version 2 label signs the digest itself: the file's in security.ima, EVM's
// in security.evm. A version 3 label signs the digest, with the same
// algorithm, of an imaevm.FileID. The raw signature is RSASSA-PKCS1-v1_5 over
// DigestInfo and digest, or the DER form of an ECDSA signature over the
// leftmost bits of the digest (security/integrity/digsig_asymmetric.c,
// crypto/asymmetric_keys/public_key.c). See Scheme for the digests that count.
//
// ML-DSA keys sign the imaevm.FileID itself, in version 3 labels only: pure
// ML-DSA with an empty context (asymmetric_verify_v3_hashless(), Linux 7.2).
// Labels of version 1 are made by LabelV1 and checked by VerifyV1.
package sign

import (
	"context"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// A Signer makes raw signatures with one private key. Its methods are safe for
// concurrent use; a device that does one thing at a time queues callers itself.
// A device that hangs is given up when the context ends, with an error that
// wraps context.Cause; a key in memory is faster than that and need not look.
type Signer interface {
	KeyID() imaevm.KeyID
	SignDigest(ctx context.Context, d hash.Digest) ([]byte, error)
}

// A MessageSigner is a Signer whose key may be one that signs messages instead of
// digests. Then IsHashless is true, and SignDigest fails with ErrHashless.
type MessageSigner interface {
	Signer
	IsHashless() bool
	SignMessage(ctx context.Context, message []byte) ([]byte, error)
}

// A Verifier checks raw signatures with one public key. The error for a
// signature that is not the key's over d is ErrSignature, whatever is wrong
// with it.
type Verifier interface {
	KeyID() imaevm.KeyID
	VerifyDigest(d hash.Digest, sig []byte) error
}

// A MessageVerifier is to a Verifier what a MessageSigner is to a Signer.
type MessageVerifier interface {
	Verifier
	IsHashless() bool
	VerifyMessage(message, sig []byte) error
}

// Verifiers finds the key for an id. Ids have 32 bits and can collide: the answer
// is UnknownKeyError or AmbiguousKeyError, never a guess.
type Verifiers interface {
	Verifier(id imaevm.KeyID) (Verifier, error)
}

// Label signs d and returns the label, by its kind:
//
//	TypeSignature  security.ima of a regular file, d the file's digest;
//	               security.evm bound to the inode, d EVM's digest
//	TypePortable   security.evm, d EVM's digest
//	TypeVerity     security.ima, d the fs-verity digest; version 3 only
//
// The version is 2, which every kernel takes, or 3. The error for what no
// kernel accepts is an *UnsupportedError; others are the Signer's.
func Label(ctx context.Context, s Signer, kind imaevm.Type, version uint8, d hash.Digest) (imaevm.Signature, error) {
	signed, err := signedDigest(kind, version, d)
	if err != nil {
		return imaevm.Signature{}, err
	}
	var raw []byte
	if m, ok := s.(MessageSigner); ok && m.IsHashless() {
		if version != 3 {
			return imaevm.Signature{}, hashless(kind, version)
		}
		raw, err = m.SignMessage(ctx, imaevm.FileID(kind, d))
	} else {
		raw, err = s.SignDigest(ctx, signed)
	}
	if err != nil {
		return imaevm.Signature{}, err
	}
	return imaevm.Signature{
		Kind:    kind,
		Version: version,
		Alg:     d.Algorithm(),
		KeyID:   s.KeyID(),
		Raw:     raw,
	}, nil
}

// Verify checks a signature label over d, which is what Label takes for the
// label's kind. It returns nil, or an *UnsupportedError for a label that no
// kernel or no key here can check, *UnknownKeyError and *AmbiguousKeyError as
// keys gives them, *DigestError, and *BadSignatureError. The label and d must
// have the same algorithm; that of a version 1 label is
// imaevm.SignatureV1.ContentAlgorithm, and keys that are not VerifiersV1 are none
// for it.
func Verify(l imaevm.Label, d hash.Digest, keys Verifiers) error {
	if old, ok := l.(imaevm.SignatureV1); ok {
		return verifyV1(old, d, keys)
	}
	sig, ok := l.(imaevm.Signature)
	if !ok {
		return &UnsupportedError{Kind: l.Type(), Why: "not a signature"}
	}
	if sig.Alg != d.Algorithm() {
		return fmt.Errorf("a %s digest for a %s signature", d.Algorithm(), sig.Alg)
	}
	signed, err := signedDigest(sig.Kind, sig.Version, d)
	if err != nil {
		return err
	}
	v, err := keys.Verifier(sig.KeyID)
	if err != nil {
		return err
	}
	if m, ok := v.(MessageVerifier); ok && m.IsHashless() {
		if sig.Version != 3 {
			return hashless(sig.Kind, sig.Version)
		}
		err = m.VerifyMessage(imaevm.FileID(sig.Kind, d), sig.Raw)
	} else {
		err = v.VerifyDigest(signed, sig.Raw)
	}
	if err != nil {
		return badSignature(sig.KeyID, err)
	}
	return nil
}

// hashless is the error for a version that its key cannot have signed.
func hashless(kind imaevm.Type, version uint8) error {
	return &UnsupportedError{Kind: kind, Version: version, Why: ErrHashless.Error()}
}

// signedDigest returns the digest that the key signs for a label over d.
// Kernel: ima_appraise.c xattr_verify(), calc_file_id_hash(); version 2 over
// fs-verity digests is "invalid-signature-version", and they exist for two
// algorithms only (fs/verity/hash_algs.c).
func signedDigest(kind imaevm.Type, version uint8, d hash.Digest) (hash.Digest, error) {
	switch kind {
	case imaevm.TypeSignature, imaevm.TypePortable:
	case imaevm.TypeVerity:
		if version != 3 {
			return hash.Digest{}, &UnsupportedError{Kind: kind, Version: version, Why: "signatures over fs-verity digests have version 3"}
		}
		if a := d.Algorithm(); a != hash.SHA256 && a != hash.SHA512 {
			return hash.Digest{}, &UnsupportedError{Kind: kind, Version: version, Why: "fs-verity has sha256 and sha512 digests, not " + a.String()}
		}
	default:
		return hash.Digest{}, &UnsupportedError{Kind: kind, Version: version, Why: "not a kind of signature"}
	}
	switch version {
	case 2:
		return d, nil
	case 3:
		return hash.Sum(d.Algorithm(), imaevm.FileID(kind, d))
	}
	return hash.Digest{}, &UnsupportedError{Kind: kind, Version: version, Why: "there are versions 2 and 3"}
}

// Only returns the Verifiers that know one key.
func Only(v Verifier) Verifiers { return only{v} }

type only struct{ v Verifier }

func (o only) Verifier(id imaevm.KeyID) (Verifier, error) {
	if id != o.v.KeyID() {
		return nil, &UnknownKeyError{KeyID: id}
	}
	return o.v, nil
}
