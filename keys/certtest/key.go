package certtest

import (
	"crypto/elliptic"
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"

	"imaseal/hash"
	"imaseal/keys/kernelkey"
)

// A Key is a private key for tests: anyone can make it again.
type Key struct {
	Name       string
	Algorithm  OID
	Parameters []byte // with header; nil: none
	Bits       []byte // of the public key
	usual      []byte // Bits as they should be
	sign       func(r *rand.Rand, name string, digest []byte) []byte
}

// Sign returns a signature over a message, with the digest of the kernel's name.
// It is random for keys that are none, and for digests that there are not.
func (k *Key) Sign(r *rand.Rand, digest string, message []byte) []byte {
	a, err := hash.Parse(digest)
	if err != nil || k.sign == nil {
		return randomBytes(r, 20+r.IntN(300))
	}
	d, err := hash.Sum(a, message)
	if err != nil {
		return randomBytes(r, 64)
	}
	return k.sign(r, digest, d.Bytes())
}

// SignDigest is Sign for a digest.
func (k *Key) SignDigest(r *rand.Rand, name string, digest []byte) []byte {
	return k.sign(r, name, digest)
}

// CanSign reports whether the key is one.
func (k *Key) CanSign() bool { return k.sign != nil }

// IsRSA reports whether it is an RSA key that can sign.
func (k *Key) IsRSA() bool { return k.sign != nil && k.Algorithm == RSAEncryption }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Keys returns the keys, the usual kinds first.
var Keys = sync.OnceValue(func() []*Key {
	r := rand.New(rand.NewPCG(1, 2))
	var all []*Key
	for _, bits := range []int{2048, 3072, 4096, 512, 1024, 1536} {
		all = append(all, rsaKey(r, bits, 65537))
	}
	for _, c := range []struct {
		curve elliptic.Curve
		oid   OID
	}{
		{elliptic.P256(), "1.2.840.10045.3.1.7"},
		{elliptic.P384(), "1.3.132.0.34"},
		{elliptic.P521(), "1.3.132.0.35"},
		{kernelkey.NISTP192(), "1.2.840.10045.3.1.1"},
	} {
		all = append(all, ecKey(r, c.curve, c.oid))
	}
	for _, bits := range []int{1000, 1984, 1985, 2000, 2030, 2040, 2047, 2056, 4097} {
		all = append(all, rsaKey(r, bits, 65537))
	}
	for _, e := range []int64{3, 17, 1<<31 + 11, 1<<40 + 15} {
		all = append(all, rsaKey(r, 2048, e))
	}
	return append(all, fakes(r)...)
})

// UsualKeys is how many of Keys are of usual kinds.
const UsualKeys = 10

// An rsaPrivate is a private key of many small primes, which takes no time to make
// and little to sign with.
type rsaPrivate struct {
	n      *big.Int
	primes []rsaPrime
}

// An rsaPrime is a prime of the modulus, the exponent for it, and the number that is
// 1 modulo the prime and 0 modulo the others.
type rsaPrime struct{ p, d, one *big.Int }

// power is m raised to the private exponent.
func (k *rsaPrivate) power(m *big.Int) *big.Int {
	sum := new(big.Int)
	for _, f := range k.primes {
		part := new(big.Int).Exp(m, f.d, f.p)
		sum.Add(sum, part.Mul(part, f.one))
	}
	return sum.Mod(sum, k.n)
}

// newRSA makes a private key with a modulus of exactly so many bits.
func newRSA(r *rand.Rand, bits int, e *big.Int) *rsaPrivate {
	const primeBits = 128
	for {
		k := &rsaPrivate{n: big.NewInt(1)}
		for k.n.BitLen() < bits {
			left := bits - k.n.BitLen() + 1
			size := min(primeBits, left)
			if left > primeBits && left < 2*primeBits {
				size = left / 2
			}
			p := prime(r, size, e)
			k.n.Mul(k.n, p)
			k.primes = append(k.primes, rsaPrime{p: p, d: new(big.Int).ModInverse(e, new(big.Int).Sub(p, big.NewInt(1)))})
		}
		if k.n.BitLen() != bits {
			continue
		}
		for i := range k.primes {
			f := &k.primes[i]
			others := new(big.Int).Div(k.n, f.p)
			f.one = others.Mul(others, new(big.Int).ModInverse(new(big.Int).Mod(others, f.p), f.p))
		}
		return k
	}
}

func rsaKey(r *rand.Rand, bits int, exponent int64) *Key {
	e := big.NewInt(exponent)
	private := newRSA(r, bits, e)
	name := fmt.Sprintf("RSA-%d", bits)
	if exponent != 65537 {
		name += fmt.Sprintf("-e%d", exponent)
	}
	public := TLV(0x30, Integer(private.n), Integer(e))
	return &Key{
		Name: name, Algorithm: RSAEncryption, Parameters: []byte{5, 0}, Bits: public, usual: public,
		sign: func(r *rand.Rand, name string, digest []byte) []byte { return signRSA(r, private, name, digest) },
	}
}

func prime(r *rand.Rand, bits int, e *big.Int) *big.Int {
	one := big.NewInt(1)
	for {
		p := new(big.Int).SetBytes(randomBytes(r, (bits+7)/8))
		p.SetBit(p, 0, 1).And(p, new(big.Int).Sub(new(big.Int).Lsh(one, uint(bits)), one)).SetBit(p, bits-1, 1)
		if !p.ProbablyPrime(10) {
			continue
		}
		if gcd := new(big.Int).GCD(nil, nil, e, new(big.Int).Sub(p, one)); gcd.Cmp(one) == 0 {
			return p
		}
	}
}

// signRSA pads to the kernel's size of the key where that can be, now and then
// to the key's own.
func signRSA(r *rand.Rand, private *rsaPrivate, name string, digest []byte) []byte {
	n := private.n
	size := (n.BitLen() + 7) / 8
	if rounded := (size + 7) / 8 * 8; n.BitLen() > 8*(rounded-2)+1 && r.IntN(4) > 0 {
		size = rounded
	}
	info := digestInfos[name]
	padding := size - 3 - len(info) - len(digest)
	if padding < 0 {
		return randomBytes(r, size)
	}
	em := []byte{0, 1}
	for range padding {
		em = append(em, 0xff)
	}
	em = append(em, 0)
	em = append(append(em, info...), digest...)
	m := new(big.Int).SetBytes(em)
	if m.Cmp(n) >= 0 {
		return randomBytes(r, size)
	}
	return private.power(m).FillBytes(make([]byte, size))
}

// digestInfos are those of RFC 8017, made from their OIDs.
var digestInfos = map[string][]byte{
	"sha1":     digestInfo("1.3.14.3.2.26", 20),
	"sha224":   digestInfo("2.16.840.1.101.3.4.2.4", 28),
	"sha256":   digestInfo("2.16.840.1.101.3.4.2.1", 32),
	"sha384":   digestInfo("2.16.840.1.101.3.4.2.2", 48),
	"sha512":   digestInfo("2.16.840.1.101.3.4.2.3", 64),
	"sha3-256": digestInfo("2.16.840.1.101.3.4.2.8", 32),
	"sha3-384": digestInfo("2.16.840.1.101.3.4.2.9", 48),
	"sha3-512": digestInfo("2.16.840.1.101.3.4.2.10", 64),
}

func digestInfo(id OID, size int) []byte {
	full := TLV(0x30, TLV(0x30, id.TLV(), []byte{5, 0}), TLV(4, make([]byte, size)))
	return full[:len(full)-size]
}

// ecKey makes a key on a curve.
func ecKey(r *rand.Rand, curve elliptic.Curve, id OID) *Key {
	params := curve.Params()
	d := scalar(r, curve)
	//lint:ignore SA1019 P-192 is on no other interface
	x, y := curve.ScalarBaseMult(d.Bytes())
	size := (params.BitSize + 7) / 8
	point := append([]byte{4}, x.FillBytes(make([]byte, size))...)
	point = append(point, y.FillBytes(make([]byte, size))...)
	return &Key{
		Name: params.Name, Algorithm: "1.2.840.10045.2.1", Parameters: id.TLV(), Bits: point, usual: point,
		sign: func(r *rand.Rand, _ string, digest []byte) []byte { return signEC(r, curve, d, digest) },
	}
}

func scalar(r *rand.Rand, curve elliptic.Curve) *big.Int {
	n := curve.Params().N
	k := new(big.Int).SetBytes(randomBytes(r, 80))
	return k.Mod(k, new(big.Int).Sub(n, big.NewInt(1))).Add(k, big.NewInt(1))
}

func signEC(r *rand.Rand, curve elliptic.Curve, d *big.Int, digest []byte) []byte {
	n := curve.Params().N
	size := (n.BitLen() + 7) / 8
	e := new(big.Int).SetBytes(digest[:min(len(digest), size)])
	k := scalar(r, curve)
	//lint:ignore SA1019 P-192 is on no other interface
	x, _ := curve.ScalarBaseMult(k.Bytes())
	rr := x.Mod(x, n)
	s := new(big.Int).Mul(rr, d)
	s.Add(s, e).Mul(s, new(big.Int).ModInverse(k, n)).Mod(s, n)
	return TLV(0x30, Integer(rr), Integer(s))
}

// fakes are of kinds that kernels know by name, or not at all.
func fakes(r *rand.Rand) []*Key {
	const ec OID = "1.2.840.10045.2.1"
	fake := func(name string, id OID, parameters []byte, size int) *Key {
		return &Key{Name: name, Algorithm: id, Parameters: parameters, Bits: randomBytes(r, size)}
	}
	gost := TLV(0x30, OID("1.2.643.7.1.2.1.1.1").TLV(), OID("1.2.643.7.1.1.2.2").TLV())
	return []*Key{
		fake("Ed25519", "1.3.101.112", nil, 32),
		fake("Ed448", "1.3.101.113", nil, 57),
		fake("DSA", "1.2.840.10040.4.1", TLV(0x30, TLV(2, []byte{7}), TLV(2, []byte{5}), TLV(2, []byte{3})), 40),
		fake("RSA-PSS", "1.2.840.113549.1.1.10", nil, 270),
		fake("ML-DSA-44", "2.16.840.1.101.3.4.3.17", nil, 1312),
		fake("ML-DSA-65", "2.16.840.1.101.3.4.3.18", nil, 1952),
		fake("ML-DSA-87", "2.16.840.1.101.3.4.3.19", nil, 2592),
		fake("GOST-256", "1.2.643.7.1.1.1.1", gost, 66),
		fake("GOST-512", "1.2.643.7.1.1.1.2", gost, 131),
		fake("GOST-2001", "1.2.643.2.2.19", gost, 66),
		fake("SM2", "1.2.156.10197.1.301", nil, 65),
		fake("SM2-curve", ec, OID("1.2.156.10197.1.301").TLV(), 65),
		fake("secp256k1", ec, OID("1.3.132.0.10").TLV(), 65),
		fake("brainpoolP256r1", ec, OID("1.3.36.3.3.2.8.1.1.7").TLV(), 65),
		fake("secp224r1", ec, OID("1.3.132.0.33").TLV(), 57),
		fake("EC by parameters", ec, TLV(0x30, TLV(2, []byte{1})), 65),
		fake("EC without curve", ec, nil, 65),
		fake("EC of null", ec, []byte{5, 0}, 65),
		fake("unknown", "1.3.6.1.4.1.99999.1", nil, 30),
	}
}
