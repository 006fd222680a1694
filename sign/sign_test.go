package sign

import (
	"context"
	"errors"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// echo is a Signer and Verifier whose signature is the digest.
type echo imaevm.KeyID

func (k echo) KeyID() imaevm.KeyID { return imaevm.KeyID(k) }

func (k echo) SignDigest(_ context.Context, d hash.Digest) ([]byte, error) { return d.Bytes(), nil }

func (k echo) VerifyDigest(d hash.Digest, sig []byte) error {
	if string(sig) != string(d.Bytes()) {
		return ErrSignature
	}
	return nil
}

func TestLabel(t *testing.T) {
	sum := func(a hash.Algorithm) hash.Digest {
		d, err := hash.Sum(a, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, test := range []struct {
		kind    imaevm.Type
		version uint8
		alg     hash.Algorithm
		want    string // the error
	}{
		{imaevm.TypeSignature, 2, hash.SHA256, ""},
		{imaevm.TypeSignature, 3, hash.SHA384, ""},
		{imaevm.TypePortable, 2, hash.SHA1, ""},
		{imaevm.TypePortable, 3, hash.SHA512, ""},
		{imaevm.TypeVerity, 3, hash.SHA256, ""},
		{imaevm.TypeVerity, 3, hash.SHA512, ""},
		{imaevm.TypeVerity, 3, hash.SHA384, "label of type 0x06, version 3: fs-verity has sha256 and sha512 digests, not sha384"},
		{imaevm.TypeVerity, 2, hash.SHA256, "label of type 0x06, version 2: signatures over fs-verity digests have version 3"},
		{imaevm.TypeSignature, 1, hash.SHA256, "label of type 0x03, version 1: there are versions 2 and 3"},
		{imaevm.TypeSignature, 4, hash.SHA256, "label of type 0x03, version 4: there are versions 2 and 3"},
		{imaevm.TypeHash, 2, hash.SHA256, "label of type 0x04, version 2: not a kind of signature"},
	} {
		d, key := sum(test.alg), echo(7)
		label, err := Label(t.Context(), key, test.kind, test.version, d)
		if test.want != "" {
			if _, ok := errors.AsType[*UnsupportedError](err); !ok || err.Error() != test.want {
				t.Errorf("%v %d %s: %v, want %s", test.kind, test.version, test.alg, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v %d %s: %v", test.kind, test.version, test.alg, err)
			continue
		}
		if label.Kind != test.kind || label.Version != test.version || label.Alg != test.alg || label.KeyID != 7 {
			t.Errorf("%+v", label)
		}
		if same := string(label.Raw) == string(d.Bytes()); same != (test.version == 2) {
			t.Errorf("%v version %d signs the digest itself: %v", test.kind, test.version, same)
		}
		if err := Verify(label, d, Only(key)); err != nil {
			t.Errorf("%v %d %s: %v", test.kind, test.version, test.alg, err)
		}
		if _, ok := errors.AsType[*UnknownKeyError](Verify(label, d, Only(echo(8)))); !ok {
			t.Errorf("another key is not an unknown one")
		}
	}
}

func TestSchemes(t *testing.T) {
	for _, test := range []struct {
		scheme Scheme
		alg    hash.Algorithm
		ok     bool
	}{
		{RSA, hash.MD5, true}, {RSA, hash.RMD160, true}, {RSA, hash.SHA3_512, true},
		{RSA, hash.MD4, false}, {RSA, hash.SM3, false}, {RSA, hash.Streebog256, false},
		{ECDSA, hash.SHA1, true}, {ECDSA, hash.SHA3_256, true},
		{ECDSA, hash.MD5, false}, {ECDSA, hash.RMD160, false}, {ECDSA, hash.SM3, false},
	} {
		err := test.scheme.Check(test.alg)
		if _, isDigest := errors.AsType[*DigestError](err); (err == nil) != test.ok || isDigest == test.ok {
			t.Errorf("%s with %s: %v", test.scheme, test.alg, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&UnknownKeyError{KeyID: imaevm.KeyID(1)}, "no key with id 00000001"},
		{&UnknownKeyError{KeyID: imaevm.KeyID(1), KnownAs: []imaevm.KeyID{2}}, "no key with id 00000001: a certificate holds such a key, but under the id 00000002"},
		{&AmbiguousKeyError{KeyID: imaevm.KeyID(1), Keys: []string{"a", "b"}}, "2 different keys have the id 00000001: a, b"},
		{&BadSignatureError{KeyID: imaevm.KeyID(1)}, "bad signature by key 00000001"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}
