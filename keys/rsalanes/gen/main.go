// Command gen writes the assembly of package rsalanes: kernels_amd64.s and its
// declarations. It has a module of its own, so that the program does not
// depend on avo. Run it with "go generate" in the directory above.
//
// # How a number lies in memory
//
// A number has 10·blocks limbs of 52 bits. A vec is one limb of eight numbers,
// 64 bytes, a ZMM register: limb i of a number in lane l is the quadword at
// 64·i + 8·l. No instruction moves anything from one lane to another, so what
// is written here once happens to eight numbers.
//
// # How products are added up
//
// VPMADD52LUQ and VPMADD52HUQ multiply the low 52 bits of two quadwords and
// add the low or the high 52 bits of the product to a third. So the column c
// of a product x·y, which is worth 2^(52c), is the sum of the low halves of
// x[i]·y[j] with i+j = c and the high halves with i+j = c-1. Columns are not
// carried until the end: with at most 80 limbs, a column of a product and that
// of its reduction are sums of less than 4·80 numbers below 2^52, and so below
// 2^61.
//
// All kernels are made of one step, row: ten limbs of one factor are in
// registers, one limb of the other comes from memory. Ten columns are in
// registers too, column c in register c modulo ten; each row one leaves and
// one enters. Ten rows make a block, and the registers are again where they
// were, so that a loop can go over blocks: that makes the kernels work for
// numbers of any number of blocks.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	block    = 10 // limbs in a block
	limbBits = 52
	vec      = 64 // bytes
)

func main() {
	ConstraintExpr("!purego")
	multiply()
	square()
	pick()
	Generate()
}

// registers are what a kernel keeps in ZMM registers.
type registers struct {
	columns [block]VecVirtual // of the product; see column
	limbs   [block]VecVirtual // of the factor whose block is in registers
}

func newRegisters() *registers {
	k := new(registers)
	for i := range block {
		k.columns[i], k.limbs[i] = ZMM(), ZMM()
	}
	return k
}

// column returns the register of a column, which may be numbered from the
// beginning of any block.
func (k *registers) column(c int) VecVirtual { return k.columns[c%block] }

// row adds b times the ten limbs in registers, shifted by r, to the columns r
// to r+10. Column r gets nothing after that: leave may change it and store it.
// Then enter, the column r+10 so far, takes its register.
func (k *registers) row(r int, b VecVirtual, leave func(c VecVirtual), enter Mem) {
	VPMADD52LUQ(b, k.limbs[0], k.column(r))
	leave(k.column(r))
	VMOVDQU64(enter, k.column(r+block))
	for l := 1; l < block; l++ {
		VPMADD52LUQ(b, k.limbs[l], k.column(r+l))
	}
	for l := range block {
		VPMADD52HUQ(b, k.limbs[l], k.column(r+l+1))
	}
}

// rows adds a block of multipliers times the limbs in registers to the columns
// from t on.
func (k *registers) rows(multipliers, t Register) {
	b := ZMM()
	for r := range block {
		VMOVDQU64(at(multipliers, r), b)
		k.row(r, b, func(c VecVirtual) { VMOVDQU64(c, at(t, r)) }, at(t, block+r))
	}
}

// at is vec i from a pointer.
func at(p Register, i int) Mem { return Mem{Base: p, Disp: vec * i} }

// advance moves a pointer by a number of blocks.
func advance(p Register, blocks uint32) { ADDQ(U32(blocks*block*vec), p) }

func load(to [block]VecVirtual, p Register) {
	for i, z := range to {
		VMOVDQU64(at(p, i), z)
	}
}

func store(from [block]VecVirtual, p Register) {
	for i, z := range from {
		VMOVDQU64(z, at(p, i))
	}
}

func zero(z Op) { VPXORQ(z, z, z) }

// mask52 sets a register to 2^52-1 in every lane.
func mask52() VecVirtual {
	z := ZMM()
	VPTERNLOGQ(Imm(0xff), z, z, z) // all ones, whatever was there
	VPSRLQ(Imm(64-limbBits), z, z)
	return z
}

func pointer(name string) Register { return Load(Param(name), GP64()) }

func number(name string) GPVirtual {
	n := GP64()
	Load(Param(name), n)
	return n
}

// leave returns from a kernel, with nothing secret left in the registers.
func leave() {
	zero(Z0)
	for _, z := range []VecPhysical{
		Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16,
		Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
	} {
		VMOVDQA64(Z0, z)
	}
	VZEROUPPER()
	RET()
}
