// Package p256 checks many ECDSA signatures by one P-256 key, in less than half of
// the time that crypto/ecdsa takes for each.
//
// A signature (r, s) over the number e, the first 256 bits of the digest, is right
// if r is the x coordinate, modulo the order n, of
//
//	e/s·G + r/s·Q
//
// (FIPS 186-5, section 6.4.2; SEC 1, section 4.1.4). G is the curve's generator,
// whose multiples crypto/ecdsa has in a table; Q is the key, and multiplying it is
// what takes the time. This package makes such a table for Q: all multiples
// j·2^(8i)·Q for the byte j at the place i of a scalar, so that 32 additions are left
// of 256 doublings and some 50 additions.
//
// All that is computed with is public: nothing here takes the same time for all
// inputs, and nothing here may be used with a private key.
//
// The arithmetic of points is that of the standard library, exported by
// filippo.io/nistec. What is found wrong is checked again with crypto/ecdsa, so that a
// right signature cannot be refused; that a wrong one is never taken is what the
// tests are about.
package p256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"math/big"
	"sync"
	"sync/atomic"

	"filippo.io/nistec"
)

// worthwhile is how many signatures are checked before the table is made, which
// takes as long as some fifty.
const worthwhile = 64

// A Verifier checks signatures by one key. It is safe for concurrent use. Its
// table takes some 800 KiB.
type Verifier struct {
	key     *ecdsa.PublicKey
	checked atomic.Int64
	once    sync.Once
	table   atomic.Pointer[table]
}

// NewVerifier returns a Verifier of a key, nil for a key of another curve.
func NewVerifier(key *ecdsa.PublicKey) *Verifier {
	if key.Curve != elliptic.P256() {
		return nil
	}
	return &Verifier{key: key}
}

// Verify is crypto/ecdsa.Verify with the key.
func (v *Verifier) Verify(digest []byte, r, s *big.Int) bool {
	if v.worthTable() {
		if t := v.table.Load(); t != nil && t.verify(digest, r, s) {
			return true
		}
	}
	return ecdsa.Verify(v.key, digest, r, s)
}

// worthTable reports whether there is or may be a table, and has the first caller
// make it. Others do not wait for that.
func (v *Verifier) worthTable() bool {
	switch n := v.checked.Add(1); {
	case n < worthwhile || fips140.Enforced(): // this is no validated module
		return false
	case n == worthwhile:
		v.once.Do(func() { v.table.Store(newTable(v.key)) })
	}
	return true
}

const (
	scalarSize = 32               // bytes, and places in the table
	multiples  = 1<<8 - 1         // of a byte, without 0
	pointSize  = 1 + 2*scalarSize // not compressed
)

// A table has the multiples of a point for each byte of a scalar, the last first.
type table [scalarSize][multiples]nistec.P256Point

// newTable returns the table of a key; nil for one that is no point of the curve.
func newTable(key *ecdsa.PublicKey) *table {
	encoded, err := key.Bytes()
	if err != nil || len(encoded) != pointSize {
		return nil
	}
	base, err := nistec.NewP256Point().SetBytes(encoded)
	if err != nil {
		return nil
	}
	t := new(table)
	for i := range t {
		t[i][0].Set(base)
		for j := 1; j < multiples; j++ {
			t[i][j].Add(&t[i][j-1], base)
		}
		base.Add(&t[i][multiples-1], base) // 256 times
	}
	return t
}

// add adds a multiple of the table's point to p.
func (t *table) add(p *nistec.P256Point, scalar *[scalarSize]byte) {
	for i := range t {
		if b := scalar[scalarSize-1-i]; b != 0 {
			p.Add(p, &t[i][b-1])
		}
	}
}

var order = elliptic.P256().Params().N

// verify reports whether (r, s) is a signature over the digest.
func (t *table) verify(digest []byte, r, s *big.Int) bool {
	if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
		return false
	}
	inverse := new(big.Int).ModInverse(s, order)
	var u1, u2 [scalarSize]byte
	n := new(big.Int).SetBytes(digest[:min(len(digest), scalarSize)])
	n.Mod(n.Mul(n, inverse), order).FillBytes(u1[:])
	n.Mod(n.Mul(r, inverse), order).FillBytes(u2[:])
	p, err := nistec.NewP256Point().ScalarBaseMult(u1[:])
	if err != nil {
		return false
	}
	t.add(p, &u2)
	x, err := p.BytesX() // an error at infinity
	if err != nil {
		return false
	}
	return n.Mod(n.SetBytes(x), order).Cmp(r) == 0
}
