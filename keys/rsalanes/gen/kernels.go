package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const scratchDoc = "scratch has 10 + 20·blocks vecs: the digits of a quotient, then the columns of the product."

// multiply makes mulLanes. Each block of x in turn is held in registers, and
// all of y goes by.
func multiply() {
	TEXT("mulLanes", NOSPLIT, "func(z, x, y, m, k0, scratch *[8]uint64, blocks uint64)")
	Pragma("noescape")
	Doc("mulLanes sets z to (x·y + q·m) / 2^(520·blocks), where q is below 2^(520·blocks) and such",
		"that the division is exact. z may be x or y.", scratchDoc)
	k := newRegisters()
	x, y := pointer("x"), pointer("y")
	digits, t := scratch()
	n := number("blocks")
	clearColumns(t, n)

	from, to, multipliers := GP64(), GP64(), GP64()
	i, j := GP64(), GP64()
	MOVQ(t, from)
	MOVQ(n, j)
	Label("block_of_x")
	load(k.limbs, x)
	load(k.columns, from)
	MOVQ(from, to)
	MOVQ(y, multipliers)
	MOVQ(n, i)
	Label("block_of_y")
	k.rows(multipliers, to)
	advance(multipliers, 1)
	advance(to, 1)
	DECQ(i)
	JNZ(LabelRef("block_of_y"))
	store(k.columns, to)
	advance(x, 1)
	advance(from, 1)
	DECQ(j)
	JNZ(LabelRef("block_of_x"))

	k.reduce(t, digits, n)
	leave()
}

// square makes sqrLanes. The products of different limbs occur twice in a
// square: they are added up once, and doubled when a column is complete and
// gets its product of equal limbs, x[i]², whose low half belongs to column 2i
// and whose high half to column 2i+1. When block j of x is in registers and
// blocks before it are done, columns 20j to 20j+19 become complete.
func square() {
	TEXT("sqrLanes", NOSPLIT, "func(z, x, m, k0, scratch *[8]uint64, blocks, times uint64)")
	Pragma("noescape")
	Doc("sqrLanes is mulLanes(z, x, x, …), and then mulLanes(z, z, z, …) until that are times, at", "least 1, of them.", scratchDoc)
	k := newRegisters()
	x := pointer("x")
	times := number("times")
	Label("again")
	digits, t := scratch()
	n := number("blocks")
	clearColumns(t, n)

	to, multipliers := GP64(), GP64()
	i, j := GP64(), GP64()
	MOVQ(t, to)
	MOVQ(n, j)
	Label("block")
	load(k.limbs, x)
	load(k.columns, to)
	k.triangle(to)
	advance(x, 1)
	MOVQ(j, i)
	DECQ(i)
	JZ(LabelRef("last"))
	k.squareRest(x, to, multipliers, i)
	DECQ(j)
	JMP(LabelRef("block"))

	Label("last")
	for c := range block {
		k.complete(block+c, at(to, block+c))
	}
	k.reduce(t, digits, n)
	Load(Param("z"), x)
	DECQ(times)
	JNZ(LabelRef("again"))
	leave()
}

// triangle adds the products of different limbs of the block in registers to
// its twenty columns, and completes the first ten. Row i needs the columns
// 2i+1 to i+10, so that at no time more than ten are in registers.
func (k *registers) triangle(t Register) {
	for i := range block {
		for _, c := range []int{2 * i, 2*i + 1} {
			if c%2 == 1 && i+1 < block {
				VPMADD52LUQ(k.limbs[i], k.limbs[i+1], k.column(c))
			}
			if c < block {
				k.complete(c, at(t, c))
				VMOVDQU64(at(t, block+c), k.column(c))
			}
		}
		for l := i + 2; l < block; l++ {
			VPMADD52LUQ(k.limbs[i], k.limbs[l], k.column(i+l))
		}
		for l := i + 1; l < block; l++ {
			VPMADD52HUQ(k.limbs[i], k.limbs[l], k.column(i+l+1))
		}
	}
}

// complete doubles column c of the twenty of the block in registers, adds what
// the square of a limb brings, and stores it.
func (k *registers) complete(c int, to Mem) {
	w, limb := k.column(c), k.limbs[c/2]
	VPADDQ(w, w, w)
	if c%2 == 0 {
		VPMADD52LUQ(limb, limb, w)
	} else {
		VPMADD52HUQ(limb, limb, w)
	}
	VMOVDQU64(w, to)
}

// squareRest multiplies the block in registers with the i blocks from rest on,
// of which the first completes ten columns. At the end to, which comes as the
// first column of the block's twenty, is that of the next block's.
func (k *registers) squareRest(rest, to, multipliers Register, i GPVirtual) {
	t := GP64()
	advance(to, 1)
	MOVQ(to, t)
	advance(to, 1)
	MOVQ(rest, multipliers)
	b := ZMM()
	for r := range block {
		VMOVDQU64(at(multipliers, r), b)
		k.row(r, b, func(VecVirtual) { k.complete(block+r, at(t, r)) }, at(t, block+r))
	}
	Label("rest")
	advance(multipliers, 1)
	advance(t, 1)
	DECQ(i)
	JZ(LabelRef("rest_done"))
	k.rows(multipliers, t)
	JMP(LabelRef("rest"))
	Label("rest_done")
	store(k.columns, t)
}

// scratch returns where the digits of the quotient and the columns lie.
func scratch() (digits, t Register) {
	digits = pointer("scratch")
	p := GP64()
	LEAQ(at(digits, block), p)
	return digits, p
}

// clearColumns sets all columns of a product to zero.
func clearColumns(t Register, blocks GPVirtual) {
	p, n, z := GP64(), GP64(), ZMM()
	zero(z)
	MOVQ(t, p)
	MOVQ(blocks, n)
	Label("clear")
	for i := range 2 * block {
		VMOVDQU64(z, at(p, i))
	}
	advance(p, 2)
	DECQ(n)
	JNZ(LabelRef("clear"))
}
