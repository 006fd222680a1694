package rsalanes

import (
	"crypto/rsa"
	"fmt"
	"math/big"

	"filippo.io/bigmod"
)

// A modulus is an odd number m with what Montgomery's multiplication by it
// needs. Everything is the same in all lanes. R is 2^(52·limbs), and at least
// 2^16 times m.
type modulus struct {
	m   number
	k0  vec    // -m^-1 mod 2^52
	r   number // R mod m, one in Montgomery's form
	rr  number // R² mod m
	rrr number // R³ mod m
}

// newModulus takes a modulus in big-endian bytes. Its limbs lie in memory from
// a.
func newModulus(a *arena, bytes []byte, limbs int) (*modulus, *bigmod.Modulus, error) {
	mod, err := bigmod.NewModulus(bytes)
	if err != nil {
		return nil, nil, err
	}
	m := &modulus{m: a.number(limbs), r: a.number(limbs), rr: a.number(limbs), rrr: a.number(limbs)}
	m.m.setAll(bytes)
	for lane := range lanes {
		m.k0[lane] = negatedInverse(m.m[0][lane])
	}
	two, err := bigmod.NewNat().SetBytes([]byte{2}, mod)
	if err != nil {
		return nil, nil, err
	}
	r := bigmod.NewNat().ExpShortVarTime(two, uint(limbs*limbBits), mod)
	power, err := bigmod.NewNat().SetBytes([]byte{1}, mod)
	if err != nil {
		return nil, nil, err
	}
	for _, z := range []number{m.r, m.rr, m.rrr} {
		z.setAll(power.Mul(r, mod).Bytes(mod))
	}
	return m, mod, nil
}

// negatedInverse returns -x^-1 mod 2^52 for an odd x, by Newton's iteration,
// which doubles the number of right bits.
func negatedInverse(x uint64) uint64 {
	y := x // right for three bits, since x² = 1 mod 8
	for range 5 {
		y *= 2 - x*y
	}
	return -y & limbMask
}

func (m *modulus) limbs() int { return len(m.m) }

func (m *modulus) blocks() uint64 { return uint64(len(m.m) / block) }

// A half is a prime of the key with its exponent.
type half struct {
	*modulus
	// digits are the exponent's, d mod p-1, in base 16, the highest first.
	digits []byte
}

const (
	digitBits = 4
	entries   = 1 << digitBits // of the table of powers
)

// A crt is a private key as the lanes need it: the moduli p, q and n, and
// what puts the halves of a result together.
type crt struct {
	arithmetic *arithmetic
	size       int // of the modulus and of a signature, in bytes
	exponent   int // public
	p, q       half
	n          *modulus
	qInverse   number // R/q mod p
	qFactor    number // R·q mod n, with the R of n
	memory     *arena
}

// limbsOfPrimes are the lengths of primes, in bits, that there are kernels for.
var limbsOfPrimes = map[int]int{1024: 20, 1536: 30, 2048: 40}

// newCRT returns nil for a key that is not of two primes of the same length, one
// of limbsOfPrimes. The key must be valid and have been precomputed.
func newCRT(key *rsa.PrivateKey, a *arithmetic) (*crt, error) {
	if len(key.Primes) != 2 || key.Primes[0].BitLen() != key.Primes[1].BitLen() {
		return nil, nil
	}
	bits := key.Primes[0].BitLen()
	limbs := limbsOfPrimes[bits]
	if limbs == 0 {
		return nil, nil
	}
	// Four numbers for each modulus, of which n has twice as many limbs, and two.
	memory := newArena(4*(limbs+limbs+2*limbs) + limbs + 2*limbs)
	c := &crt{arithmetic: a, size: key.Size(), exponent: key.E, memory: memory}
	p, q := key.Primes[0].FillBytes(make([]byte, bits/8)), key.Primes[1].FillBytes(make([]byte, bits/8))
	defer clear(p)
	defer clear(q)
	var modP, modN *bigmod.Modulus
	var err error
	if c.p.modulus, modP, err = newModulus(c.memory, p, limbs); err != nil {
		return nil, fmt.Errorf("first prime: %w", err)
	}
	if c.q.modulus, _, err = newModulus(c.memory, q, limbs); err != nil {
		return nil, fmt.Errorf("second prime: %w", err)
	}
	if c.n, modN, err = newModulus(c.memory, key.N.FillBytes(make([]byte, c.size)), 2*limbs); err != nil {
		return nil, fmt.Errorf("modulus: %w", err)
	}
	c.p.digits, c.q.digits = digits(key.Precomputed.Dp, bits), digits(key.Precomputed.Dq, bits)
	inverse := key.Precomputed.Qinv.FillBytes(make([]byte, bits/8))
	defer clear(inverse)
	if c.qInverse, err = c.times(inverse, c.p.r, modP); err != nil {
		return nil, fmt.Errorf("coefficient: %w", err)
	}
	if c.qFactor, err = c.times(q, c.n.r, modN); err != nil {
		return nil, fmt.Errorf("second prime: %w", err)
	}
	return c, nil
}

// times returns x·y modulo m. x is less than m, and y the same in all lanes.
func (c *crt) times(x []byte, y number, m *bigmod.Modulus) (number, error) {
	a, err := bigmod.NewNat().SetBytes(x, m)
	if err != nil {
		return nil, err
	}
	b, err := bigmod.NewNat().SetBytes(y.bytes(0, m.Size()), m)
	if err != nil {
		return nil, err
	}
	z := c.memory.number(len(y))
	z.setAll(a.Mul(b, m).Bytes(m))
	return z, nil
}

// digits returns an exponent of so many bits in base 16, the highest digit
// first.
func digits(x *big.Int, bits int) []byte {
	b := x.FillBytes(make([]byte, bits/8))
	defer clear(b)
	d := make([]byte, 0, 2*len(b))
	for _, v := range b {
		d = append(d, v>>digitBits, v&(entries-1))
	}
	return d
}

// wipe makes the key unusable.
func (c *crt) wipe() {
	c.memory.wipe()
	clear(c.p.digits)
	clear(c.q.digits)
	clear(c.p.k0[:])
	clear(c.q.k0[:])
}
