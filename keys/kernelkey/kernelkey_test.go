package kernelkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"imaseal/hash"
	"imaseal/keys/certtest"
	"imaseal/keys/kernelkey"
)

var newest = kernelkey.Kernel{Major: 7, Minor: 2}

// key returns one of the keys of package certtest.
func key(t *testing.T, name string) *certtest.Key {
	t.Helper()
	i := slices.IndexFunc(certtest.Keys(), func(k *certtest.Key) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("no key %s", name)
	}
	return certtest.Keys()[i]
}

func sum(t *testing.T, name, text string) []byte {
	t.Helper()
	a, err := hash.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(a, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d.Bytes()
}

var algorithms = map[string]kernelkey.Algorithm{
	"RSA-512": kernelkey.RSA, "RSA-1024": kernelkey.RSA, "RSA-1536": kernelkey.RSA, "RSA-2048": kernelkey.RSA, "RSA-3072": kernelkey.RSA,
	"RSA-4096": kernelkey.RSA, "RSA-2047": kernelkey.RSA, "RSA-2040": kernelkey.RSA, "RSA-2048-e3": kernelkey.RSA, "RSA-2048-e1099511627791": kernelkey.RSA,
	"P-192": kernelkey.P192, "P-256": kernelkey.P256, "P-384": kernelkey.P384, "P-521": kernelkey.P521,
}

// TestVerify: every key verifies its signatures, and none with a byte changed.
func TestVerify(t *testing.T) {
	for name, a := range algorithms {
		k := key(t, name)
		parsed, err := newest.Parse(a, k.Bits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, h := range []string{"sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"} {
			if name == "RSA-512" && h != "sha1" && h != "sha224" && h != "sha256" && h != "sha3-256" {
				continue // does not fit
			}
			digest := sum(t, h, "text")
			// RSA-2040: the first of these random numbers makes a signature of the kernel's size
			sig := k.SignDigest(rand.New(rand.NewPCG(1, 0)), h, digest)
			if err := parsed.Verify(h, digest, sig); err != nil {
				t.Errorf("%s, %s: %v", name, h, err)
			}
			for i := 0; i < len(sig); i += 7 {
				bad := bytes.Clone(sig)
				bad[i] ^= 0x11
				if parsed.Verify(h, digest, bad) == nil {
					t.Errorf("%s, %s: taken with byte %d changed", name, h, i)
				}
			}
			if parsed.Verify(h, sum(t, h, "other"), sig) == nil {
				t.Errorf("%s, %s: taken for another text", name, h)
			}
		}
	}
}

// TestP192Vector is from RFC 6979, appendix A.2.3.
func TestP192Vector(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	point := unhex("04AC2C77F529F91689FEA0EA5EFEC7F210D8EEA0B9E047ED563BC723E57670BD4887EBC732C523063D0A7C957BC97C1C43")
	k, err := newest.Parse(kernelkey.P192, point)
	if err != nil {
		t.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(unhex("4B0B8CE98A92866A2820E20AA6B75B56382E0F9BFD5ECB55")), new(big.Int).SetBytes(unhex("CCDB006926EA9565CBADC840829D8C384E06DE1F1E381B85"))
	sig := certtest.TLV(0x30, certtest.Integer(r), certtest.Integer(s))
	if err := k.Verify("sha256", sum(t, "sha256", "sample"), sig); err != nil {
		t.Error(err)
	}
	if err := k.Verify("sha256", sum(t, "sha256", "Sample"), sig); err == nil {
		t.Error("taken for another text")
	}
	public, err := k.Public()
	if p, ok := public.(*ecdsa.PublicKey); err != nil || !ok || p.Curve.Params().Name != "P-192" {
		t.Errorf("%v, %v", public, err)
	}
}

// TestKeyErrors are keys that kernels refuse, and what they fail with.
func TestKeyErrors(t *testing.T) {
	v6_1, fips := kernelkey.Kernel{Major: 6, Minor: 1}, kernelkey.Kernel{Major: 6, Minor: 12, FIPS: true}
	bits32 := kernelkey.Kernel{Major: 6, Minor: 12, Is32Bit: true}
	p256 := key(t, "P-256").Bits
	e3 := certtest.TLV(2, []byte{3})
	for name, test := range map[string]struct {
		k     kernelkey.Kernel
		a     kernelkey.Algorithm
		bits  []byte
		errno syscall.Errno // 0: it is taken
	}{
		"empty":                        {newest, kernelkey.RSA, nil, syscall.EBADMSG},
		"no sequence":                  {newest, kernelkey.RSA, certtest.TLV(0x31, e3, e3), syscall.EBADMSG},
		"small":                        {newest, kernelkey.RSA, certtest.TLV(0x30, e3, e3), syscall.EINVAL},
		"no modulus":                   {newest, kernelkey.RSA, certtest.TLV(0x30, certtest.TLV(2), e3), syscall.EINVAL},
		"no exponent":                  {newest, kernelkey.RSA, certtest.TLV(0x30, e3, certtest.TLV(2)), syscall.EINVAL},
		"three numbers":                {newest, kernelkey.RSA, certtest.TLV(0x30, e3, e3, e3), syscall.EBADMSG},
		"too great":                    {newest, kernelkey.RSA, certtest.TLV(0x30, certtest.TLV(2, bytes.Repeat([]byte{1}, 2049)), e3), syscall.ENOMEM},
		"1984 bits":                    {newest, kernelkey.RSA, key(t, "RSA-1984").Bits, syscall.EINVAL},
		"1985 bits":                    {newest, kernelkey.RSA, key(t, "RSA-1985").Bits, 0},
		"2000 bits, 32":                {bits32, kernelkey.RSA, key(t, "RSA-2000").Bits, syscall.EINVAL},
		"2030 bits, 32":                {bits32, kernelkey.RSA, key(t, "RSA-2030").Bits, 0},
		"1536 bits in FIPS mode":       {fips, kernelkey.RSA, key(t, "RSA-1536").Bits, syscall.EINVAL},
		"2030 bits in FIPS mode":       {fips, kernelkey.RSA, key(t, "RSA-2030").Bits, syscall.EINVAL},
		"exponent 3 in FIPS mode":      {fips, kernelkey.RSA, key(t, "RSA-2048-e3").Bits, syscall.EINVAL},
		"exponent 3 in FIPS mode, 6.1": {kernelkey.Kernel{Major: 6, Minor: 1, FIPS: true}, kernelkey.RSA, key(t, "RSA-2048-e3").Bits, 0},
		"bytes behind":                 {newest, kernelkey.RSA, append(bytes.Clone(key(t, "RSA-2048").Bits), 1, 2), 0},
		"point":                        {newest, kernelkey.P256, p256, 0},
		"compressed":                   {newest, kernelkey.P256, append([]byte{2}, p256[1:33]...), syscall.EINVAL},
		"other curve":                  {newest, kernelkey.P384, p256, syscall.EINVAL},
		"not on the curve":             {newest, kernelkey.P256, append([]byte{4}, bytes.Repeat([]byte{5}, 64)...), syscall.EINVAL},
		"not on P-192":                 {newest, kernelkey.P192, append([]byte{4}, bytes.Repeat([]byte{5}, 48)...), syscall.EINVAL},
		"at infinity":                  {newest, kernelkey.P256, append([]byte{4}, make([]byte, 64)...), syscall.EINVAL},
		"no point":                     {newest, kernelkey.P256, nil, syscall.EINVAL},
		"a byte more":                  {newest, kernelkey.P256, append(bytes.Clone(p256), 0), syscall.EINVAL},
		"a byte more, 6.1":             {v6_1, kernelkey.P256, append(bytes.Clone(p256), 0), 0},
		"P-521 in 66 bytes, 6.1":       {v6_1, kernelkey.P521, key(t, "P-521").Bits, syscall.EINVAL},
		"GOST":                         {newest, kernelkey.ECRDSA, nil, syscall.ENOENT},
	} {
		_, err := test.k.Parse(test.a, test.bits)
		var bad *kernelkey.KeyError
		switch {
		case test.errno == 0 && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.errno != 0 && (!errors.As(err, &bad) || bad.Errno != test.errno || bad.Error() == ""):
			t.Errorf("%s: %v, want errno %v", name, err, test.errno)
		}
	}
}

// TestSignatureErrors are forms of signatures that are taken or not, and what
// kernels fail with.
func TestSignatureErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	digest := sum(t, "sha256", "text")
	ec, err := newest.Parse(kernelkey.P256, key(t, "P-256").Bits)
	if err != nil {
		t.Fatal(err)
	}
	sig := key(t, "P-256").SignDigest(r, "sha256", digest)
	numbers := sig[2:]
	size := int(numbers[1])
	rr, ss := numbers[2:2+size], numbers[2+size+2:]
	number := func(b ...[]byte) []byte { return certtest.TLV(2, b...) }
	pair := func(a, b []byte) []byte { return certtest.TLV(0x30, a, b) }
	plain := new(big.Int).SetBytes(rr).Bytes()
	for name, test := range map[string]struct {
		sig   []byte
		errno syscall.Errno
	}{
		"as it is":            {sig, 0},
		"bytes behind":        {append(bytes.Clone(sig), 0, 0, 7), 0},
		"without sign byte":   {pair(number(plain), number(ss)), 0},
		"32 bytes and a zero": {pair(number(make([]byte, 33-len(plain)), plain), number(ss)), 0},
		"too many zeros":      {pair(number(make([]byte, 34-len(plain)), plain), number(ss)), syscall.EINVAL},
		"empty":               {pair(number(), number(ss)), syscall.EINVAL},
		"zero":                {pair(number([]byte{0}), number(ss)), syscall.EBADMSG},
		"above the order":     {pair(number(bytes.Repeat([]byte{0xff}, 32)), number(ss)), syscall.EBADMSG},
		"one number":          {certtest.TLV(0x30, number(rr)), syscall.EBADMSG},
		"three numbers":       {certtest.TLV(0x30, number(rr), number(ss), number(ss)), syscall.EBADMSG},
		"nothing":             {nil, syscall.EBADMSG},
		"exchanged":           {pair(number(ss), number(rr)), syscall.EKEYREJECTED},
		"indefinite":          {slices.Concat([]byte{0x30, 0x80}, number(rr), number(ss), []byte{0, 0}), 0},
	} {
		checkErrno(t, name, ec.Verify("sha256", digest, test.sig), test.errno)
	}

	rsaKey, err := newest.Parse(kernelkey.RSA, key(t, "RSA-2048").Bits)
	if err != nil {
		t.Fatal(err)
	}
	sig = key(t, "RSA-2048").SignDigest(r, "sha256", digest)
	checkErrno(t, "RSA", rsaKey.Verify("sha256", digest, sig), 0)
	checkErrno(t, "RSA of another digest", rsaKey.Verify("sha512", sum(t, "sha512", "text"), sig), syscall.EBADMSG)
	checkErrno(t, "RSA of another text", rsaKey.Verify("sha256", sum(t, "sha256", "other"), sig), syscall.EKEYREJECTED)
	checkErrno(t, "short RSA", rsaKey.Verify("sha256", digest, sig[1:]), syscall.EINVAL)
	checkErrno(t, "RSA of 1", rsaKey.Verify("sha256", digest, append(make([]byte, 255), 1)), syscall.EINVAL)
	checkErrno(t, "RSA without DigestInfo", rsaKey.Verify("md4", digest, sig), syscall.EINVAL)
}

func checkErrno(t *testing.T, name string, err error, errno syscall.Errno) {
	t.Helper()
	var bad *kernelkey.SignatureError
	switch {
	case errno == 0 && err != nil:
		t.Errorf("%s: %v", name, err)
	case errno != 0 && (!errors.As(err, &bad) || bad.Errno != errno):
		t.Errorf("%s: %v, want errno %v", name, err, errno)
	}
}

// TestPublic: a key is one of the standard library if that can work with it.
func TestPublic(t *testing.T) {
	for name, want := range map[string]bool{"RSA-2048": true, "RSA-2048-e3": true, "RSA-2048-e1099511627791": false, "RSA-2048-e2147483659": false, "P-521": true, "P-192": true} {
		k, err := newest.Parse(algorithmOf(name), key(t, name).Bits)
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.Public()
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if p, ok := public.(*rsa.PublicKey); ok && p.N.BitLen() != 2048 {
			t.Errorf("%s: %d bits", name, p.N.BitLen())
		}
	}
}

func algorithmOf(name string) kernelkey.Algorithm {
	if a, ok := algorithms[name]; ok {
		return a
	}
	return kernelkey.RSA
}

// FuzzVerify: whatever key and signature are, nothing panics, and what is taken is
// a signature of a key that is.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("\x30\x06\x02\x01\x05\x02\x01\x03"), []byte("\x30\x06\x02\x01\x01\x02\x01\x01"), byte(0))
	for _, k := range certtest.Keys()[:certtest.UsualKeys] {
		f.Add(k.Bits, k.SignDigest(rand.New(rand.NewPCG(1, 1)), "sha256", make([]byte, 32)), byte(1))
	}
	all := []kernelkey.Algorithm{kernelkey.RSA, kernelkey.P192, kernelkey.P256, kernelkey.P384, kernelkey.P521, kernelkey.MLDSA44}
	f.Fuzz(func(t *testing.T, bits, sig []byte, which byte) {
		k, err := kernelkey.Kernel{Major: 6, Minor: int(which) / len(all)}.Parse(all[int(which)%len(all)], bits)
		if (k == nil) != (err != nil) {
			t.Fatalf("%v, %v", k, err)
		}
		if k == nil {
			return
		}
		if public, err := k.Public(); (public == nil) != (err != nil) {
			t.Fatalf("%v, %v", public, err)
		}
		if k.Verify("sha256", make([]byte, 32), sig) == nil && k.Verify("sha256", bytes.Repeat([]byte{1}, 32), sig) == nil {
			t.Fatalf("signature %x is of two digests", sig)
		}
	})
}
