package rsalanes

import (
	"math/big"
	"sync/atomic"
	"unsafe"
)

// reference is the arithmetic by math/big, one lane after the other. It gives
// the very numbers that the kernels give, not only the same residues.
func reference() *arithmetic {
	return &arithmetic{mul: referenceMul, sqr: referenceSqr, pick: referencePick}
}

func referenceMul(z, x, y, m, k0, _ *vec, blocks uint64) {
	k := int(blocks) * block
	var mod, inverse *big.Int
	for lane := range lanes {
		if l := vecs(m, k).big(lane); mod == nil || mod.Cmp(l) != 0 {
			mod, inverse = l, inverseOf(l, limbBits*k)
		}
		p := new(big.Int).Mul(vecs(x, k).big(lane), vecs(y, k).big(lane))
		q := low(new(big.Int).Mul(low(new(big.Int).Neg(p), limbBits*k), inverse), limbBits*k)
		vecs(z, k).setBig(lane, p.Add(p, q.Mul(q, mod)).Rsh(p, uint(limbBits*k)))
	}
}

// inverseOf returns the inverse of m modulo 2^bits.
func inverseOf(m *big.Int, bits int) *big.Int {
	x := new(big.Int).Set(m) // right for three bits
	for right := 3; right < bits; right *= 2 {
		e := new(big.Int).Mul(m, x)
		x = low(x.Mul(x, e.Sub(big.NewInt(2), e)), bits)
	}
	return x
}

// low returns x modulo 2^bits.
func low(x *big.Int, bits int) *big.Int {
	mask := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	return x.And(x, mask.Sub(mask, big.NewInt(1)))
}

func referenceSqr(z, x, m, k0, scratch *vec, blocks, times uint64) {
	referenceMul(z, x, x, m, k0, scratch, blocks)
	for range times - 1 {
		referenceMul(z, z, z, m, k0, scratch, blocks)
	}
}

func referencePick(z, table *vec, blocks, entries, index uint64) {
	k := blocks * block
	copy(vecs(z, int(k)), vecs(table, int(entries*k))[index*k:])
}

func vecs(p *vec, n int) number { return unsafe.Slice(p, n) }

// big returns one lane.
func (z number) big(lane int) *big.Int {
	x := new(big.Int)
	for i := len(z) - 1; i >= 0; i-- {
		x.Lsh(x, limbBits).Add(x, new(big.Int).SetUint64(z[i][lane]))
	}
	return x
}

// setBig sets one lane.
func (z number) setBig(lane int, x *big.Int) {
	if x.Sign() < 0 || x.BitLen() > limbBits*len(z) {
		panic("number does not fit")
	}
	x = new(big.Int).Set(x)
	mask := big.NewInt(limbMask)
	for i := range z {
		z[i][lane] = new(big.Int).And(x, mask).Uint64()
		x.Rsh(x, limbBits)
	}
}

// A spy is an arithmetic that counts its calls, and can change the result of
// one of them.
type spy struct {
	arithmetic
	calls  atomic.Int64
	at     int64 // the call whose result is disturbed, from 1 on
	change func(z number)
}

func newSpy(a *arithmetic) *spy {
	s := new(spy)
	after := func(z *vec, blocks uint64) {
		if s.calls.Add(1) == s.at {
			s.change(vecs(z, int(blocks)*block))
		}
	}
	s.mul = func(z, x, y, m, k0, scratch *vec, blocks uint64) {
		a.mul(z, x, y, m, k0, scratch, blocks)
		after(z, blocks)
	}
	s.sqr = func(z, x, m, k0, scratch *vec, blocks, times uint64) {
		a.sqr(z, x, m, k0, scratch, blocks, times)
		after(z, blocks)
	}
	s.pick = func(z, table *vec, blocks, entries, index uint64) {
		a.pick(z, table, blocks, entries, index)
		after(z, blocks)
	}
	return s
}
