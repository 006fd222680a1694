package rsalanes

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
)

// sizes are the sizes of keys that the lanes sign with.
var sizes = []int{2048, 3072, 4096}

// primes returns so many random primes of a length.
func primes(t testing.TB, bits, n int) []*big.Int {
	t.Helper()
	found := make([]*big.Int, n)
	var wait sync.WaitGroup
	for i := range found {
		wait.Go(func() {
			for {
				p, err := rand.Prime(rand.Reader, bits)
				if err != nil {
					t.Error(err)
					return
				}
				if suits(p, 65537) {
					found[i] = p
					return
				}
			}
		})
	}
	if wait.Wait(); t.Failed() {
		t.FailNow()
	}
	return found
}

// suits reports whether a prime can be part of a key with the exponent.
func suits(p *big.Int, e int64) bool {
	less := new(big.Int).Sub(p, big.NewInt(1))
	return less.GCD(nil, nil, less, big.NewInt(e)).IsInt64() && less.Int64() == 1
}

// newKey returns the key of some primes.
func newKey(t testing.TB, e int, primes ...*big.Int) *rsa.PrivateKey {
	t.Helper()
	n, phi := big.NewInt(1), big.NewInt(1)
	for _, p := range primes {
		n.Mul(n, p)
		phi.Mul(phi, new(big.Int).Sub(p, big.NewInt(1)))
	}
	d := new(big.Int).ModInverse(big.NewInt(int64(e)), phi)
	if d == nil {
		t.Fatalf("%d is not prime to the order", e)
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: e}, D: d, Primes: primes}
	key.Precompute()
	if err := key.Validate(); err != nil {
		t.Fatal(err)
	}
	return key
}

// pairs returns a key for each ordered pair of n random primes, so that few
// primes make many keys.
func pairs(t testing.TB, size, n int) []*rsa.PrivateKey {
	t.Helper()
	p := primes(t, size/2, n)
	var keys []*rsa.PrivateKey
	for i := range p {
		for j := range p {
			if i != j {
				keys = append(keys, newKey(t, 65537, p[i], p[j]))
			}
		}
	}
	return keys
}

// generated has a key of each size, to be made once.
var generated = map[int]func() *rsa.PrivateKey{}

func init() {
	for _, size := range sizes {
		generated[size] = sync.OnceValue(func() *rsa.PrivateKey {
			key, err := rsa.GenerateKey(rand.Reader, size)
			if err != nil {
				panic(err)
			}
			return key
		})
	}
}

// pemOf returns a key that a test was made with, to be tried again.
func pemOf(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// edges has the lowest and the highest prime of each length: 2^(bits-1)+low and 2^bits-high.
var edges = []struct {
	bits      int
	low, high int64
}{
	{1024, 1155, 105},
	{1536, 699, 3453},
	{2048, 1919, 1557},
}

// digestSize returns the size of what is signed with a hash; 20 for none.
func digestSize(h crypto.Hash) int {
	if h == 0 {
		return 20
	}
	return h.Size()
}
