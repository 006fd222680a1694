package kernellab

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"os/exec"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// version1 makes a label of version 1 by one of the keys, which must be RSA.
func (w *world) version1(t *testing.T, by []*keys.Key, d hash.Digest, change func(*imaevm.SignatureV1)) []byte {
	t.Helper()
	i := w.random.IntN(len(by))
	for by[i].Scheme() != sign.RSA {
		i = (i + 1) % len(by)
	}
	s := imaevm.SignatureV1{Timestamp: w.random.Uint32(), Hash: pick[byte](w, 0, 1, 1, 9), Count: 1}
	id, _ := by[i].KeyIDV1()
	s.KeyID = id
	if change != nil {
		change(&s)
	}
	sum := s.Signed(d)
	var err error
	s.Raw, err = by[i].Signer(t.Context()).Sign(nil, sum[:], crypto.Hash(0))
	check(t, err)
	s.Bits = uint16(8 * len(s.Raw))
	return encode(t, s)
}

// evmVersion1 makes one for security.evm, whose first byte of the timestamp is
// right by intent, mostly.
func (w *world) evmVersion1(t *testing.T, kind imaevm.Type, input []byte) []byte {
	t.Helper()
	a := pick(w, hash.SHA1, hash.SHA256)
	b := w.version1(t, w.known, digest(t, a, input), func(s *imaevm.SignatureV1) {
		s.Timestamp = s.Timestamp&^0xff | uint32(a.Number())
		if w.chance(5) {
			s.Timestamp++
		}
	})
	b[0] = byte(kind)
	return b
}

// p192 signs a digest with openssl, since nothing here signs on that curve.
func p192(t *testing.T, d hash.Digest) []byte {
	t.Helper()
	cmd := exec.Command(lookPath("openssl"), "pkeyutl", "-sign", "-inkey", vectors.Path(t, "keys/p192.key.pem"))
	cmd.Stdin = bytes.NewReader(d.Bytes())
	raw, err := cmd.Output()
	check(t, err)
	return encode(t, imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: d.Algorithm(), KeyID: 0xd3ab71d4, Raw: raw})
}

// reencoded gives a signature label of an ECDSA key a raw signature that is none in
// DER. Others stay as they are.
func (w *world) reencoded(t *testing.T, label []byte) []byte {
	t.Helper()
	s, err := imaevm.ParseSignature(label)
	check(t, err)
	var n struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(s.Raw, &n); err != nil || len(rest) > 0 {
		return label
	}
	s.Raw = oddly(w, s.Raw, n.R, n.S)
	return encode(t, s)
}

// oddly encodes an ECDSA signature in ways of which kernels take some.
func oddly(w *world, der []byte, r, s *big.Int) []byte {
	length := func(n int) []byte {
		switch pick(w, 0, 1, 2, 3) {
		case 0:
			if n < 0x80 {
				return []byte{byte(n)}
			}
			fallthrough
		case 1:
			if n < 0x100 {
				return []byte{0x81, byte(n)}
			}
			fallthrough
		case 2:
			return []byte{0x82, byte(n >> 8), byte(n)}
		}
		return []byte{0x83, 0, byte(n >> 8), byte(n)}
	}
	element := func(tag byte, content ...byte) []byte {
		return slices.Concat([]byte{tag}, length(len(content)), content)
	}
	integer := func(n *big.Int) []byte {
		return element(pick[byte](w, 2, 2, 2, 2, 2, 2, 0x22), append(make([]byte, pick(w, 0, 0, 0, 1, 2, 16, 17, 24, 40)), n.Bytes()...)...)
	}
	behind := pick(w, "", "\x00", "\x00\x00\x00", "anything")
	switch pick(w, 0, 1, 2) {
	case 0:
		return append(slices.Clone(der), behind...)
	case 1:
		return append(element(pick[byte](w, 0x30, 0x30, 0x10, 0x31), slices.Concat(integer(r), integer(s))...), behind...)
	}
	return append(slices.Concat([]byte{pick[byte](w, 0x30, 0x30, 0x10), 0x80}, integer(r), integer(s), []byte{0, pick[byte](w, 0, 0, 1)}), behind...)
}

// userKeys are the known RSA keys as a kernel and imaseal have them for version 1.
func userKeys(t *testing.T, w *world) map[string]userKey {
	t.Helper()
	all := make(map[string]userKey)
	for i, k := range w.known {
		if k.Scheme() == sign.RSA {
			all[knownKeys[i]] = newUserKey(t, k.PublicKey().(*rsa.PublicKey))
		}
	}
	return all
}
