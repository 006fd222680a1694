package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// reduce makes the columns of a product from t on, less than 2^(520·blocks)
// times the modulus m, into a number of half as many limbs, z: Montgomery's
// reduction. It adds to them such multiples of m that one column after the
// other gets zero in its low 52 bits, which are dropped; what is above them is
// carried. The last half of the columns remains. n, t and the parameters are
// used up.
func (k *registers) reduce(t, digits Register, n GPVirtual) {
	mask, k0 := mask52(), ZMM()
	VMOVDQU64(at(pointer("k0"), 0), k0)
	modulus := pointer("m")

	to, m := GP64(), GP64()
	r, s := GP64(), GP64()
	MOVQ(n, r)
	Label("reduce_block")
	MOVQ(t, to)
	MOVQ(modulus, m)
	load(k.limbs, m)
	load(k.columns, to)
	k.eliminate(to, digits, k0, mask)
	MOVQ(n, s)
	Label("reduce_rest")
	advance(m, 1)
	advance(to, 1)
	DECQ(s)
	JZ(LabelRef("reduce_next"))
	load(k.limbs, m)
	k.rows(digits, to)
	JMP(LabelRef("reduce_rest"))
	Label("reduce_next")
	store(k.columns, to)
	advance(t, 1)
	DECQ(r)
	JNZ(LabelRef("reduce_block"))

	carry(t, pointer("z"), mask, n)
}

// eliminate makes the low 52 bits of the ten columns in registers zero, with
// the lowest block of the modulus, and stores the digits of the quotient, by
// which the other blocks must be multiplied.
//
// The low half of digit·m[0] is not added: it makes the low 52 bits zero, and
// so brings a carry of one, if and only if they were not zero before. That is
// what adding 2^52-1 does.
func (k *registers) eliminate(t, digits Register, k0, mask VecVirtual) {
	digit, over, high := ZMM(), ZMM(), ZMM()
	for r := range block {
		w, next := k.column(r), k.column(r+1)
		zero(digit)
		VPMADD52LUQ(k0, w, digit)
		VMOVDQU64(digit, at(digits, r))
		VPADDQ(mask, w, over)
		VPSRLQ(Imm(limbBits), over, over)
		VMOVDQU64(at(t, block+r), w) // is column r+10 from here on

		// The next digit waits for this column, so it gets its parts on the
		// shortest way.
		VPADDQ(over, next, next)
		zero(high)
		VPMADD52HUQ(digit, k.limbs[0], high)
		VPMADD52LUQ(digit, k.limbs[1], next)
		VPADDQ(high, next, next)

		for l := 2; l < block; l++ {
			VPMADD52LUQ(digit, k.limbs[l], k.column(r+l))
		}
		for l := 1; l < block; l++ {
			VPMADD52HUQ(digit, k.limbs[l], k.column(r+l+1))
		}
	}
}

// carry makes n blocks of columns into limbs below 2^52. n is used up.
func carry(t, z Register, mask VecVirtual, n GPVirtual) {
	over, w := ZMM(), ZMM()
	zero(over)
	Label("carry")
	for i := range block {
		VPADDQ(at(t, i), over, w)
		VPSRLQ(Imm(limbBits), w, over)
		VPANDQ(mask, w, w)
		VMOVDQU64(w, at(z, i))
	}
	advance(t, 1)
	advance(z, 1)
	DECQ(n)
	JNZ(LabelRef("carry"))
}

// pick makes pickLanes. Every entry is read, from beginning to end; the index
// becomes a mask of all ones or all zeros.
func pick() {
	TEXT("pickLanes", NOSPLIT, "func(z, table *[8]uint64, blocks, entries, index uint64)")
	Pragma("noescape")
	Doc("pickLanes sets z to the entry of the table with the index, below entries. All entries are", "read, whichever it is.")
	z, table := pointer("z"), pointer("table")
	n := number("blocks")
	index, one, counter := ZMM(), ZMM(), ZMM()
	wanted := number("index")
	VPBROADCASTQ(wanted, index)
	size := GP64()
	IMUL3Q(U32(block*vec), n, size)
	{
		g := GP64()
		MOVQ(U32(1), g)
		VPBROADCASTQ(g, one)
	}
	var limbs [block]VecVirtual
	for i := range limbs {
		limbs[i] = ZMM()
	}
	entry, left := GP64(), GP64()
	mask, equal := ZMM(), K()

	Label("block")
	for _, l := range limbs {
		zero(l)
	}
	zero(counter)
	MOVQ(table, entry)
	Load(Param("entries"), left)
	Label("entry")
	VPCMPEQQ(index, counter, equal)
	VPMOVM2Q(equal, mask)
	VPADDQ(one, counter, counter)
	for i, l := range limbs {
		VPTERNLOGQ(Imm(0xf8), at(entry, i), mask, l) // l | mask & entry
	}
	ADDQ(size, entry)
	DECQ(left)
	JNZ(LabelRef("entry"))
	store(limbs, z)
	advance(table, 1)
	advance(z, 1)
	DECQ(n)
	JNZ(LabelRef("block"))
	leave()
}
