package appraise

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// userKeys are the keys of version 1 in files of the vectors, as a kernel has them.
func userKeys(t *testing.T, names ...string) sign.VerifiersV1 {
	t.Helper()
	var paths []string
	for _, name := range names {
		paths = append(paths, vectors.Path(t, "keys/"+name))
	}
	v, err := keys.OpenVerifiers(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v.UserKeys()
}

// v1Label is one of evmctl's labels of hello.txt.
func v1Label(t *testing.T, name string) []byte {
	t.Helper()
	for _, text := range vectors.Texts(t, "labels") {
		if text.Name == name+".evmctl" {
			return text.Values[0].Bytes
		}
	}
	t.Fatalf("no label %s", name)
	return nil
}

// TestVersion1 has labels of evmctl, whose digests are those of hello.txt, and what
// the kernel reads of them and what not.
func TestVersion1(t *testing.T) {
	sha256, sha1 := v1Label(t, "hello.txt.rsa2048.sha256.imasigv1"), v1Label(t, "hello.txt.rsa2048.sha1.imasigv1")
	id := imaevm.KeyIDV1(0x0227da7bc4f8bf4f)
	longer := slices.Concat(sha256, []byte{1, 2})
	longBits := slices.Concat(sha256[:17], []byte{8, 8, 0}, sha256[19:]) // a zero byte in front, and eight bits more
	for _, c := range []struct {
		name    string
		label   []byte
		change  func(*Kernel)
		demands match.Demands
		want    Verdict
	}{
		{"right", sha256, nil, signed, allowed()},
		{"bytes behind", longer, nil, signed, allowed()},
		{"a leading zero byte", longBits, nil, signed, allowed()},
		{"another default digest", sha256, func(k *Kernel) { k.DefaultHash = hash.SHA512 }, signed, denied(InvalidSignature, because(WrongSignature))},
		{"sha1 by default", sha1, func(k *Kernel) { k.DefaultHash = hash.SHA1 }, signed, allowed()},
		{"sha1", sha1, nil, signed, denied(InvalidSignature, because(WrongSignature))},
		{"default digest not known", sha256, func(k *Kernel) { k.DefaultHash = 0 }, signed, maybe(missing(because(NoDefaultHash)), InvalidSignature)},
		{"the named digest is not read but signed", patch(sha256, 7, 0), nil, signed, denied(InvalidSignature, because(WrongSignature))},
		{"the count likewise", patch(sha256, 16, 2), nil, signed, denied(InvalidSignature, because(WrongSignature))},
		{"another key's algorithm", patch(sha256, 6, 1), nil, signed, denied(InvalidSignature, because(MalformedSignature))},
		{"cut", sha256[:len(sha256)-1], nil, signed, denied("", because(CrashesKernel))},
		{"cut, another key", sha256[:len(sha256)-1], func(k *Kernel) { k.KeysV1 = userKeys(t, "rsa3072.key.pem") }, signed,
			denied(InvalidSignature, because(MalformedSignature))},
		{"cut, another key's algorithm", patch(sha256[:len(sha256)-1], 6, 1), nil, signed, denied(InvalidSignature, because(MalformedSignature))},
		{"cut, keys not known", sha256[:len(sha256)-1], func(k *Kernel) { k.KeysV1 = nil }, signed,
			Verdict{Denied, []Cause{"", InvalidSignature}, missing(because(CrashesKernel))}},
		{"cut, a trusted keyring", sha256[:len(sha256)-1], func(k *Kernel) { k.Config.TrustedKeyring = policy.True }, signed,
			denied(InvalidSignature, because(MalformedSignature))},
		{"header alone", sha256[:18], nil, signed, denied(InvalidSignature, because(MalformedSignature))},
		{"a bit flipped", patch(sha256, len(sha256)-1, sha256[len(sha256)-1]^1), nil, signed, denied(InvalidSignature, because(WrongSignature))},
		{"certificates alone", sha256, func(k *Kernel) { k.KeysV1 = userKeys(t, "rsa2048.cert.der") }, signed, denied(InvalidSignature, unknownKeyV1(id))},
		{"another key", sha256, func(k *Kernel) { k.KeysV1 = userKeys(t, "rsa3072.key.pem", "p256.key.pem") }, signed, denied(InvalidSignature, unknownKeyV1(id))},
		{"both", sha256, func(k *Kernel) { k.KeysV1 = userKeys(t, "rsa2048.cert.der", "rsa2048.key.pem") }, signed, allowed()},
		{"keys not known", sha256, func(k *Kernel) { k.KeysV1 = nil }, signed, maybe(missing(because(NoKeys)), InvalidSignature)},
		{"a trusted keyring", sha256, func(k *Kernel) { k.Config.TrustedKeyring = policy.True }, signed, denied(InvalidSignature, because(NoV1Keys))},
		{"without asymmetric keys", sha256, func(k *Kernel) { k.Config.AsymmetricKeys = policy.False }, signed, allowed()},
		{"without CONFIG_SIGNATURE", sha256, func(k *Kernel) { k.Config.Signature = policy.False }, signed, denied(UnknownCause, because(NoSignatures))},
		{"the default's algorithm allowed", sha256, nil, match.Demands{Algos: 1 << 4}, allowed()},
		{"another algorithm", sha256, nil, match.Demands{Algos: 1 << 6}, denied(DeniedAlgorithm)},
	} {
		for _, version := range [][2]int{{6, 1}, {6, 12}, {7, 2}} {
			k, f := kernel(version[0], version[1]), file(c.label)
			k.KeysV1 = userKeys(t, "rsa2048.key.pem")
			f.Content = bytesOf{data: string(vectors.Read(t, "files/hello.txt"))}
			if c.change != nil {
				c.change(k)
			}
			if v := k.check(f, readFile, c.demands, false, byDemand); !same(v, c.want) {
				t.Errorf("%s: %s: %+v, want %+v", k.Kernel, c.name, v, c.want)
			}
		}
	}
	// The kernel does not look for another signature where the key is not there.
	k, f := kernel(7, 2), file(sha256)
	k.KeysV1, f.ModSig = userKeys(t, "rsa3072.key.pem"), ModSigRight
	if v := k.check(f, module, modsig, false, byDemand); v.Cause() != InvalidSignature {
		t.Errorf("with an appended signature: %+v", v)
	}
	if v := k.check(f, module, sigv3, false, byDemand); v.Cause() != SigV3Required {
		t.Errorf("version 3 demanded: %+v", v)
	}
}

// signV1 makes a label of version 1.
func signV1(t *testing.T, timestamp uint32, d hash.Digest) []byte {
	t.Helper()
	block, _ := pem.Decode(vectors.Read(t, "keys/rsa2048.key.pem"))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(*rsa.PrivateKey)
	s := imaevm.SignatureV1{Timestamp: timestamp, Hash: 1, Count: 1, Bits: 2048}
	if s.KeyID, err = (imaevm.KeyV1{N: key.N, E: big.NewInt(int64(key.E))}).ID(); err != nil {
		t.Fatal(err)
	}
	sum := s.Signed(d)
	if s.Raw, err = rsa.SignPKCS1v15(nil, key, 0, sum[:]); err != nil {
		t.Fatal(err)
	}
	return encode(s)
}

// TestEVMVersion1: the first byte of the timestamp stands for the algorithm of
// EVM's digest, which is right by chance.
func TestEVMVersion1(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    imaevm.Type
		alg     hash.Algorithm
		low     byte
		change  func(*Kernel)
		allowed bool
	}{
		{"portable, sha256 by chance", imaevm.TypePortable, hash.SHA256, 4, nil, true},
		{"portable, sha1 by chance", imaevm.TypePortable, hash.SHA1, 2, nil, true},
		{"portable, another", imaevm.TypePortable, hash.SHA1, 4, nil, false},
		{"portable, none", imaevm.TypePortable, hash.SHA1, 23, nil, false},
		{"bound", imaevm.TypeSignature, hash.SHA1, 2, nil, true},
		{"no digest", imaevm.TypePortable, hash.SHA256, 4, func(k *Kernel) { k.Digests = only(hash.SHA1) }, false},
		{"no key", imaevm.TypePortable, hash.SHA256, 4, func(k *Kernel) { k.EVM.KeysV1 = userKeys(t, "rsa3072.key.pem") }, false},
		{"trusted keyring", imaevm.TypePortable, hash.SHA256, 4, func(k *Kernel) { k.Config.TrustedKeyring = policy.True }, false},
		{"version 3 demanded", imaevm.TypePortable, hash.SHA256, 4, func(k *Kernel) { k.EVM.SigV3, k.Major, k.Minor = true, 7, 2 }, false},
	} {
		k, f := kernel(6, 12), evmFile()
		f.IMA = signV1(t, 0, sum(hash.SHA256, content))
		k.EVM.X509, k.KeysV1, k.EVM.KeysV1 = true, userKeys(t, "rsa2048.key.pem"), userKeys(t, "rsa2048.key.pem")
		attrs, _ := f.covered(true)
		input, err := imaevm.Input(c.kind, attrs, f.Meta, imaevm.Target{})
		if err != nil {
			t.Fatal(err)
		}
		f.EVM = signV1(t, 0x01020300|uint32(c.low), sum(c.alg, string(input)))
		f.EVM[0] = byte(c.kind)
		if c.change != nil {
			c.change(k)
		}
		if k.Presence(hash.SHA256) == policy.Absent { // IMA comes first
			f.IMA = toySign(imaevm.TypeSignature, 2, good, sum(hash.SHA1, content))
		}
		v := k.check(f, readFile, signed, false, byDemand)
		cut := *f
		cut.EVM = f.EVM[:len(f.EVM)-1]
		if w := k.check(&cut, readFile, signed, false, byDemand); w.Status != Denied || c.allowed && !w.Reasons.Has(CrashesKernel) {
			t.Errorf("%s, cut: %+v", c.name, w)
		}
		want := InvalidImmutable
		if c.kind != imaevm.TypePortable || k.EVM.SigV3 {
			want = InvalidHMAC
		}
		if (v.Status == Allowed) != c.allowed || !c.allowed && v.Cause() != want {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// only is a kernel with one algorithm.
func only(has hash.Algorithm) func(hash.Algorithm) policy.Presence {
	return func(a hash.Algorithm) policy.Presence {
		if a == has {
			return policy.BuiltIn
		}
		return policy.Absent
	}
}
