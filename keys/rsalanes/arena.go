package rsalanes

// An arena is memory for numbers that are wiped together.
type arena struct {
	all  number
	used int
}

// pageVecs is a number of vecs from which on Go's allocator begins at a page
// (32 KiB, runtime/sizeclasses.go), and so at a cache line. A vec that is
// spread over two lines is slower, and no more.
const pageVecs = 32<<10/64 + 1

func newArena(vecs int) *arena { return &arena{all: make(number, max(vecs, pageVecs))} }

// number returns the next number of so many limbs.
func (a *arena) number(limbs int) number {
	z := a.all[a.used : a.used+limbs : a.used+limbs]
	a.used += limbs
	return z
}

func (a *arena) wipe() { clear(a.all) }
