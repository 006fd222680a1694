package sign

import (
	"errors"
	"fmt"
	"strings"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// ErrSignature is what Verifiers return for a signature that is not theirs.
var ErrSignature = errors.New("signature does not match")

// ErrHashless says that a key signs no digests, which those of version 2 are.
var ErrHashless = errors.New("ML-DSA keys make signatures of version 3")

// An UnknownKeyError says that there is no key with the id.
type UnknownKeyError struct {
	KeyID fmt.Stringer // imaevm.KeyID or imaevm.KeyIDV1
	// KnownAs lists the ids of keys whose SHA-1 has this id, but whose
	// certificates give them another: the kernel does not find them by
	// KeyID, although the signature may be theirs.
	KnownAs []imaevm.KeyID
}

func (e *UnknownKeyError) Error() string {
	if len(e.KnownAs) == 0 {
		return fmt.Sprintf("no key with id %s", e.KeyID)
	}
	ids := make([]string, len(e.KnownAs))
	for i, id := range e.KnownAs {
		ids[i] = id.String()
	}
	return fmt.Sprintf("no key with id %s: a certificate holds such a key, but under the id %s", e.KeyID, strings.Join(ids, " and "))
}

// An AmbiguousKeyError says that different keys share the id. The kernel
// takes whichever its keyring lists first.
type AmbiguousKeyError struct {
	KeyID fmt.Stringer // imaevm.KeyID or imaevm.KeyIDV1
	Keys  []string     // where they came from
}

func (e *AmbiguousKeyError) Error() string {
	return fmt.Sprintf("%d different keys have the id %s: %s", len(e.Keys), e.KeyID, strings.Join(e.Keys, ", "))
}

// A BadSignatureError says that a label's signature is not the one its key
// makes: the content or the metadata it covers, or the label, were changed.
type BadSignatureError struct {
	KeyID fmt.Stringer // imaevm.KeyID or imaevm.KeyIDV1
}

func (e *BadSignatureError) Error() string {
	return fmt.Sprintf("bad signature by key %s", e.KeyID)
}

func badSignature(id fmt.Stringer, err error) error {
	if errors.Is(err, ErrSignature) {
		return &BadSignatureError{KeyID: id}
	}
	return err
}

// An UnsupportedError says that a label can be neither made nor checked.
type UnsupportedError struct {
	Kind    imaevm.Type
	Version uint8 // of a signature
	Why     string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("label of type 0x%02x, version %d: %s", byte(e.Kind), e.Version, e.Why)
}

// A DigestError says that the kernel accepts no signatures of a scheme over an
// algorithm's digests.
type DigestError struct {
	Scheme    Scheme
	Algorithm hash.Algorithm
}

func (e *DigestError) Error() string {
	names := make([]string, 0, len(e.Scheme.Digests()))
	for _, a := range e.Scheme.Digests() {
		names = append(names, a.String())
	}
	return fmt.Sprintf("%s keys cannot sign %s digests; the kernel takes %s", e.Scheme, e.Algorithm, strings.Join(names, ", "))
}
