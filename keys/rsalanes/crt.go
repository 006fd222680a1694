package rsalanes

import "bytes"

// A workspace is what one batch needs besides the key. Between batches it is
// all zeros.
type workspace struct {
	memory  *arena
	scratch number // of the kernels
	table   number // powers of a half
	message number // 2k limbs, k being those of a prime
	m1, m2  number // k: the results modulo p and q
	h       number // 2k, of which the upper k stay zero
	power   number // 2k
	t       number // 2k
}

func (c *crt) newWorkspace() *workspace {
	k := c.p.limbs()
	scratch := scratchSize(2 * k)
	w := &workspace{memory: newArena(scratch + entries*k + 10*k)}
	w.scratch = w.memory.number(scratch)
	w.table = w.memory.number(entries * k)
	w.message = w.memory.number(2 * k)
	w.m1, w.m2 = w.memory.number(k), w.memory.number(k)
	w.h, w.power, w.t = w.memory.number(2*k), w.memory.number(2*k), w.memory.number(2*k)
	return w
}

// sign returns the signatures of at most eight encoded messages of c.size
// bytes, which are numbers less than n. A signature is nil if it did not prove
// right, and only then; w is wiped.
func (c *crt) sign(w *workspace, messages [][]byte) [][]byte {
	defer w.memory.wipe()
	for lane, m := range messages {
		w.message.setBytes(lane, m)
	}
	c.root(w)
	signatures := make([][]byte, len(messages))
	for lane := range messages {
		signatures[lane] = w.power.bytes(lane, c.size)
	}
	w.memory.wipe()
	right := c.check(w, messages, signatures)
	for lane := range signatures {
		if !right[lane] {
			clear(signatures[lane])
			signatures[lane] = nil
		}
	}
	return signatures
}

// root sets w.power to w.message^d modulo n, from the results modulo the
// primes (RFC 8017, section 5.1.2, 2.b). Only the end is fully reduced.
func (c *crt) root(w *workspace) {
	k := c.p.limbs()
	c.raise(w, w.m1, &c.p)
	c.raise(w, w.m2, &c.q)
	h := w.h[:k]
	h.subtract(w.m1, w.m2, c.p.m)
	c.mul(w, h, h, c.qInverse, c.p.modulus)
	c.mul(w, w.power, w.h, c.qFactor, c.n)
	w.power.add(w.power, w.m2)
	w.power.reduce(c.n.m, w.t)
}

// raise sets z to w.message^d modulo a prime, which it can be itself instead of
// zero.
func (c *crt) raise(w *workspace, z number, h *half) {
	k, a := h.limbs(), c.arithmetic
	power := func(i int) number { return w.table[i*k : (i+1)*k] }
	t := w.t[:k]
	copy(power(0), h.r)
	// The message is low + R·high.
	c.mul(w, t, w.message[k:], h.rrr, h.modulus)
	c.mul(w, power(1), w.message[:k], h.rr, h.modulus)
	power(1).add(power(1), t)
	for i := 2; i < entries; i++ {
		c.mul(w, power(i), power(i-1), power(1), h.modulus)
	}
	pick := func(z number, digit byte) {
		a.pick(&z[0], &w.table[0], h.blocks(), entries, uint64(digit))
	}
	pick(z, h.digits[0])
	for _, d := range h.digits[1:] {
		a.sqr(&z[0], &z[0], &h.m[0], &h.k0, &w.scratch[0], h.blocks(), digitBits)
		pick(t, d)
		c.mul(w, z, z, t, h.modulus)
	}
	c.plain(w, z, t, h.modulus)
}

// check says which signatures are those of the messages: less than n, and the
// message when raised to the public exponent. There is only one such number.
// Nothing in it is secret.
func (c *crt) check(w *workspace, messages, signatures [][]byte) [lanes]bool {
	signature, x, t := w.message, w.h, w.t
	for lane, s := range signatures {
		signature.setBytes(lane, s)
	}
	copy(x, signature)
	x.reduce(c.n.m, t)
	var right [lanes]bool
	for lane := range signatures {
		right[lane] = x.equal(signature, lane)
	}

	c.mul(w, x, x, c.n.rr, c.n)
	z := w.power
	copy(z, x)
	top := 1
	for top <= c.exponent/2 {
		top *= 2
	}
	for bit := top / 2; bit > 0; bit /= 2 {
		c.arithmetic.sqr(&z[0], &z[0], &c.n.m[0], &c.n.k0, &w.scratch[0], c.n.blocks(), 1)
		if c.exponent&bit != 0 {
			c.mul(w, z, z, x, c.n)
		}
	}
	c.plain(w, z, t, c.n)
	for lane, m := range messages {
		right[lane] = right[lane] && bytes.Equal(z.bytes(lane, c.size), m)
	}
	return right
}

// mul sets z to x·y/R modulo m, not fully reduced.
func (c *crt) mul(w *workspace, z, x, y number, m *modulus) {
	c.arithmetic.mul(&z[0], &x[0], &y[0], &m.m[0], &m.k0, &w.scratch[0], m.blocks())
}

// plain takes z out of Montgomery's form. The result is less than m, or it is m
// instead of zero. It uses t.
func (c *crt) plain(w *workspace, z, t number, m *modulus) {
	clear(t)
	for lane := range lanes {
		t[0][lane] = 1
	}
	c.mul(w, z, z, t, m)
}
