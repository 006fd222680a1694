package kernelkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"slices"
)

// A P192Key is a private key on P-192, which is weaker than all else and for what
// was signed with one always. It is a crypto.Signer, safe for concurrent use; its
// arithmetic is not constant in time, so that who can measure it often and exactly
// learns about the key.
type P192Key struct {
	public ecdsa.PublicKey
	d      *big.Int
}

// ErrP192 says that a number is no private key on P-192.
var ErrP192 = errors.New("no private key on P-192")

// NewP192Key returns the key with a big endian number.
func NewP192Key(number []byte) (*P192Key, error) {
	d := new(big.Int).SetBytes(number)
	if d.Sign() == 0 || d.Cmp(p192.N) >= 0 {
		return nil, ErrP192
	}
	k := &P192Key{d: d}
	k.public.Curve = NISTP192()
	//lint:ignore SA1019 the standard library has no other way to a curve that it lacks
	k.public.X, k.public.Y = p192.ScalarBaseMult(number)
	return k, nil
}

// Public implements crypto.Signer.
func (k *P192Key) Public() crypto.PublicKey { return &k.public }

// Sign implements crypto.Signer. It ignores random: the nonces are those of RFC 6979,
// with the algorithm of opts.
func (k *P192Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	n := p192.N
	e := leftmost(digest, n)
	next := nonces(k.d, e, n, opts.HashFunc())
	for {
		nonce := next()
		//lint:ignore SA1019 as above
		x, _ := p192.ScalarBaseMult(nonce.FillBytes(make([]byte, size(p192))))
		r := x.Mod(x, n)
		s := new(big.Int).Mul(r, k.d)
		s.Add(s, e).Mul(s, new(big.Int).ModInverse(nonce, n)).Mod(s, n)
		if r.Sign() > 0 && s.Sign() > 0 {
			return asn1.Marshal(struct{ R, S *big.Int }{r, s})
		}
	}
}

// size is that of a number of the curve, in bytes.
func size(c *elliptic.CurveParams) int { return (c.BitSize + 7) / 8 }

// leftmost returns the leftmost bits of a digest as a number, as many as n has:
// bits2int of RFC 6979, section 2.3.2.
func leftmost(digest []byte, n *big.Int) *big.Int {
	e := new(big.Int).SetBytes(digest)
	if excess := len(digest)*8 - n.BitLen(); excess > 0 {
		e.Rsh(e, uint(excess))
	}
	return e
}

// nonces returns what returns one nonce after the other: RFC 6979, section 3.2.
func nonces(d, e, n *big.Int, h crypto.Hash) func() *big.Int {
	bytes := (n.BitLen() + 7) / 8
	number := func(x *big.Int) []byte { return x.FillBytes(make([]byte, bytes)) }
	key, v := make([]byte, h.Size()), make([]byte, h.Size())
	for i := range v {
		v[i] = 1
	}
	mac := func(parts ...[]byte) []byte {
		m := hmac.New(h.New, key)
		m.Write(slices.Concat(parts...))
		return m.Sum(nil)
	}
	for _, step := range []byte{0, 1} {
		key = mac(v, []byte{step}, number(d), number(new(big.Int).Mod(e, n)))
		v = mac(v)
	}
	return func() *big.Int {
		for {
			var t []byte
			for len(t) < bytes {
				v = mac(v)
				t = append(t, v...)
			}
			nonce := leftmost(t[:bytes], n)
			key = mac(v, []byte{0})
			v = mac(v)
			if nonce.Sign() > 0 && nonce.Cmp(n) < 0 {
				return nonce
			}
		}
	}
}
