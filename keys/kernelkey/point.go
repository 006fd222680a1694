package kernelkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"math/big"
	"syscall"
)

// digitSize is the size of the digits that the kernel computes with on curves, in
// bytes.
const digitSize = 8

// digits is how many a coordinate has.
func digits(c elliptic.Curve) int { return (c.Params().BitSize + 8*digitSize - 1) / (8 * digitSize) }

// parsePoint reads the point of a public key.
func (k Kernel) parsePoint(c elliptic.Curve, bits []byte) (*ecdsa.PublicKey, error) {
	if len(bits) == 0 || bits[0] != 4 {
		return nil, badKey(syscall.EINVAL, "a point that is not uncompressed")
	}
	bits = bits[1:]
	n := len(bits) / 2
	switch {
	case !k.AtLeast(6, 10) && n != digits(c)*digitSize,
		k.AtLeast(6, 10) && (len(bits)%2 != 0 || (n+digitSize-1)/digitSize != digits(c)):
		return nil, badKey(syscall.EINVAL, "a point whose coordinates have %d bytes on %s", n, c.Params().Name)
	}
	return newPoint(c, new(big.Int).SetBytes(bits[:n]), new(big.Int).SetBytes(bits[n:2*n]))
}

// newPoint returns the point if it is on the curve.
func newPoint(c elliptic.Curve, x, y *big.Int) (*ecdsa.PublicKey, error) {
	p := c.Params().P
	if x.Cmp(p) >= 0 || y.Cmp(p) >= 0 {
		return nil, badKey(syscall.EINVAL, "a point that is not on %s", c.Params().Name)
	}
	if c != NISTP192() {
		size := (c.Params().BitSize + 7) / 8
		point := make([]byte, 1+2*size)
		point[0] = 4
		x.FillBytes(point[1 : 1+size])
		y.FillBytes(point[1+size:])
		key, err := ecdsa.ParseUncompressedPublicKey(c, point)
		if err != nil {
			return nil, badKey(syscall.EINVAL, "a point that is not on %s", c.Params().Name)
		}
		return key, nil
	}
	// y² = x³ - 3x + b
	right := new(big.Int).Mul(x, x)
	right.Sub(right, big.NewInt(3)).Mul(right, x).Add(right, c.Params().B)
	left := new(big.Int).Mul(y, y)
	if left.Sub(left, right).Mod(left, p).Sign() != 0 {
		return nil, badKey(syscall.EINVAL, "a point that is not on %s", c.Params().Name)
	}
	//lint:ignore SA1019 the standard library has no other way to a curve that it lacks
	return &ecdsa.PublicKey{Curve: c, X: x, Y: y}, nil
}

// PointBytes returns the uncompressed point of a key, also on P-192. It is nil
// for other curves that the standard library lacks.
func PointBytes(k *ecdsa.PublicKey) []byte {
	if k.Curve != NISTP192() {
		point, err := k.Bytes()
		if err != nil {
			return nil
		}
		return point
	}
	size := (k.Curve.Params().BitSize + 7) / 8
	point := make([]byte, 1+2*size)
	point[0] = 4
	//lint:ignore SA1019 the standard library has no other way to a curve that it lacks
	x, y := k.X, k.Y
	x.FillBytes(point[1 : 1+size])
	y.FillBytes(point[1+size:])
	return point
}

// NISTP192 returns the curve P-192 (secp192r1), which the standard library lacks.
// Its arithmetic is not constant in time: it is for verifying only.
func NISTP192() elliptic.Curve { return p192 }

var p192 = &elliptic.CurveParams{
	Name:    "P-192",
	BitSize: 192,
	P:       hex("fffffffffffffffffffffffffffffffeffffffffffffffff"),
	N:       hex("ffffffffffffffffffffffff99def836146bc9b1b4d22831"),
	B:       hex("64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1"),
	Gx:      hex("188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012"),
	Gy:      hex("07192b95ffc8da78631011ed6b24cdd573f977a11e794811"),
}

// hex returns a number of the curve's table.
func hex(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		panic("kernelkey: " + s + " is no number")
	}
	return n
}
