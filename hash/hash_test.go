package hash_test

import (
	"crypto"
	"errors"
	"slices"
	"testing"

	"imaseal/hash"
)

// kernel is enum hash_algo with the names and sizes of crypto/hash_info.c,
// written down apart from the package's table.
var kernel = []struct {
	alg  hash.Algorithm
	name string
	size int
	std  crypto.Hash // Go's identifier, if it has one
	sum  bool        // can be computed
}{
	0:  {hash.MD4, "md4", 16, crypto.MD4, true},
	1:  {hash.MD5, "md5", 16, crypto.MD5, true},
	2:  {hash.SHA1, "sha1", 20, crypto.SHA1, true},
	3:  {hash.RMD160, "rmd160", 20, crypto.RIPEMD160, true},
	4:  {hash.SHA256, "sha256", 32, crypto.SHA256, true},
	5:  {hash.SHA384, "sha384", 48, crypto.SHA384, true},
	6:  {hash.SHA512, "sha512", 64, crypto.SHA512, true},
	7:  {hash.SHA224, "sha224", 28, crypto.SHA224, true},
	8:  {hash.RMD128, "rmd128", 16, 0, false},
	9:  {hash.RMD256, "rmd256", 32, 0, false},
	10: {hash.RMD320, "rmd320", 40, 0, false},
	11: {hash.WP256, "wp256", 32, 0, false},
	12: {hash.WP384, "wp384", 48, 0, false},
	13: {hash.WP512, "wp512", 64, 0, false},
	14: {hash.TGR128, "tgr128", 16, 0, false},
	15: {hash.TGR160, "tgr160", 20, 0, false},
	16: {hash.TGR192, "tgr192", 24, 0, false},
	17: {hash.SM3, "sm3", 32, 0, true},
	18: {hash.Streebog256, "streebog256", 32, 0, false},
	19: {hash.Streebog512, "streebog512", 64, 0, false},
	20: {hash.SHA3_256, "sha3-256", 32, crypto.SHA3_256, true},
	21: {hash.SHA3_384, "sha3-384", 48, crypto.SHA3_384, true},
	22: {hash.SHA3_512, "sha3-512", 64, crypto.SHA3_512, true},
}

func TestTable(t *testing.T) {
	all := hash.All()
	if len(all) != len(kernel) {
		t.Fatalf("%d algorithms, the kernel has %d", len(all), len(kernel))
	}
	for n, want := range kernel {
		a := all[n]
		if a != want.alg || a.Number() != uint8(n) || a.String() != want.name || a.Size() != want.size ||
			a.Crypto() != want.std || a.Computable() != want.sum {
			t.Errorf("%d is %s, number %d, %d bytes, crypto %v, computable %v; want %+v",
				n, a, a.Number(), a.Size(), a.Crypto(), a.Computable(), want)
		}
		if got, ok := hash.ByNumber(uint8(n)); got != want.alg || !ok {
			t.Errorf("ByNumber(%d) = %v, %v", n, got, ok)
		}
		if got, err := hash.Parse(want.name); got != want.alg || err != nil {
			t.Errorf("Parse(%q) = %v, %v", want.name, got, err)
		}
		if want.size > hash.MaxSize {
			t.Errorf("%s has %d bytes, more than MaxSize", want.name, want.size)
		}
		if want.std != 0 && (!want.std.Available() || want.std.Size() != want.size) {
			t.Errorf("Go's %v does not fit %s", want.std, want.name)
		}
	}
}

func TestNoAlgorithm(t *testing.T) {
	for _, a := range []hash.Algorithm{0, hash.SHA3_512 + 1, 255} {
		if a.String() != "none" || a.Size() != 0 || a.Number() != 255 || a.Crypto() != 0 || a.Computable() {
			t.Errorf("Algorithm(%d): %q, %d bytes, number %d", uint8(a), a, a.Size(), a.Number())
		}
		h, err := hash.New(a)
		if e, ok := errors.AsType[*hash.NotComputableError](err); !ok || e.Algorithm != a || h != nil {
			t.Errorf("New(%d) = %v, %v", uint8(a), h, err)
		}
		if d, err := hash.NewDigest(a, nil); err == nil || !d.IsZero() {
			t.Errorf("NewDigest(%d, nil) = %v, %v", uint8(a), d, err)
		}
	}
	for _, n := range []uint8{23, 24, 254, 255} {
		if a, ok := hash.ByNumber(n); a != 0 || ok {
			t.Errorf("ByNumber(%d) = %v, %v", n, a, ok)
		}
	}
	for _, name := range []string{"", "none", "sha", "sha2", "SHA256", "sha-256", "sha256 ", "sm3-256", "ripemd160"} {
		a, err := hash.Parse(name)
		if e, ok := errors.AsType[*hash.UnknownError](err); !ok || e.Name != name || a != 0 {
			t.Errorf("Parse(%q) = %v, %v", name, a, err)
		}
	}
}

func TestNames(t *testing.T) {
	want := []string{"md4", "md5", "rmd160", "sha1", "sha224", "sha256", "sha3-256", "sha3-384", "sha3-512", "sha384", "sha512", "sm3"}
	if got := hash.Names(); !slices.Equal(got, want) {
		t.Errorf("Names() = %q, want %q", got, want)
	}
	hash.Names()[0], hash.All()[0] = "changed", hash.SHA256
	if hash.Names()[0] != "md4" || hash.All()[0] != hash.MD4 {
		t.Error("a caller can change the table")
	}
}

func TestErrorText(t *testing.T) {
	const names = "md4, md5, rmd160, sha1, sha224, sha256, sha3-256, sha3-384, sha3-512, sha384, sha512, sm3"
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&hash.UnknownError{Name: "sha257"}, `unknown digest algorithm "sha257"; there are ` + names},
		{&hash.NotComputableError{Algorithm: hash.WP512}, "digest algorithm wp512 cannot be computed; there are " + names},
		{&hash.ShortError{Want: 3, Got: 2}, "read 2 of 3 bytes"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%T: %q, want %q", tt.err, got, tt.want)
		}
	}
}
