package imaevm_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"imaseal/hash"
)

// bin decodes hexadecimal with spaces.
func bin(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// zeros and ones return n bytes in hexadecimal.
func zeros(n int) string { return strings.Repeat("00", n) }
func ones(n int) string  { return strings.Repeat("11", n) }

// newDigest returns a digest of a, with s in hexadecimal.
func newDigest(t testing.TB, a hash.Algorithm, s string) hash.Digest {
	t.Helper()
	d, err := hash.NewDigest(a, bin(s))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
