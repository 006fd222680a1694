package kernellab

import (
	"crypto/md5"
	"fmt"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys"
	"imaseal/sign"
)

// A recipe makes a label; nil is none.
type recipe struct {
	weight int
	story  string
	make   func() []byte
}

// cook follows one of the recipes.
func (w *world) cook(recipes []recipe) ([]byte, string) {
	total := 0
	for _, r := range recipes {
		total += r.weight
	}
	n := w.random.IntN(total)
	for _, r := range recipes {
		if n -= r.weight; n < 0 {
			return r.make(), r.story
		}
	}
	panic("unreachable")
}

// changed returns b after a change.
func changed(b []byte, change func([]byte) []byte) []byte { return change(slices.Clone(b)) }

// ima makes a security.ima for the content.
func (w *world) ima(t *testing.T, content []byte) ([]byte, string) {
	t.Helper()
	other := append([]byte("not "), content...)
	hashOf := func(b []byte) []byte { return encode(t, imaevm.NewHash(digest(t, w.algorithm(), b))) }
	signed := func(by []*keys.Key, kind imaevm.Type, version uint8, b []byte) []byte {
		return w.signature(t, by, kind, version, func(a hash.Algorithm) hash.Digest { return digest(t, a, b) })
	}
	// The algorithms of signatures over fs-verity digests are fewer.
	verity := func() []byte {
		l, err := sign.Label(t.Context(), w.known[0], imaevm.TypeVerity, 3, digest(t, pick(w, hash.SHA256, hash.SHA512), content))
		check(t, err)
		return encode(t, l)
	}
	right := func() []byte { return signed(w.known, imaevm.TypeSignature, 2, content) }
	shape := func(change func([]byte) []byte) func() []byte {
		return func() []byte { return changed(right(), change) }
	}
	md5sum := md5.Sum(content)
	sha1sum := digest(t, hash.SHA1, content).Bytes()
	return w.cook([]recipe{
		{45, "right hash", func() []byte { return hashOf(content) }},
		{25, "right signature", right},
		{4, "right signature, version 3", func() []byte { return signed(w.known, imaevm.TypeSignature, 3, content) }},
		{5, "no label", func() []byte { return nil }},
		{2, "empty label", func() []byte { return []byte{} }},
		{4, "hash of something else", func() []byte { return hashOf(other) }},
		{2, "hash, one byte short", func() []byte { return changed(hashOf(content), func(b []byte) []byte { return b[:len(b)-1] }) }},
		{2, "hash and a byte", func() []byte { return append(hashOf(content), 0) }},
		{2, "sha1 as type 4", func() []byte { return append([]byte{4, hash.SHA1.Number()}, sha1sum...) }},
		{1, "sha1 as type 1, short", func() []byte { return append([]byte{1}, sha1sum[:19]...) }},
		{2, "md5 as type 1, padded", func() []byte { return append(append([]byte{1}, md5sum[:]...), 0, 0, 0, 0) }},
		{1, "md5 as type 1", func() []byte { return append([]byte{1}, md5sum[:]...) }},
		{1, "md5 as type 4", func() []byte { return append([]byte{4, hash.MD5.Number()}, md5sum[:]...) }},
		{1, "hash of an algorithm that Go lacks", func() []byte {
			return append([]byte{4, hash.Streebog256.Number()}, digest(t, hash.SHA256, content).Bytes()...)
		}},
		{1, "hash of an algorithm that Go lacks, short", func() []byte {
			return append([]byte{4, hash.Streebog512.Number()}, digest(t, hash.SHA256, content).Bytes()...)
		}},
		{1, "signature of an algorithm that Go lacks", shape(func(b []byte) []byte { b[2] = hash.Streebog256.Number(); return b })},
		{2, "hash of an algorithm that kernels lack", func() []byte { return append([]byte{4, hash.RMD128.Number()}, md5sum[:]...) }},
		{1, "hash of algorithm 23", func() []byte { return append([]byte{4, 23}, sha1sum...) }},
		{1, "hash of algorithm 255", func() []byte { return append([]byte{4, 255}, sha1sum...) }},
		{1, "type 4 alone", func() []byte { return []byte{4} }},
		{1, "type 1 alone", func() []byte { return []byte{1} }},
		{1, "type 4 and an algorithm", func() []byte { return []byte{4, 4} }},
		{4, "signature of something else", func() []byte { return signed(w.known, imaevm.TypeSignature, 2, other) }},
		{4, "signature by a stranger", func() []byte { return signed(w.strangers, imaevm.TypeSignature, 2, content) }},
		{2, "signature, a bit flipped", shape(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })},
		{1, "signature, one byte short", shape(func(b []byte) []byte { return b[:len(b)-1] })},
		{1, "signature and a byte", shape(func(b []byte) []byte { return append(b, 0) })},
		{1, "signature, another size", shape(func(b []byte) []byte { b[8]++; return b })},
		{1, "signature, header alone", shape(func(b []byte) []byte { return b[:9] })},
		{1, "signature, type alone", shape(func(b []byte) []byte { return b[:1] })},
		{1, "signature, type and version", shape(func(b []byte) []byte { return b[:2] })},
		{2, "signature of another algorithm", shape(func(b []byte) []byte { b[2] = hash.SHA384.Number(); return b })},
		{1, "signature of algorithm 23", shape(func(b []byte) []byte { b[2] = 23; return b })},
		{1, "signature of an algorithm that kernels lack", shape(func(b []byte) []byte { b[2] = hash.RMD128.Number(); return b })},
		{1, "signature, version 0", shape(func(b []byte) []byte { b[1] = 0; return b })},
		{1, "signature, version 1", shape(func(b []byte) []byte { b[1] = 1; return b })},
		{1, "signature of version 2, named 3", shape(func(b []byte) []byte { b[1] = 3; return b })},
		{1, "signature, version 4", shape(func(b []byte) []byte { b[1] = 4; return b })},
		{2, "verity signature over the content", verity},
		{1, "verity signature, version 2", func() []byte { return changed(verity(), func(b []byte) []byte { b[1] = 2; return b }) }},
		{5, "signature of version 1", func() []byte { return w.version1(t, w.known, digest(t, hash.SHA256, content), nil) }},
		{1, "signature of version 1 over sha1", func() []byte { return w.version1(t, w.known, digest(t, hash.SHA1, content), nil) }},
		{1, "signature of version 1 by a stranger", func() []byte { return w.version1(t, w.strangers, digest(t, hash.SHA256, content), nil) }},
		{1, "signature of version 1, another algorithm", func() []byte {
			return w.version1(t, w.known, digest(t, hash.SHA256, content), func(s *imaevm.SignatureV1) { s.Algorithm = 1 })
		}},
		{1, "signature of version 1 and a byte", func() []byte { return append(w.version1(t, w.known, digest(t, hash.SHA256, content), nil), 0) }},
		{1, "signature of version 1, header alone", func() []byte { return w.version1(t, w.known, digest(t, hash.SHA256, content), nil)[:18] }},
		{3, "right signature on P-192", func() []byte { return p192(t, digest(t, w.algorithm(), content)) }},
		{1, "signature on P-192 of something else", func() []byte { return w.reencoded(t, p192(t, digest(t, w.algorithm(), other))) }},
		{6, "right signature, encoded oddly", func() []byte { return w.reencoded(t, right()) }},
		{1, "an HMAC", func() []byte { return append([]byte{2}, sha1sum...) }},
		{1, "a portable signature", shape(func(b []byte) []byte { b[0] = 5; return b })},
		{1, "type 7", func() []byte { return append([]byte{7}, sha1sum...) }},
		{1, "type 255", func() []byte { return []byte{255} }},
	})
}

// bound are the attributes that HMACs and inode-bound signatures cover on
// Debian's kernels.
func bound(attrs []imaevm.Attr) []imaevm.Attr {
	return slices.DeleteFunc(slices.Clone(attrs), func(a imaevm.Attr) bool { return a.Name == attrSmackExec })
}

// covered returns the file's attributes with security.ima in its place.
func (f *leaf) covered(t *testing.T) []imaevm.Attr {
	t.Helper()
	var all []imaevm.Attr
	for _, p := range imaevm.Protected() {
		if p.Name == imaevm.AttrIMA && f.ima != nil {
			all = append(all, imaevm.Attr{Name: p.Name, Value: f.ima})
		}
		for _, a := range f.attrs {
			if a.Name == p.Name {
				all = append(all, a)
			}
		}
	}
	return all
}

// evm makes a security.evm.
func (w *world) evm(t *testing.T, f *leaf, meta imaevm.Meta) ([]byte, string) {
	t.Helper()
	all := f.covered(t)
	elsewhere, chowned := meta, meta
	elsewhere.Inode++
	chowned.UID++
	hmac := func(attrs []imaevm.Attr, m imaevm.Meta) []byte {
		input, err := imaevm.Input(imaevm.TypeHMAC, attrs, m, imaevm.Target{})
		if err != nil {
			return append([]byte{2}, make([]byte, 20)...) // there is nothing to cover
		}
		return encode(t, w.hmac.Sum(input))
	}
	signed := func(by []*keys.Key, kind imaevm.Type, version uint8, attrs []imaevm.Attr, m imaevm.Meta) []byte {
		input, err := imaevm.Input(kind, attrs, m, imaevm.Target{})
		if err != nil {
			input = nil // a signature of nothing
		}
		return w.signature(t, by, kind, version, func(a hash.Algorithm) hash.Digest { return digest(t, a, input) })
	}
	const host, portable = imaevm.TypeSignature, imaevm.TypePortable
	shape := func(change func([]byte) []byte) func() []byte {
		return func() []byte { return changed(signed(w.known, portable, 2, all, meta), change) }
	}
	recipes := []recipe{
		{22, "right HMAC", func() []byte { return hmac(bound(all), meta) }},
		{22, "right portable signature", func() []byte { return signed(w.known, portable, 2, all, meta) }},
		{14, "right bound signature", func() []byte { return signed(w.known, host, 2, bound(all), meta) }},
		{3, "right portable signature, version 3", func() []byte { return signed(w.known, portable, 3, all, meta) }},
		{3, "right bound signature, version 3", func() []byte { return signed(w.known, host, 3, bound(all), meta) }},
		{12, "no EVM label", func() []byte { return nil }},
		{1, "empty EVM label", func() []byte { return []byte{} }},
		{2, "HMAC of another inode", func() []byte { return hmac(bound(all), elsewhere) }},
		{1, "HMAC of all attributes", func() []byte { return hmac(all, meta) }},
		{1, "HMAC, short", func() []byte { return hmac(bound(all), meta)[:20] }},
		{1, "HMAC and a byte", func() []byte { return append(hmac(bound(all), meta), 0) }},
		{2, "portable signature of another owner", func() []byte { return signed(w.known, portable, 2, all, chowned) }},
		{1, "portable signature of fewer attributes", func() []byte { return signed(w.known, portable, 2, bound(all), meta) }},
		{2, "bound signature of another inode", func() []byte { return signed(w.known, host, 2, bound(all), elsewhere) }},
		{2, "portable signature, encoded oddly", func() []byte { return w.reencoded(t, signed(w.known, portable, 2, all, meta)) }},
		{3, "signature of version 1", func() []byte {
			kind, attrs := host, bound(all)
			if w.chance(2) {
				kind, attrs = portable, all
			}
			input, err := imaevm.Input(kind, attrs, meta, imaevm.Target{})
			if err != nil {
				input = nil
			}
			return w.evmVersion1(t, kind, input)
		}},
		{2, "portable signature by a stranger", func() []byte { return signed(w.strangers, portable, 2, all, meta) }},
		{2, "bound signature by a stranger", func() []byte { return signed(w.strangers, host, 2, bound(all), meta) }},
	}
	for _, s := range []struct {
		story  string
		change func([]byte) []byte
	}{
		{"a bit flipped", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"header alone", func(b []byte) []byte { return b[:9] }},
		{"type alone", func(b []byte) []byte { return b[:1] }},
		{"and a byte", func(b []byte) []byte { return append(b, 0) }},
		{"version 0", func(b []byte) []byte { b[1] = 0; return b }},
		{"version 1", func(b []byte) []byte { b[1] = 1; return b }},
		{"version 4", func(b []byte) []byte { b[1] = 4; return b }},
		{"named version 3", func(b []byte) []byte { b[1] = 3; return b }},
		{"algorithm 23", func(b []byte) []byte { b[2] = 23; return b }},
		{"an algorithm that kernels lack", func(b []byte) []byte { b[2] = hash.RMD128.Number(); return b }},
		{"an algorithm that Go lacks", func(b []byte) []byte { b[2] = hash.Streebog256.Number(); return b }},
		{"an algorithm that Go lacks, by a stranger", func(b []byte) []byte { b[2], b[6] = hash.Streebog512.Number(), b[6]^1; return b }},
		{"of type 3", func(b []byte) []byte { b[0] = 3; return b }},
		{"of type 4", func(b []byte) []byte { b[0] = 4; return b }},
		{"of type 6", func(b []byte) []byte { b[0] = 6; return b }},
	} {
		recipes = append(recipes, recipe{1, fmt.Sprintf("portable signature, %s", s.story), shape(s.change)})
	}
	return w.cook(recipes)
}
