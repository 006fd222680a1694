// Package signatures keeps signatures for other runs and machines, so that what was
// signed once need not be signed again.
//
// A store is a directory ([Dir]) or what answers GET and PUT over HTTP ([Web]). What
// is in it is a raw signature for each name:
//
//	v1/KEY/ALGORITHM/ABC/ABCDEF…
//
//	KEY        the SHA-256 of the public key (keys.Public.Fingerprint): ids of keys
//	           have 32 bits, and those of two keys can be the same
//	ALGORITHM  of the digest that is signed, as hash.Algorithm prints it; of an
//	           ML-DSA key, which signs messages, the word message
//	ABCDEF…    the digest that is signed, in hexadecimal, of a message its SHA-256
//	ABC        the first three digits of it, so that no directory is too large
//
// The digest is that of the content in a version 2 label, EVM's in security.evm, and
// that of imaevm.FileID in version 3: a signature does not depend on what kind of
// label it is for, or on the id of the key, and so neither is in the name. The names
// are those of files, too: any web server can give out a directory.
//
// # Trust
//
// A store is not trusted. What it gives is used only if it is a signature by the key
// over the digest, in the form that the key makes them; else the key makes one, and
// the store gets that. So whoever can write to a store can at most make it useless.
// With an ECDSA key they could choose among several valid signatures, of which a
// key in memory always makes the same. Whoever can read it learns the digests of
// what was signed.
//
// A store that fails is no failure of the run: see [Signer].
package signatures

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"imaseal/hash"
	"imaseal/sign"
)

// A Store holds signatures by their names. Its methods are safe for concurrent use,
// in other processes too. One that can hang gives up when ctx ends.
type Store interface {
	// Get returns the signature of that name. The error is ErrNone if there is
	// none; after any other the store may be out of reach.
	Get(ctx context.Context, name string) ([]byte, error)
	// Put stores a signature, or puts it in the place of another one.
	Put(ctx context.Context, name string, sig []byte) error
	// Parallel is how many calls at once keep the store busy.
	Parallel() int
	Close() error
}

// ErrNone says that a store does not have a signature.
var ErrNone = errors.New("there is no such signature")

// maxSize is that of the largest signature that a store gives: there are none of
// 5 KiB (ML-DSA-87 has 4,627 bytes).
const maxSize = 8 << 10

// A Key is the private key whose signatures are kept.
type Key interface {
	sign.MessageSigner
	// Fingerprint is that of the public key.
	Fingerprint() ([sha256.Size]byte, error)
	// IsOwn and IsOwnMessage report whether a signature is one that the key
	// makes.
	IsOwn(d hash.Digest, sig []byte) bool
	IsOwnMessage(message, sig []byte) bool
}

// Gone returns a Store that cannot be reached, because of err.
func Gone(err error) Store { return gone{err} }

type gone struct{ err error }

func (g gone) Get(context.Context, string) ([]byte, error) { return nil, g.err }
func (g gone) Put(context.Context, string, []byte) error   { return g.err }
func (gone) Parallel() int                                 { return 1 }
func (gone) Close() error                                  { return nil }

// layout is the version of the names.
const layout = "v1/"

// prefix is what the names of all signatures of a key begin with.
func prefix(k Key) (string, error) {
	print, err := k.Fingerprint()
	if err != nil {
		return "", err
	}
	return layout + hex.EncodeToString(print[:]) + "/", nil
}

// nameOf returns the name of the signature over a digest, behind the prefix.
func nameOf(d hash.Digest) string {
	return d.Algorithm().String() + fanned(d.Bytes())
}

// nameOfMessage returns the name of the signature over a message, behind the prefix.
func nameOfMessage(message []byte) string {
	sum := sha256.Sum256(message)
	return "message" + fanned(sum[:])
}

func fanned(digest []byte) string {
	text := hex.EncodeToString(digest)
	return "/" + text[:3] + "/" + text
}
