package rsalanes

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"testing"
)

func FuzzBytes(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(0))
	f.Add(bytes.Repeat([]byte{0xff}, 128), uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, lane uint8) {
		if len(b) > 256 {
			b = b[:256]
		}
		z, l := make(number, 40), int(lane%lanes)
		z.setBytes(l, b)
		if want := new(big.Int).SetBytes(b); z.big(l).Cmp(want) != 0 {
			t.Errorf("%x became %x", b, z.big(l))
		}
		for i := range z {
			for other, v := range z[i] {
				if v > limbMask || other != l && v != 0 {
					t.Errorf("limb %d of lane %d is %x", i, other, v)
				}
			}
		}
		if got := z.bytes(l, len(b)); !bytes.Equal(got, b) {
			t.Errorf("%x came back as %x", b, got)
		}
	})
}

// TestNumbers compares sums and differences with math/big, at the edges of
// what they are for.
func TestNumbers(t *testing.T) {
	const limbs = 20
	r := rand.New(rand.NewPCG(11, 12))
	one := big.NewInt(1)
	for kind := range 40 {
		m := modulusOf(limbs, kind, r)
		z, x, y, mod, tmp := make(number, limbs), make(number, limbs), make(number, limbs), make(number, limbs), make(number, limbs)
		below := func(k int64) *big.Int { // of k·m, often next to an end
			top := new(big.Int).Mul(m, big.NewInt(k))
			switch r.IntN(5) {
			case 0:
				return new(big.Int)
			case 1:
				return top.Sub(top, one)
			case 2:
				return new(big.Int).Sub(m, one)
			case 3:
				return new(big.Int).Set(m)
			}
			return new(big.Int).Mod(randomBits(limbs*limbBits, r), top)
		}
		for lane := range lanes {
			mod.setBig(lane, m)
			x.setBig(lane, below(2))
			y.setBig(lane, below(2))
		}
		z.add(x, y)
		for lane := range lanes {
			if want := new(big.Int).Add(x.big(lane), y.big(lane)); z.big(lane).Cmp(want) != 0 {
				t.Errorf("%x + %x = %x", x.big(lane), y.big(lane), z.big(lane))
			}
		}
		z.subtract(x, y, mod)
		for lane := range lanes {
			want := new(big.Int).Lsh(m, 1)
			want.Add(want, x.big(lane)).Sub(want, y.big(lane))
			if z.big(lane).Cmp(want) != 0 {
				t.Errorf("%x - %x + 2·%x = %x", x.big(lane), y.big(lane), m, z.big(lane))
			}
		}
		copy(z, x)
		z.reduce(mod, tmp)
		for lane := range lanes {
			if want := new(big.Int).Mod(x.big(lane), m); z.big(lane).Cmp(want) != 0 {
				t.Errorf("%x mod %x = %x", x.big(lane), m, z.big(lane))
			}
		}
	}
}

func TestNegatedInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, x := range []uint64{1, 3, limbMask, limbMask - 2, 1<<51 + 1, r.Uint64() | 1, r.Uint64() | 1} {
		if y := negatedInverse(x); y > limbMask || (x*y+1)&limbMask != 0 {
			t.Errorf("of %x: %x", x, y)
		}
	}
}
