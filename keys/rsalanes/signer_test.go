package rsalanes

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"imaseal/keys/keytest"
)

var _ crypto.Signer = (*Signer)(nil)

func signerOf(t testing.TB, key *rsa.PrivateKey, a *arithmetic) *Signer {
	t.Helper()
	s, err := newSigner(key, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// signAll has so many callers sign so many digests each, and compares what they
// get with crypto/rsa.
func signAll(t *testing.T, s *Signer, key *rsa.PrivateKey, h crypto.Hash, callers, each int) {
	t.Helper()
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range each {
				d := make([]byte, digestSize(h))
				rand.Read(d)
				got, err := s.Sign(rand.Reader, d, h)
				if err != nil {
					t.Error(err)
					return
				}
				if want, err := rsa.SignPKCS1v15(nil, key, h, d); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %x: got %x, want %x, %v", h, d, got, want, err)
				}
			}
		})
	}
	wait.Wait()
}

// TestSigner runs with lanes, and without where there are none.
func TestSigner(t *testing.T) {
	for _, size := range sizes {
		key := generated[size]()
		s, err := New(key)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if !key.PublicKey.Equal(s.Public()) {
			t.Errorf("%d bits: public key is %v", size, s.Public())
		}
		for _, callers := range []int{1, 2, lanes, 3*lanes + 1} {
			signAll(t, s, key, crypto.SHA256, callers, 2)
		}
	}
}

func TestSignerHashes(t *testing.T) {
	key := generated[2048]()
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	for h := range crypto.Hash(64) {
		if h == 0 || h.Available() {
			if h == crypto.MD5SHA1 || strings.HasPrefix(h.String(), "BLAKE2") {
				continue // no digest of its own; no object identifier in crypto/rsa
			}
			signAll(t, s, key, h, lanes, 1)
		}
	}
}

// TestSignerMistakes compares what is refused with crypto/rsa.
func TestSignerMistakes(t *testing.T) {
	key := generated[2048]()
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		h      crypto.Hash
		digest []byte
	}{
		{crypto.SHA256, make([]byte, 31)},
		{crypto.SHA256, nil},
		{crypto.BLAKE2b_256, make([]byte, 32)},
		{0, make([]byte, 256-10)},
	} {
		_, got := s.Sign(rand.Reader, bad.digest, bad.h)
		_, want := key.Sign(rand.Reader, bad.digest, bad.h)
		if got == nil || want == nil || got.Error() != want.Error() {
			t.Errorf("%s with %d bytes: %v, crypto/rsa says %v", bad.h, len(bad.digest), got, want)
		}
	}
	if sig, err := s.Sign(rand.Reader, make([]byte, 256-11), crypto.Hash(0)); err != nil || len(sig) != 256 {
		t.Errorf("the longest input: %v", err)
	}
}

// TestEncodeLeavesRoom wants the eight bytes of padding that RFC 8017 wants.
func TestEncodeLeavesRoom(t *testing.T) {
	for _, size := range []int{256, 384, 512} {
		if m, ok := encode(0, make([]byte, size-11), size); !ok || len(m) != size {
			t.Errorf("%d bytes: the longest input is refused", size)
		}
		if _, ok := encode(0, make([]byte, size-10), size); ok {
			t.Errorf("%d bytes: too long an input is taken", size)
		}
	}
}

func TestSignerPSS(t *testing.T) {
	key := generated[2048]()
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	d := make([]byte, 32)
	sig, err := s.Sign(rand.Reader, d, &rsa.PSSOptions{Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, d, sig, nil); err != nil {
		t.Error(err)
	}
}

// TestKeysForCryptoRSA has keys that are not for the lanes.
func TestKeysForCryptoRSA(t *testing.T) {
	a := newArithmetic()
	if a == nil {
		a = reference()
	}
	keys := map[string]*rsa.PrivateKey{"1024 bits": newKey(t, 65537, primes(t, 512, 2)...)}
	p := primes(t, 1024, 2)
	for _, bits := range [][2]int{{1024, 1000}, {1000, 1024}, {1024, 1032}, {1032, 1024}, {1016, 1032}} {
		unequal := append(primes(t, bits[0], 1), primes(t, bits[1], 1)...)
		keys[fmt.Sprintf("primes of %d and %d bits", bits[0], bits[1])] = newKey(t, 65537, unequal...)
	}
	keys["primes of 1022 bits"] = newKey(t, 65537, primes(t, 1022, 2)...)
	keys["three primes"] = newKey(t, 65537, p[0], primes(t, 512, 1)[0], primes(t, 512, 1)[0])
	for name, key := range keys {
		s := signerOf(t, key, a)
		if s.crt != nil || s.Parallel() != runtime.GOMAXPROCS(0) {
			t.Errorf("%s: the lanes take the key, %d signatures at once", name, s.Parallel())
		}
		signAll(t, s, key, crypto.SHA256, lanes, 1)
	}
	good := signerOf(t, newKey(t, 65537, p...), a)
	if good.crt == nil || good.Parallel() < 2*lanes {
		t.Errorf("the lanes do not take a usual key, %d signatures at once", good.Parallel())
	}
}

// TestKeyWithoutPrecomputed takes a key as code that makes one by hand has it,
// and leaves it alone.
func TestKeyWithoutPrecomputed(t *testing.T) {
	full := generated[2048]()
	key := &rsa.PrivateKey{PublicKey: full.PublicKey, D: full.D, Primes: full.Primes}
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	signAll(t, s, full, crypto.SHA256, lanes, 2)
	if key.Precomputed.Dp != nil {
		t.Error("the key was changed")
	}
}

func TestKeyInvalid(t *testing.T) {
	full := generated[2048]()
	bad := &rsa.PrivateKey{PublicKey: full.PublicKey, D: new(big.Int).Add(full.D, big.NewInt(2)), Primes: full.Primes}
	if _, err := New(bad); err == nil || !strings.HasPrefix(err.Error(), "RSA key: ") {
		t.Errorf("wrong exponent: %v", err)
	}
}

// TestFaultNeverLeaves disturbs one result after the other, under callers that
// get right signatures all the same: those of crypto/rsa.
func TestFaultNeverLeaves(t *testing.T) {
	a := kernels(t)
	key := generated[2048]()
	spied := newSpy(a)
	s := signerOf(t, key, &spied.arithmetic)
	_, messages := batchOf(t, key, crypto.SHA256, lanes)
	s.crt.sign(s.crt.newWorkspace(), messages)
	calls := spied.calls.Load()
	spied.change = func(z number) { z[0][3] ^= 1 }
	for i := range int64(12) {
		spied.at = spied.calls.Load() + 1 + (calls-1)*i/11
		for tries := 0; spied.calls.Load() < spied.at; tries++ {
			signAll(t, s, key, crypto.SHA256, 2*lanes, 1)
			if tries == 100 {
				t.Fatal("the lanes are not used")
			}
		}
	}
}

// TestOpenSSL compares with a third implementation.
func TestOpenSSL(t *testing.T) {
	for _, size := range sizes {
		key := generated[size]()
		s, err := New(key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		file := keytest.File(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		var wait sync.WaitGroup
		digests, signatures := make([][]byte, lanes), make([][]byte, lanes)
		for i := range digests {
			wait.Go(func() {
				digests[i] = bytes.Repeat([]byte{byte(i * 36)}, 32)
				signatures[i], _ = s.Sign(rand.Reader, digests[i], crypto.SHA256)
			})
		}
		wait.Wait()
		for i, d := range digests {
			want := keytest.Run(t, "openssl", "pkeyutl", "-sign", "-inkey", file, "-pkeyopt", "digest:sha256", "-in", keytest.File(t, d))
			if !bytes.Equal(signatures[i], want) {
				t.Errorf("%d bits, %x: got %x, openssl makes %x", size, d, signatures[i], want)
			}
		}
	}
}

// TestWithoutLanes runs the tests of Signer again, in processes that must not
// use lanes.
func TestWithoutLanes(t *testing.T) {
	const inside = "RSA_LANES_WITHOUT"
	if os.Getenv(inside) != "" {
		if s, err := New(generated[2048]()); err != nil || s.crt != nil {
			t.Errorf("the lanes are used, %v", err)
		}
		return
	}
	for _, setting := range []string{"cpu.avx512ifma=off", "fips140=on"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^(TestSigner.*|TestKey.*|TestWithoutLanes|TestOpenSSL)$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+setting, inside+"=1")
		out, err := cmd.CombinedOutput()
		if bytes.Contains(out, []byte("FIPS 140-3 mode is incompatible with the purego build tag")) {
			continue // Go has no FIPS mode then
		}
		for _, passed := range []string{"TestSigner", "TestWithoutLanes"} {
			if err != nil || !strings.Contains(string(out), "--- PASS: "+passed+" (") {
				t.Errorf("GODEBUG=%s: %v\n%s", setting, err, out)
			}
		}
	}
}

// FuzzSign signs what the input says in each lane, a little different, and
// compares one lane with crypto/rsa. RSA-3072 and 4096 take the same way with
// longer numbers, which FuzzKernels has.
func FuzzSign(f *testing.F) {
	f.Add(uint8(0), uint8(2), []byte("digest"))
	f.Add(uint8(1), uint8(0), bytes.Repeat([]byte{0xff}, 200))
	f.Add(uint8(7), uint8(0), []byte{})
	key := generated[2048]()
	c := lanesOf(f, key, kernels(f))
	w := c.newWorkspace()
	hashes := []crypto.Hash{0, crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256}
	f.Fuzz(func(t *testing.T, lane, hash uint8, digest []byte) {
		h := hashes[int(hash)%len(hashes)]
		size := c.size - 11
		if h != 0 {
			size = h.Size()
			digest = append(digest, make([]byte, size)...)
		}
		digest = digest[:min(size, len(digest))]
		var digests, messages [][]byte
		for i := range lanes {
			d := bytes.Clone(digest)
			if len(d) > 0 {
				d[0] += byte(i)
			}
			m, ok := encode(h, d, c.size)
			if !ok {
				t.Fatalf("%s %x is not encoded", h, d)
			}
			digests, messages = append(digests, d), append(messages, m)
		}
		got := c.sign(w, messages)
		lane %= lanes
		want, err := rsa.SignPKCS1v15(nil, key, h, digests[lane])
		if err != nil || !bytes.Equal(got[lane], want) {
			t.Errorf("%s %x: got %x, want %x, %v", h, digests[lane], got[lane], want, err)
		}
		for i := range got {
			if got[i] == nil {
				t.Errorf("%s %x: lane %d has no signature", h, digests[i], i)
			}
		}
	})
}
