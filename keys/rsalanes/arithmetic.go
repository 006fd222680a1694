package rsalanes

const (
	lanes    = 8
	limbBits = 52
	limbMask = 1<<limbBits - 1
	block    = 10 // limbs; the kernels take numbers of a multiple of it
)

// An arithmetic multiplies modulo m, eight numbers at once. What each argument
// is stands in kernels_amd64.go, how it is done in gen, and doc/rsa-lanes.md
// has the bounds. It is a value so that tests can compare, count and disturb
// what it does.
type arithmetic struct {
	mul  func(z, x, y, m, k0, scratch *vec, blocks uint64)
	sqr  func(z, x, m, k0, scratch *vec, blocks, times uint64)
	pick func(z, table *vec, blocks, entries, index uint64)
}

// scratchSize is the number of vecs of scratch for numbers of so many limbs.
func scratchSize(limbs int) int { return block + 2*limbs }
