package sign_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// signatures returns the signature vectors.
func signatures(t *testing.T) []vectors.Label {
	t.Helper()
	var labels []vectors.Label
	for _, l := range vectors.Index(t) {
		if l.Key != "" {
			labels = append(labels, l)
		}
	}
	if len(labels) < 30 {
		t.Fatalf("only %d signature vectors", len(labels))
	}
	return labels
}

// digestOf returns the digest that a vector's label is over.
func digestOf(t *testing.T, l vectors.Label) hash.Digest {
	t.Helper()
	a, err := hash.Parse(l.Hash)
	if err != nil {
		t.Fatal(err)
	}
	value := l.Digest
	if l.VerityDigest != nil {
		value = l.VerityDigest
	}
	d, err := hash.NewDigest(a, value)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openSet(t *testing.T, names ...string) *keys.Verifiers {
	t.Helper()
	var paths []string
	for _, name := range names {
		paths = append(paths, vectors.Path(t, "keys/"+name))
	}
	v, err := keys.OpenVerifiers(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var allCerts = []string{
	"rsa2048.cert.der", "rsa3072.cert.der", "rsa4096.cert.der", "rsa2048-customskid.cert.der",
	"p192.cert.der", "p256.cert.der", "p384.cert.der", "p521.cert.der", "mldsa44.cert.der", "mldsa65.cert.der",
}

func TestVectorsVerify(t *testing.T) {
	set := openSet(t, allCerts...)
	for _, l := range signatures(t) {
		t.Run(l.ID, func(t *testing.T) {
			label, err := imaevm.Parse(l.Value)
			if err != nil {
				t.Fatal(err)
			}
			sig := label.(imaevm.Signature)
			if got := sig.KeyID.String(); got != hex.EncodeToString(l.KeyID) {
				t.Errorf("key id %s, want %x", got, l.KeyID)
			}
			if err := sign.Verify(label, digestOf(t, l), set); err != nil {
				t.Error(err)
			}
		})
	}
}

// Labels of RSA keys are made again byte for byte; those of ECDSA keys verify.
func TestVectorsSign(t *testing.T) {
	set := openSet(t, allCerts...)
	for _, l := range signatures(t) {
		t.Run(l.ID, func(t *testing.T) {
			private := strings.TrimSuffix(l.Key, "-customskid")
			k, err := keys.Open(t.Context(), vectors.Path(t, "keys/"+private+".key.pem"), nil,
				keys.Options{Certificate: vectors.Path(t, "keys/"+l.Key+".cert.der")})
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			d := digestOf(t, l)
			label, err := sign.Label(t.Context(), k, imaevm.Type(l.Type), l.Version, d)
			if err != nil {
				t.Fatal(err)
			}
			got, err := label.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			if k.Scheme() == sign.RSA && !bytes.Equal(got, l.Value) {
				t.Errorf("label\n%x, want\n%x", got, l.Value)
			}
			if err := sign.Verify(label, d, set); err != nil {
				t.Error(err)
			}
			if len(label.Raw) > k.SignatureSize() {
				t.Errorf("signature of %d bytes, at most %d promised", len(label.Raw), k.SignatureSize())
			}
		})
	}
}

// A label with any byte changed fails, if not as malformed then as signed by
// nobody or badly. One flip of the version makes a version 3 label of a
// version 2 one, which fails because the file id is signed.
func TestVectorsFlipped(t *testing.T) {
	set := openSet(t, allCerts...)
	for _, l := range signatures(t) {
		d := digestOf(t, l)
		b := bytes.Clone(l.Value)
		for i := range b {
			flip := byte(1) << (i % 8)
			b[i] ^= flip
			label, err := imaevm.Parse(b)
			if err == nil {
				err = sign.Verify(label, d, set)
			}
			if err == nil {
				t.Errorf("%s verifies with byte %d changed by %02x", l.ID, i, flip)
			}
			b[i] ^= flip
		}
	}
}

func TestVerifyErrors(t *testing.T) {
	id := "hello.txt.p256.sha256.imasig"
	var v vectors.Label
	for _, l := range signatures(t) {
		if l.ID == id {
			v = l
		}
	}
	sig, err := imaevm.ParseSignature(v.Value)
	if err != nil {
		t.Fatal(err)
	}
	d, set := digestOf(t, v), openSet(t, "p256.cert.der")
	other, err := hash.Sum(hash.SHA256, []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := hash.Sum(hash.SHA512, nil)
	if err != nil {
		t.Fatal(err)
	}
	md5, err := hash.Sum(hash.MD5, nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*imaevm.Signature)) imaevm.Signature {
		s := sig
		change(&s)
		return s
	}
	for name, test := range map[string]struct {
		label imaevm.Label
		d     hash.Digest
		keys  sign.Verifiers
		want  string
	}{
		"other content":   {sig, other, set, "bad signature by key 6bca908e"},
		"unknown key":     {sig, d, openSet(t, "rsa2048.cert.der"), "no key with id 6bca908e"},
		"other algorithm": {sig, long, set, "a sha512 digest for a sha256 signature"},
		"md5":             {with(func(s *imaevm.Signature) { s.Alg = hash.MD5 }), md5, set, "ECDSA keys cannot sign md5 digests; the kernel takes sha1, sha256, sha384, sha512, sha224, sha3-256, sha3-384, sha3-512"},
		"verity 2":        {with(func(s *imaevm.Signature) { s.Kind = imaevm.TypeVerity }), d, set, "label of type 0x06, version 2: signatures over fs-verity digests have version 3"},
		"version 1, none": {imaevm.SignatureV1{Hash: 1, KeyID: 7}, d, set, "no key with id 0000000000000007"},
		"version 1, two":  {imaevm.SignatureV1{Hash: 1, KeyID: 7}, d, sign.Only(set.Keys()[0]), "no key with id 0000000000000007"},
		"version 1, hash": {imaevm.SignatureV1{}, d, set, "a sha256 digest for a sha1 signature"},
		"version 1, huh":  {imaevm.SignatureV1{Hash: 2}, d, set, "label of type 0x03, version 1: over a digest of unknown algorithm 2"},
		"version 1, key":  {imaevm.SignatureV1{Hash: 1, Algorithm: 1}, d, set, "label of type 0x03, version 1: by a key of algorithm 1, and there is RSA only"},
		"hash":            {imaevm.NewHash(d), d, set, "label of type 0x04, version 0: not a signature"},
		"truncated":       {with(func(s *imaevm.Signature) { s.Raw = s.Raw[:len(s.Raw)-1] }), d, set, "bad signature by key 6bca908e"},
	} {
		if err := sign.Verify(test.label, test.d, test.keys); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, ok := errors.AsType[*sign.BadSignatureError](sign.Verify(sig, other, set)); !ok {
		t.Error("a bad signature has no *BadSignatureError")
	}
}

// TestVersion1 has labels of evmctl.
func TestVersion1(t *testing.T) {
	set := openSet(t, "rsa2048.cert.der")
	seen := 0
	for _, text := range vectors.Texts(t, "labels") {
		if text.Expect != "version 1" {
			continue
		}
		label, err := imaevm.ParseSignatureV1(text.Values[0].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := label.ContentAlgorithm()
		for content, want := range map[string]bool{string(vectors.Read(t, "files/hello.txt")): true, "": false} {
			d, err := hash.Sum(a, []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			err = sign.Verify(label, d, set)
			if _, bad := errors.AsType[*sign.BadSignatureError](err); (err == nil) != want || bad == want {
				t.Errorf("%s over %q: %v", text.Name, content, err)
			}
		}
		seen++
	}
	if seen != 2 {
		t.Errorf("%d labels", seen)
	}
}
