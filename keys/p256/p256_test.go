package p256

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	mathrand "math/rand/v2"
	"sync"
	"testing"

	"filippo.io/nistec"
)

// keyOf returns the key of a private number.
func keyOf(t testing.TB, d *big.Int) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, scalarSize)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signature(t testing.TB, k *ecdsa.PrivateKey, digest []byte) (r, s *big.Int) {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, k, digest)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

// numbers are those at which arithmetic modulo the order or the field may go wrong.
func numbers() []*big.Int {
	p := elliptic.P256().Params().P
	var all []*big.Int
	for _, base := range []*big.Int{new(big.Int), order, new(big.Int).Rsh(order, 1), p, new(big.Int).Lsh(big.NewInt(1), 128), new(big.Int).Lsh(big.NewInt(1), 256)} {
		for d := int64(-2); d <= 2; d++ {
			all = append(all, new(big.Int).Add(base, big.NewInt(d)))
		}
	}
	return append(all, big.NewInt(255), big.NewInt(256), big.NewInt(257))
}

// The table takes what crypto/ecdsa takes, and nothing else: with random keys, with
// such whose multiples meet the generator's, and with numbers at every edge.
func TestAgainstCryptoECDSA(t *testing.T) {
	keys := []*ecdsa.PrivateKey{newKey(t), newKey(t)}
	for _, d := range []int64{1, 2, 3, 255, 256, 257, 65536} {
		keys = append(keys, keyOf(t, big.NewInt(d)), keyOf(t, new(big.Int).Sub(order, big.NewInt(d))))
	}
	edges := numbers()
	digests := [][]byte{make([]byte, 32), bytes.Repeat([]byte{255}, 32), {}, {1}, bytes.Repeat([]byte{7}, 20), bytes.Repeat([]byte{9}, 64)}
	for _, e := range edges {
		if e.Sign() >= 0 && e.BitLen() <= 256 {
			digests = append(digests, e.FillBytes(make([]byte, 32)))
		}
	}
	for _, k := range keys {
		table := newTable(&k.PublicKey)
		check := func(digest []byte, r, s *big.Int) bool {
			t.Helper()
			want := ecdsa.Verify(&k.PublicKey, digest, r, s)
			if got := table.verify(digest, r, s); got != want {
				t.Fatalf("key %v, digest %x, r %x, s %x: %v, and %v by crypto/ecdsa", k.PublicKey, digest, r, s, got, want)
			}
			return want
		}
		for _, digest := range digests {
			r, s := signature(t, k, digest)
			if !check(digest, r, s) {
				t.Fatal("a signature of crypto/ecdsa is none")
			}
			check(digest, r, new(big.Int).Sub(order, s)) // right, too
			check(digest, new(big.Int).Add(r, order), s)
			check(digest, r, new(big.Int).Add(s, order))
			check(digest, s, r)
			check(digest, new(big.Int).Neg(r), s)
			for _, e := range edges {
				check(digest, e, s)
				check(digest, r, e)
			}
		}
	}
}

// An x coordinate of at least the order, which no random signature has, counts
// modulo the order.
func TestLargeX(t *testing.T) {
	field := elliptic.P256().Params().P
	x := new(big.Int).Set(order)
	point := nistec.NewP256Point()
	for {
		if x.Add(x, big.NewInt(1)); x.Cmp(field) >= 0 {
			t.Fatal("no such point")
		}
		if _, err := point.SetBytes(append([]byte{2}, x.FillBytes(make([]byte, scalarSize))...)); err == nil {
			break
		}
	}
	// Any key is the right one of some message: Q = (s·R - e·G) / r.
	r := new(big.Int).Sub(x, order)
	s, digest := big.NewInt(12345), sha256.Sum256([]byte("message"))
	inverse := new(big.Int).ModInverse(r, order)
	scalar := func(n *big.Int) []byte {
		n = new(big.Int).Mul(n, inverse)
		return n.Mod(n, order).FillBytes(make([]byte, scalarSize))
	}
	a, err := nistec.NewP256Point().ScalarMult(point, scalar(s))
	if err != nil {
		t.Fatal(err)
	}
	b, err := nistec.NewP256Point().ScalarBaseMult(scalar(new(big.Int).Neg(new(big.Int).SetBytes(digest[:]))))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), a.Add(a, b).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !ecdsa.Verify(key, digest[:], r, s) {
		t.Fatal("crypto/ecdsa does not take it")
	}
	table := newTable(key)
	if !table.verify(digest[:], r, s) {
		t.Error("not taken")
	}
	if x.Sub(x, big.NewInt(1)); table.verify(digest[:], x, s) {
		t.Error("taken with another x")
	}
}

// No bit of a signature or digest can be another.
func TestEveryBit(t *testing.T) {
	k := newKey(t)
	table, digest := newTable(&k.PublicKey), sha256.Sum256([]byte("content"))
	r, s := signature(t, k, digest[:])
	for i := range 256 {
		flip := func(n *big.Int) *big.Int { return new(big.Int).SetBit(n, i, n.Bit(i)^1) }
		other := flip(new(big.Int).SetBytes(digest[:])).FillBytes(make([]byte, 32))
		if table.verify(other, r, s) || table.verify(digest[:], flip(r), s) || table.verify(digest[:], r, flip(s)) {
			t.Errorf("bit %d is no matter", i)
		}
	}
}

// A Verifier says the same before it has a table, while another goroutine makes
// it, and after.
func TestVerifier(t *testing.T) {
	k, other := newKey(t), newKey(t)
	v := NewVerifier(&k.PublicKey)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range worthwhile {
				digest := sha256.Sum256([]byte{byte(i), byte(j)})
				r, s := signature(t, k, digest[:])
				if !v.Verify(digest[:], r, s) || v.Verify(digest[:], s, r) {
					t.Errorf("signature %d of %d is judged wrong", j, i)
				}
				r, s = signature(t, other, digest[:])
				if v.Verify(digest[:], r, s) {
					t.Error("takes a signature by another key")
				}
			}
		})
	}
	wg.Wait()
	if v.table.Load() == nil {
		t.Error("no table was made")
	}
	// What the table were to refuse by mistake is taken.
	v.table.Store(newTable(&other.PublicKey))
	digest := sha256.Sum256(nil)
	if r, s := signature(t, k, digest[:]); !v.Verify(digest[:], r, s) {
		t.Error("crypto/ecdsa was not asked")
	}
}

// Few signatures are not worth a table, and other curves have none.
func TestNoTable(t *testing.T) {
	k := newKey(t)
	v, digest := NewVerifier(&k.PublicKey), make([]byte, 32)
	r, s := signature(t, k, digest)
	for range worthwhile - 1 {
		v.Verify(digest, r, s)
	}
	if v.table.Load() != nil {
		t.Error("a table for few")
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if NewVerifier(&p384.PublicKey) != nil {
		t.Error("a Verifier for P-384")
	}
	if newTable(&p384.PublicKey) != nil {
		t.Error("a table for P-384")
	}
}

func FuzzVerify(f *testing.F) {
	k := newKey(f)
	table := newTable(&k.PublicKey)
	digest := sha256.Sum256([]byte("content"))
	r, s := signature(f, k, digest[:])
	f.Add(digest[:], r.Bytes(), s.Bytes(), uint64(0))
	for _, n := range numbers() {
		f.Add(digest[:], n.Bytes(), s.Bytes(), uint64(1))
	}
	f.Fuzz(func(t *testing.T, digest, r, s []byte, seed uint64) {
		check := func(r, s *big.Int) {
			if got, want := table.verify(digest, r, s), ecdsa.Verify(&k.PublicKey, digest, r, s); got != want {
				t.Fatalf("digest %x, r %x, s %x: %v, and %v by crypto/ecdsa", digest, r, s, got, want)
			}
		}
		if len(r) > 64 || len(s) > 64 {
			return
		}
		check(new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
		right, its := signature(t, k, digest)
		check(right, its)
		random := mathrand.New(mathrand.NewPCG(seed, 0))
		check(right, new(big.Int).SetBit(its, random.IntN(256), uint(random.IntN(2))))
	})
}

func BenchmarkVerify(b *testing.B) {
	k, digest := newKey(b), sha256.Sum256(nil)
	r, s := signature(b, k, digest[:])
	b.Run("crypto/ecdsa", func(b *testing.B) {
		for b.Loop() {
			ecdsa.Verify(&k.PublicKey, digest[:], r, s)
		}
	})
	b.Run("table", func(b *testing.B) {
		table := newTable(&k.PublicKey)
		for b.Loop() {
			table.verify(digest[:], r, s)
		}
	})
	b.Run("making the table", func(b *testing.B) {
		for b.Loop() {
			newTable(&k.PublicKey)
		}
	})
}
