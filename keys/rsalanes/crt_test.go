package rsalanes

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// lanesOf returns the key for the lanes.
func lanesOf(t testing.TB, key *rsa.PrivateKey, a *arithmetic) *crt {
	t.Helper()
	c, err := newCRT(key, a)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		t.Fatalf("a key of %d primes of %d bits is not for the lanes", len(key.Primes), key.Primes[0].BitLen())
	}
	return c
}

// batchOf returns digests and their encoded messages.
func batchOf(t testing.TB, key *rsa.PrivateKey, h crypto.Hash, n int) (digests, messages [][]byte) {
	t.Helper()
	for range n {
		d := make([]byte, digestSize(h))
		rand.Read(d)
		m, ok := encode(h, d, key.Size())
		if !ok {
			t.Fatalf("%s is not encoded", h)
		}
		digests, messages = append(digests, d), append(messages, m)
	}
	return digests, messages
}

// same signs a batch in the lanes and compares it with crypto/rsa, all of it.
func same(t testing.TB, c *crt, key *rsa.PrivateKey, h crypto.Hash, digests, messages [][]byte) {
	t.Helper()
	for i, got := range c.sign(c.newWorkspace(), messages) {
		want, err := rsa.SignPKCS1v15(nil, key, h, digests[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s %x, lane %d of %d: got %x, want %x, key\n%s", h, digests[i], i, len(digests), got, want, pemOf(key))
		}
	}
}

// TestAgainstCryptoRSA signs with random keys what crypto/rsa signs too.
// RSA_LANES_PAIRS is how many keys and digests of each size there are at least.
func TestAgainstCryptoRSA(t *testing.T) {
	a := kernels(t)
	want := 160
	if testing.Short() {
		want = 16
	}
	if s := os.Getenv("RSA_LANES_PAIRS"); s != "" {
		var err error
		if want, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range sizes {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			n := 2
			for n*(n-1)*lanes < want {
				n++
			}
			done := 0
			for _, key := range pairs(t, size, n) {
				digests, messages := batchOf(t, key, crypto.SHA256, lanes)
				same(t, lanesOf(t, key, a), key, crypto.SHA256, digests, messages)
				done += lanes
			}
			t.Logf("%d pairs of %d primes", done, n)
		})
	}
}

// TestEdgeKeys signs with the lowest and the highest primes there are, in
// either order: the modulus can lack its highest bit.
func TestEdgeKeys(t *testing.T) {
	a := kernels(t)
	for _, e := range edges {
		one := big.NewInt(1)
		low := new(big.Int).Lsh(one, uint(e.bits-1))
		low.Add(low, big.NewInt(e.low))
		high := new(big.Int).Lsh(one, uint(e.bits))
		high.Sub(high, big.NewInt(e.high))
		random := primes(t, e.bits, 1)[0]
		for _, p := range [][]*big.Int{{low, high}, {high, low}, {low, random}, {random, high}} {
			key := newKey(t, 65537, p...)
			digests, messages := batchOf(t, key, crypto.SHA512, lanes)
			same(t, lanesOf(t, key, a), key, crypto.SHA512, digests, messages)
		}
	}
}

// TestExponents signs with other public exponents than the usual one.
func TestExponents(t *testing.T) {
	a := kernels(t)
	for _, e := range []int{3, 5, 17, 257, 65539, 1<<31 - 1} {
		for {
			p := primes(t, 1024, 2)
			if !suits(p[0], int64(e)) || !suits(p[1], int64(e)) {
				continue
			}
			key := newKey(t, e, p...)
			digests, messages := batchOf(t, key, crypto.SHA256, lanes)
			same(t, lanesOf(t, key, a), key, crypto.SHA256, digests, messages)
			break
		}
	}
}

// TestEdgeDigests signs digests of all zeros and all ones, with every hash, and
// batches of every size.
func TestEdgeDigests(t *testing.T) {
	a := kernels(t)
	for _, size := range sizes {
		key := generated[size]()
		c := lanesOf(t, key, a)
		for _, h := range append([]crypto.Hash{0, crypto.SHA1}, slices.Collect(maps.Keys(nist))...) {
			digests, messages := batchOf(t, key, h, lanes)
			for i, fill := range []byte{0, 0xff} {
				digests[i] = bytes.Repeat([]byte{fill}, digestSize(h))
				messages[i], _ = encode(h, digests[i], key.Size())
			}
			same(t, c, key, h, digests, messages)
		}
		for n := 1; n < lanes; n++ {
			digests, messages := batchOf(t, key, crypto.SHA256, n)
			same(t, c, key, crypto.SHA256, digests, messages)
		}
	}
}

// TestRoot takes numbers that no encoded message is: the roots of 0, 1, n-1,
// of multiples of the primes, and of random numbers.
func TestRoot(t *testing.T) {
	a := kernels(t)
	for _, size := range sizes {
		key := generated[size]()
		c := lanesOf(t, key, a)
		r := mathrand.New(mathrand.NewPCG(7, 8))
		p, q, one := key.Primes[0], key.Primes[1], big.NewInt(1)
		inputs := []*big.Int{
			new(big.Int), one, new(big.Int).Sub(key.N, one), p, q, new(big.Int).Sub(key.N, p),
			power(key, new(big.Int).Add(new(big.Int).Lsh(q, 7), big.NewInt(5))), // whose root is 128·q + 5
			new(big.Int).Mod(randomBits(size, r), key.N),
		}
		w := c.newWorkspace()
		for lane, x := range inputs {
			w.message.setBig(lane, x)
		}
		c.root(w)
		for lane, x := range inputs {
			if want := new(big.Int).Exp(x, key.D, key.N); w.power.big(lane).Cmp(want) != 0 {
				t.Errorf("%d bits, %x: got %x, want %x", size, x, w.power.big(lane), want)
			}
		}
	}
}

// power returns x to the public exponent.
func power(key *rsa.PrivateKey, x *big.Int) *big.Int {
	return new(big.Int).Exp(x, big.NewInt(int64(key.E)), key.N)
}

// TestCheckIsStrict gives check signatures that are wrong by one bit, or by the
// modulus.
func TestCheckIsStrict(t *testing.T) {
	a := kernels(t)
	for _, size := range sizes {
		key := generated[size]()
		c := lanesOf(t, key, a)
		_, messages := batchOf(t, key, crypto.SHA256, lanes)
		good := c.sign(c.newWorkspace(), messages)
		for _, bit := range []int{0, 1, 51, 52, size/2 - 1, size / 2, size - 2} {
			bad := make([][]byte, lanes)
			for lane := range bad {
				bad[lane] = bytes.Clone(good[lane])
				if lane%2 == 0 {
					bad[lane][len(bad[lane])-1-bit/8] ^= 1 << (bit % 8)
				}
			}
			w := c.newWorkspace()
			for lane, right := range c.check(w, messages, bad) {
				if right != (lane%2 == 1) {
					t.Errorf("%d bits, bit %d of lane %d: %v", size, bit, lane, right)
				}
			}
		}
	}
	key := newKey(t, 65537, lowPrimes()...)
	c := lanesOf(t, key, a)
	_, messages := batchOf(t, key, crypto.SHA256, lanes)
	good := c.sign(c.newWorkspace(), messages)
	for lane, s := range good {
		x := new(big.Int).SetBytes(s)
		good[lane] = x.Add(x, key.N).FillBytes(make([]byte, c.size)) // n has 2047 bits
	}
	if right := c.check(c.newWorkspace(), messages, good); right != [lanes]bool{} {
		t.Errorf("signatures that are not less than the modulus: %v", right)
	}
}

// lowPrimes returns two primes of 1024 bits, with a product of 2047.
func lowPrimes() []*big.Int {
	low := new(big.Int).Lsh(big.NewInt(1), 1023)
	p := new(big.Int).Add(low, big.NewInt(edges[0].low))
	q := new(big.Int).SetBit(p, 1000, 1) // FIPS 186-5 wants primes apart, and so does Validate
	for !q.ProbablyPrime(20) || !suits(q, 65537) {
		q.Add(q, big.NewInt(2))
	}
	return []*big.Int{p, q}
}

// TestFaultyKernel disturbs one bit, in one lane, of what one step gives: that
// lane has no signature then, and the others have theirs.
func TestFaultyKernel(t *testing.T) {
	a := kernels(t)
	for _, size := range sizes {
		key := generated[size]()
		digests, messages := batchOf(t, key, crypto.SHA256, lanes)
		s := newSpy(a)
		c := lanesOf(t, key, &s.arithmetic)
		same(t, c, key, crypto.SHA256, digests, messages)
		good := c.sign(c.newWorkspace(), messages)
		calls := s.calls.Load() / 2
		r := mathrand.New(mathrand.NewPCG(9, uint64(size)))
		rounds := 60
		if testing.Short() {
			rounds = 8
		}
		for range rounds {
			lane := r.IntN(lanes)
			s.calls.Store(0)
			s.at = 1 + r.Int64N(calls)
			where := ""
			s.change = func(z number) {
				limb, bit := r.IntN(len(z)), r.IntN(limbBits)
				where = fmt.Sprintf("call %d of %d, bit %d of limb %d", s.at, calls, bit, limb)
				z[limb][lane] ^= 1 << bit
			}
			for i, got := range c.sign(c.newWorkspace(), messages) {
				if i == lane && got != nil && !bytes.Equal(got, good[i]) {
					t.Errorf("%d bits, %s: a wrong signature leaves", size, where)
				}
				if i != lane && !bytes.Equal(got, good[i]) {
					t.Errorf("%d bits, %s of lane %d: lane %d has another signature", size, where, lane, i)
				}
			}
			if where == "" {
				t.Fatalf("%d bits: call %d was not made", size, s.at)
			}
		}
	}
}

// TestFaultyKey disturbs one bit of everything that a key is made of: in one
// lane, or in all.
func TestFaultyKey(t *testing.T) {
	a := kernels(t)
	key := generated[2048]()
	_, messages := batchOf(t, key, crypto.SHA256, lanes)
	good := lanesOf(t, key, a).sign(lanesOf(t, key, a).newWorkspace(), messages)
	for name, part := range map[string]func(c *crt) number{
		"p":         func(c *crt) number { return c.p.m },
		"k0 of p":   func(c *crt) number { return number{c.p.k0} },
		"R mod p":   func(c *crt) number { return c.p.r },
		"R² mod p":  func(c *crt) number { return c.p.rr },
		"R³ mod p":  func(c *crt) number { return c.p.rrr },
		"q":         func(c *crt) number { return c.q.m },
		"R² mod q":  func(c *crt) number { return c.q.rr },
		"R³ mod q":  func(c *crt) number { return c.q.rrr },
		"n":         func(c *crt) number { return c.n.m },
		"R² mod n":  func(c *crt) number { return c.n.rr },
		"R/q mod p": func(c *crt) number { return c.qInverse },
		"R·q mod n": func(c *crt) number { return c.qFactor },
	} {
		for _, lane := range []int{0, 5, lanes} {
			c := lanesOf(t, key, a)
			z := part(c)
			for l := range lanes {
				if l == lane || lane == lanes {
					z[len(z)/2][l] ^= 1 << 17
				}
			}
			if name == "k0 of p" {
				c.p.k0 = z[0]
			}
			for l, got := range c.sign(c.newWorkspace(), messages) {
				switch disturbed := l == lane || lane == lanes; {
				case disturbed && got != nil:
					t.Errorf("%s: lane %d has a signature", name, l)
				case got != nil && !bytes.Equal(got, good[l]), !disturbed && got == nil:
					t.Errorf("%s: lane %d has another signature", name, l)
				}
			}
		}
	}
}

// TestFaultyExponent disturbs a bit of an exponent, in all lanes of course.
func TestFaultyExponent(t *testing.T) {
	a := kernels(t)
	key := generated[2048]()
	_, messages := batchOf(t, key, crypto.SHA256, lanes)
	for i := range 2 {
		c := lanesOf(t, key, a)
		h := []half{c.p, c.q}[i]
		h.digits[100] ^= 4
		for lane, got := range c.sign(c.newWorkspace(), messages) {
			if got != nil {
				t.Errorf("exponent %d: lane %d has a signature", i, lane)
			}
		}
	}
}

// TestWiped looks for what a batch and a key leave in memory of their own.
func TestWiped(t *testing.T) {
	a := kernels(t)
	key := generated[2048]()
	c := lanesOf(t, key, a)
	w := c.newWorkspace()
	_, messages := batchOf(t, key, crypto.SHA256, lanes)
	c.sign(w, messages)
	if i := firstUsed(w.memory.all); i >= 0 {
		t.Errorf("vec %d of the workspace is not zero", i)
	}
	if firstUsed(c.memory.all) < 0 {
		t.Error("the key is nowhere")
	}
	c.wipe()
	if i := firstUsed(c.memory.all); i >= 0 {
		t.Errorf("vec %d of the key is not zero", i)
	}
	if len(bytes.Trim(c.p.digits, "\x00"))+len(bytes.Trim(c.q.digits, "\x00")) > 0 || c.p.k0 != (vec{}) || c.q.k0 != (vec{}) {
		t.Error("something of the key is left")
	}
}

func firstUsed(z number) int {
	for i := range z {
		if z[i] != (vec{}) {
			return i
		}
	}
	return -1
}
