package rsalanes

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// kernels returns the kernels of this processor. A test that needs them is
// skipped where there are none; those that compare with crypto/rsa run there
// too, without lanes.
func kernels(t testing.TB) *arithmetic {
	a := newArithmetic()
	if a == nil {
		t.Skip("this processor, or this build, has no AVX-512 IFMA")
	}
	return a
}

// A product is what a multiplication needs.
type product struct {
	z, x, y, m, scratch number
	k0                  vec
}

func newProduct(limbs int, m *big.Int) *product {
	a := newArena(4*limbs + scratchSize(limbs))
	p := &product{z: a.number(limbs), x: a.number(limbs), y: a.number(limbs), m: a.number(limbs), scratch: a.number(scratchSize(limbs))}
	for lane := range lanes {
		p.m.setBig(lane, m)
		p.k0[lane] = negatedInverse(p.m[0][lane])
	}
	return p
}

func (p *product) blocks() uint64 { return uint64(len(p.m) / block) }

func (p *product) mul(a *arithmetic, z, x, y number) {
	a.mul(&z[0], &x[0], &y[0], &p.m[0], &p.k0, &p.scratch[0], p.blocks())
}

func (p *product) sqr(a *arithmetic, z, x number, times uint64) {
	a.sqr(&z[0], &x[0], &p.m[0], &p.k0, &p.scratch[0], p.blocks(), times)
}

// modulusOf returns odd numbers of limbs·52-16 bits: the shortest and the longest,
// and such whose limbs are nearly all ones, zeros or random.
func modulusOf(limbs, kind int, r *rand.Rand) *big.Int {
	bits := limbs*limbBits - 16
	m := new(big.Int)
	switch kind % 4 {
	case 0:
		m.SetBit(m, bits-1, 1)
	case 1:
		m.Sub(m.SetBit(m, bits, 1), big.NewInt(1))
	case 2:
		m = randomBits(bits, r)
	case 3:
		m = patches(bits, r)
	}
	return m.SetBit(m.SetBit(m, 0, 1), bits-1, 1)
}

func randomBits(bits int, r *rand.Rand) *big.Int {
	b := make([]byte, (bits+7)/8)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	b[0] >>= (8 - bits%8) % 8
	return new(big.Int).SetBytes(b)
}

// patches returns a number of runs of ones and zeros, which make long carries.
func patches(bits int, r *rand.Rand) *big.Int {
	x := new(big.Int)
	for i, bit := 0, uint(0); i < bits; i++ {
		if r.IntN(40) == 0 {
			bit ^= 1
		}
		x.SetBit(x, i, bit)
	}
	return x
}

// factor returns a number that a kernel can get as a factor: below 4m, and one
// in two that takes all bits.
func factor(m *big.Int, limbs, kind int, r *rand.Rand) *big.Int {
	largest := new(big.Int).Lsh(m, 2)
	largest.Sub(largest, big.NewInt(1))
	switch kind % 8 {
	case 0:
		return new(big.Int)
	case 1:
		return big.NewInt(1)
	case 2:
		return largest
	case 3:
		return new(big.Int).Sub(m, big.NewInt(1))
	case 4:
		return new(big.Int).Set(m)
	case 5:
		return new(big.Int).Mod(patches(limbs*limbBits, r), largest)
	}
	return new(big.Int).Mod(randomBits(limbs*limbBits, r), largest)
}

// TestKernelsAgainstBig compares every limb with what math/big gives.
func TestKernelsAgainstBig(t *testing.T) {
	a, ref := kernels(t), reference()
	r := rand.New(rand.NewPCG(1, 2))
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for limbs := block; limbs <= 8*block; limbs += block {
		for round := range rounds {
			m := modulusOf(limbs, round, r)
			p := newProduct(limbs, m)
			for lane := range lanes {
				p.x.setBig(lane, factor(m, limbs, round/4+lane, r))
				p.y.setBig(lane, factor(m, limbs, round/4+3*lane+round/32, r))
			}
			want := make(number, limbs)
			p.mul(ref, want, p.x, p.y)
			p.mul(a, p.z, p.x, p.y)
			compare(t, "product", limbs, p, want)

			times := uint64(1 + round%4)
			p.sqr(ref, want, p.x, times)
			p.sqr(a, p.z, p.x, times)
			compare(t, "square", limbs, p, want)
		}
	}
}

func compare(t *testing.T, what string, limbs int, p *product, want number) {
	t.Helper()
	for lane := range lanes {
		if !p.z.equal(want, lane) {
			t.Errorf("%s of %d limbs, lane %d:\nx    %x\ny    %x\nm    %x\ngot  %x\nwant %x", what, limbs, lane,
				p.x.big(lane), p.y.big(lane), p.m.big(lane), p.z.big(lane), want.big(lane))
		}
	}
}

// TestKernelsLargestColumns takes the largest factors there are: every limb of
// both is 2^52-1 but for what keeps the result below 2^(52·limbs).
func TestKernelsLargestColumns(t *testing.T) {
	a, ref := kernels(t), reference()
	for limbs := block; limbs <= 8*block; limbs += block {
		all := new(big.Int).Lsh(big.NewInt(1), uint(limbs*limbBits))
		all.Sub(all, big.NewInt(1))
		m := new(big.Int).Rsh(all, 1) // the largest for which x·y/R + m fits
		p := newProduct(limbs, m)
		for lane := range lanes {
			p.x.setBig(lane, all)
			p.y.setBig(lane, m)
		}
		want := make(number, limbs)
		p.mul(ref, want, p.x, p.y)
		p.mul(a, p.z, p.x, p.y)
		compare(t, "product", limbs, p, want)
		p.sqr(ref, want, p.y, 3)
		p.sqr(a, p.z, p.y, 3)
		compare(t, "square", limbs, p, want)
	}
}

// TestKernelsInPlace has the result take the place of a factor.
func TestKernelsInPlace(t *testing.T) {
	a := kernels(t)
	r := rand.New(rand.NewPCG(3, 4))
	m := modulusOf(2*block, 2, r)
	p := newProduct(2*block, m)
	for lane := range lanes {
		p.x.setBig(lane, factor(m, 2*block, 6, r))
		p.y.setBig(lane, factor(m, 2*block, 6, r))
	}
	want := make(number, 2*block)
	for name, f := range map[string]func(z, x, y number){
		"mul into x": func(z, x, y number) { copy(z, x); p.mul(a, z, z, y) },
		"mul into y": func(z, x, y number) { copy(z, y); p.mul(a, z, x, z) },
	} {
		p.mul(a, want, p.x, p.y)
		f(p.z, p.x, p.y)
		compare(t, name, 2*block, p, want)
	}
	p.sqr(a, want, p.x, 5)
	copy(p.z, p.x)
	p.sqr(a, p.z, p.z, 5)
	compare(t, "sqr into x", 2*block, p, want)
}

func TestPick(t *testing.T) {
	a := kernels(t)
	r := rand.New(rand.NewPCG(5, 6))
	for limbs := block; limbs <= 4*block; limbs += block {
		table := make(number, entries*limbs)
		for i := range table {
			for lane := range lanes {
				table[i][lane] = r.Uint64()
			}
		}
		for index := range entries {
			z := make(number, limbs+1)
			z[limbs][0] = 1
			a.pick(&z[0], &table[0], uint64(limbs/block), entries, uint64(index))
			for lane := range lanes {
				if !z[:limbs].equal(table[index*limbs:], lane) {
					t.Errorf("%d limbs, entry %d, lane %d is another", limbs, index, lane)
				}
			}
			if z[limbs] != (vec{1}) {
				t.Errorf("%d limbs: something was written behind the number", limbs)
			}
		}
	}
}

// FuzzKernels multiplies numbers made of the input, by blocks of the input.
func FuzzKernels(f *testing.F) {
	f.Add(uint8(2), []byte{0xff}, []byte{0xff, 0xff}, []byte{1})
	f.Add(uint8(8), []byte{1, 2, 3}, []byte{0}, []byte{0x80, 0})
	a, ref := kernels(f), reference()
	f.Fuzz(func(t *testing.T, blocks uint8, x, y, m []byte) {
		limbs := block * (1 + int(blocks%8))
		mod := stretch(m, limbs*limbBits-16)
		mod.SetBit(mod, 0, 1)
		p := newProduct(limbs, mod)
		for lane := range lanes {
			p.x.setBig(lane, new(big.Int).Mod(new(big.Int).Rsh(stretch(x, limbs*limbBits), uint(lane)), mod))
			p.y.setBig(lane, new(big.Int).Mod(new(big.Int).Rsh(stretch(y, limbs*limbBits), uint(lane)), mod))
		}
		want := make(number, limbs)
		p.mul(ref, want, p.x, p.y)
		p.mul(a, p.z, p.x, p.y)
		compare(t, "product", limbs, p, want)
		p.sqr(ref, want, p.x, 2)
		p.sqr(a, p.z, p.x, 2)
		compare(t, "square", limbs, p, want)
	})
}

// stretch repeats b to a number of so many bits.
func stretch(b []byte, bits int) *big.Int {
	all := make([]byte, bits/8)
	for i := range all {
		if len(b) > 0 {
			all[i] = b[i%len(b)]
		}
	}
	return new(big.Int).SetBytes(all)
}
