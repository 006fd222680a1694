package rsalanes

import "encoding/binary"

// A vec is one limb of eight numbers, a register of the kernels.
type vec = [lanes]uint64

// A number is eight numbers by limbs of 52 bits, the lowest first. The time
// that its functions take, and the addresses that they use, depend on the
// number of limbs alone.
type number []vec

// setBytes sets one lane to a big-endian number, which must fit.
func (z number) setBytes(lane int, b []byte) {
	little := make([]byte, len(z)*limbBits/8+8)
	defer clear(little)
	for i, v := range b {
		little[len(b)-1-i] = v
	}
	for i := range z {
		bit := i * limbBits // a multiple of 4
		z[i][lane] = binary.LittleEndian.Uint64(little[bit/8:]) >> (bit % 8) & limbMask
	}
}

// bytes returns one lane as a big-endian number of size bytes, in which it
// must fit.
func (z number) bytes(lane, size int) []byte {
	little := make([]byte, len(z)*limbBits/8+8)
	defer clear(little)
	for i := range z {
		bit := i * limbBits
		at := little[bit/8:]
		binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)|z[i][lane]<<(bit%8))
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = little[size-1-i]
	}
	return b
}

// setAll sets all lanes to a big-endian number, which must fit.
func (z number) setAll(b []byte) {
	for lane := range lanes {
		z.setBytes(lane, b)
	}
}

// add sets z to x+y, which must fit. y may be shorter.
func (z number) add(x, y number) {
	for lane := range lanes {
		var carry uint64
		for i := range z {
			t := x[i][lane] + carry
			if i < len(y) {
				t += y[i][lane]
			}
			z[i][lane], carry = t&limbMask, t>>limbBits
		}
	}
}

// subtract sets z to x+m+m-y, which must be neither negative nor too large.
func (z number) subtract(x, y, m number) {
	for lane := range lanes {
		var carry int64 // -1 to 2
		for i := range z {
			t := int64(x[i][lane]) + 2*int64(m[i][lane]) - int64(y[i][lane]) + carry
			z[i][lane], carry = uint64(t)&limbMask, t>>limbBits
		}
	}
}

// reduce subtracts m from z where z is not less than m. z must be less than
// 2m, and t, which it uses, as long.
func (z number) reduce(m, t number) {
	for lane := range lanes {
		var borrow uint64
		for i := range z {
			d := z[i][lane] - m[i][lane] - borrow
			t[i][lane], borrow = d&limbMask, d>>63
		}
		keep := -borrow // all ones if z is less than m
		for i := range z {
			z[i][lane] = z[i][lane]&keep | t[i][lane]&^keep
		}
	}
}

// equal reports whether x and y are the same in a lane. It stops at the first
// difference: neither may be secret.
func (x number) equal(y number, lane int) bool {
	for i := range x {
		if x[i][lane] != y[i][lane] {
			return false
		}
	}
	return true
}
