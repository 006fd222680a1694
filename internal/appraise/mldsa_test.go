package appraise

import (
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// TestMLDSA checks signatures of a key that signs no digests: right is version 3
// over the file id alone.
func TestMLDSA(t *testing.T) {
	ring := keyring(t)
	key, err := keys.Open(t.Context(), vectors.Path(t, "keys/mldsa65.key.pem"), nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(hash.SHA256, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := hash.Sum(hash.SHA256, []byte("other content"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []imaevm.Type{imaevm.TypeSignature, imaevm.TypePortable, imaevm.TypeVerity} {
		sig, err := sign.Label(t.Context(), key, kind, 3, d)
		if err != nil {
			t.Fatal(err)
		}
		if got := canBe(ring, sig); got != right {
			t.Errorf("type %d: can be %d", kind, got)
		}
		if got := check(ring, sig, d, true); got != right {
			t.Errorf("type %d: %d", kind, got)
		}
		if got := check(ring, sig, other, true); got != wrong {
			t.Errorf("type %d over other content: %d", kind, got)
		}
		if got := check(ring, sig, d, false); got != wrong {
			t.Errorf("type %d over the digest itself: %d", kind, got)
		}
		sig.Version = 2
		if got := canBe(ring, sig); got != wrong {
			t.Errorf("type %d, version 2: can be %d", kind, got)
		}
		sig.KeyID++
		if got := check(ring, sig, d, true); got != noKey {
			t.Errorf("type %d of another key: %d", kind, got)
		}
	}
}
