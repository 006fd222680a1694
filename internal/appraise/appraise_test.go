package appraise

import (
	"errors"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// bytesOf is a Content of bytes; verity is its fs-verity digest.
type bytesOf struct {
	data   string
	verity hash.Digest
}

func (b bytesOf) Digest(a hash.Algorithm) (hash.Digest, error) { return hash.Sum(a, []byte(b.data)) }
func (b bytesOf) Verity() (hash.Digest, error)                 { return b.verity, nil }

// broken is a Content that cannot be read.
type broken struct{}

func (broken) Digest(hash.Algorithm) (hash.Digest, error) { return hash.Digest{}, errors.New("no") }
func (broken) Verity() (hash.Digest, error)               { return hash.Digest{}, errors.New("no") }

// toy is a keyring with one key, whose signature over a digest is the
// digest's text.
type toy struct{ id imaevm.KeyID }

func (k toy) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	switch id {
	case 0xdead:
		return nil, &sign.AmbiguousKeyError{KeyID: id, Keys: []string{"a", "b"}}
	case k.id:
		return k, nil
	}
	return nil, &sign.UnknownKeyError{KeyID: id}
}

func (k toy) KeyID() imaevm.KeyID { return k.id }

func (k toy) VerifyDigest(d hash.Digest, sig []byte) error {
	if string(sig) != d.String() {
		return sign.ErrSignature
	}
	return nil
}

func sum(a hash.Algorithm, data string) hash.Digest {
	d, err := hash.Sum(a, []byte(data))
	if err != nil {
		panic(err)
	}
	return d
}

func encode(l imaevm.Label) []byte {
	b, err := l.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// toySign makes a signature label over d, version 3 by way of the file id.
func toySign(kind imaevm.Type, version uint8, id imaevm.KeyID, d hash.Digest) []byte {
	signed := d
	if version == 3 {
		signed = sum(d.Algorithm(), string(imaevm.FileID(kind, d)))
	}
	return encode(imaevm.Signature{Kind: kind, Version: version, Alg: d.Algorithm(), KeyID: id, Raw: []byte(signed.String())})
}

// same reports whether verdicts are equal.
func same(v, w Verdict) bool {
	return v.Status == w.Status && slices.Equal(v.Causes, w.Causes) && slices.Equal(v.Reasons, w.Reasons)
}

// patch sets a byte.
func patch(b []byte, i int, v byte) []byte {
	c := append([]byte(nil), b...)
	c[i] = v
	return c
}

const (
	content = "content"
	good    = imaevm.KeyID(1)
	evmKey  = imaevm.KeyID(2)
	ext4    = 0xef53
)

var (
	sha256  = sum(hash.SHA256, content)
	verity  = sum(hash.SHA256, "tree of content")
	hashed  = encode(imaevm.NewHash(sha256))
	badHash = encode(imaevm.NewHash(sum(hash.SHA256, "other")))
	sigV2   = toySign(imaevm.TypeSignature, 2, good, sha256)
	sigV3   = toySign(imaevm.TypeSignature, 3, good, sha256)
	veritys = toySign(imaevm.TypeVerity, 3, good, verity)

	readFile  = match.Access{Hook: policy.FileCheck, Mask: policy.MayRead}
	writeFile = match.Access{Hook: policy.FileCheck, Mask: policy.MayWrite}
	module    = match.Access{Hook: policy.ModuleCheck, Mask: policy.MayRead}
	kexec     = match.Access{Hook: policy.KexecKernelCheck, Mask: policy.MayRead}

	signed   = match.Demands{Signature: true}
	sigv3    = match.Demands{Signature: true, SigV3: true}
	verified = match.Demands{Signature: true, SigV3: true, Verity: true}
	mixed    = match.Demands{Verity: true} // by a measure rule
	modsig   = match.Demands{Signature: true, ModSig: true}
)

func kernel(major, minor int) *Kernel {
	return &Kernel{
		Kernel: policy.Kernel{Major: major, Minor: minor, DefaultHash: hash.SHA256, Digests: all(policy.BuiltIn)},
		Keys:   toy{good},
		EVM:    EVM{Keys: toy{evmKey}},
	}
}

// all is a kernel that has every algorithm in the same way.
func all(p policy.Presence) func(hash.Algorithm) policy.Presence {
	return func(hash.Algorithm) policy.Presence { return p }
}

func file(label []byte) *File {
	return &File{
		File:    match.File{Magic: match.Is[uint32](ext4), Owner: match.Is[uint32](0)},
		Regular: true,
		IMA:     label,
		Content: bytesOf{data: content, verity: verity},
		ModSig:  ModSigNone,
		Meta:    imaevm.Meta{Mode: 0o100644, Inode: 12},
		Bound:   true,
	}
}

// TestLabels is the table of xattr_verify(), for both kernels.
func TestLabels(t *testing.T) {
	const ok = Cause("")
	silent := Cause("silent")
	for _, c := range []struct {
		name    string
		label   []byte
		demands match.Demands
		access  match.Access
		v612    Cause
		v72     Cause
	}{
		{"no label", nil, match.Demands{}, readFile, MissingHash, MissingHash},
		{"empty label", []byte{}, match.Demands{}, readFile, MissingHash, MissingHash},
		{"no label, signature", nil, signed, readFile, SignatureRequired, SignatureRequired},
		{"no label, verity", nil, verified, readFile, VeritySignatureRequired, VeritySignatureRequired},
		{"no label, mixed", nil, mixed, readFile, MissingHash, MissingHash},

		{"hash", hashed, match.Demands{}, readFile, ok, ok},
		{"hash with bytes behind", append(hashed[:len(hashed):len(hashed)], 0, 1), match.Demands{}, readFile, ok, ok},
		{"hash cut", hashed[:len(hashed)-1], match.Demands{}, readFile, InvalidHash, InvalidHash},
		{"hash of other content", badHash, match.Demands{}, readFile, InvalidHash, InvalidHash},
		{"hash, signature", hashed, signed, readFile, SignatureRequired, SignatureRequired},
		{"hash, verity", hashed, verified, readFile, VeritySignatureRequired, VeritySignatureRequired},
		{"hash, mixed", hashed, mixed, readFile, InvalidHash, InvalidHash},
		{"hash of verity, mixed", encode(imaevm.NewHash(verity)), mixed, readFile, ok, ok},
		{"sha1 of type 1", encode(imaevm.NewHash(sum(hash.SHA1, content))), match.Demands{}, readFile, ok, ok},
		{"sha1 of type 4", encode(imaevm.HashLabel{Digest: sum(hash.SHA1, content)}), match.Demands{}, readFile, ok, ok},
		{"md5 of type 1", encode(imaevm.NewHash(sum(hash.MD5, content))), match.Demands{}, readFile, ok, ok},
		{"default of type 1", append([]byte{1}, sha256.Bytes()...), match.Demands{}, readFile, ok, ok},
		{"unknown number is the default", append([]byte{4, 23}, sha256.Bytes()...), match.Demands{}, readFile, ok, ok},
		{"type 1 alone", []byte{1}, match.Demands{}, readFile, InvalidHash, InvalidHash},
		{"type 4 alone", []byte{4}, match.Demands{}, readFile, InvalidHash, InvalidHash},

		{"signature", sigV2, match.Demands{}, readFile, ok, ok},
		{"signature, signature", sigV2, signed, readFile, ok, ok},
		{"signature, verity", sigV2, verified, readFile, VeritySignatureRequired, VeritySignatureRequired},
		{"signature, sigv3", sigV2, sigv3, readFile, ok, SigV3Required},
		{"signature of verity digest, mixed", toySign(imaevm.TypeSignature, 2, good, verity), mixed, readFile, ok, ok},
		{"signature, mixed", sigV2, mixed, readFile, InvalidSignature, InvalidSignature},
		{"signature by unknown key", toySign(imaevm.TypeSignature, 2, 9, sha256), signed, readFile, InvalidSignature, InvalidSignature},
		{"signature over other content", toySign(imaevm.TypeSignature, 2, good, sum(hash.SHA256, "x")), signed, readFile, InvalidSignature, InvalidSignature},
		{"signature with sha512", toySign(imaevm.TypeSignature, 2, good, sum(hash.SHA512, content)), signed, readFile, ok, ok},
		{"signature with a byte behind", append(sigV2[:len(sigV2):len(sigV2)], 0), signed, readFile, InvalidSignature, InvalidSignature},
		{"signature cut", sigV2[:20], signed, readFile, InvalidSignature, InvalidSignature},
		{"signature header alone", sigV2[:9], signed, readFile, InvalidSignature, InvalidSignature},
		{"signature type alone", sigV2[:1], signed, readFile, InvalidSignature, InvalidSignature},
		{"version 0", patch(sigV2, 1, 0), signed, readFile, UnknownCause, UnknownCause},
		{"version 1", patch(sigV2, 1, 1), signed, readFile, InvalidSignature, InvalidSignature},
		{"version 4", patch(sigV2, 1, 4), signed, readFile, InvalidSignatureVersion, InvalidSignatureVersion},
		{"version 3", sigV3, signed, readFile, InvalidSignatureVersion, ok},
		{"version 3, sigv3", sigV3, sigv3, readFile, InvalidSignatureVersion, ok},
		{"version 3 signed like 2", patch(sigV2, 1, 3), signed, readFile, InvalidSignatureVersion, InvalidSignature},
		{"unknown algorithm", patch(sigV2, 2, 23), signed, readFile, InvalidSignature, InvalidSignature},

		{"verity signature", veritys, verified, readFile, ok, ok},
		{"verity signature, no demand", veritys, match.Demands{}, readFile, InvalidVeritySignature, InvalidVeritySignature},
		{"verity signature, mixed", veritys, mixed, readFile, ok, ok},
		{"verity signature, signature", veritys, signed, readFile, SignatureRequired, SignatureRequired},
		{"verity signature over the file digest", toySign(imaevm.TypeVerity, 3, good, sha256), match.Demands{}, readFile, ok, ok},
		{"verity signature of version 2", patch(veritys, 1, 2), verified, readFile, InvalidSignatureVersion, InvalidSignatureVersion},
		{"verity signature by unknown key", toySign(imaevm.TypeVerity, 3, 9, verity), verified, readFile, InvalidVeritySignature, InvalidVeritySignature},

		{"HMAC type", append([]byte{2}, make([]byte, 20)...), match.Demands{}, readFile, UnknownData, UnknownData},
		{"portable type", patch(sigV2, 0, 5), match.Demands{}, readFile, UnknownData, UnknownData},
		{"type 7", []byte{7, 1, 2}, signed, readFile, UnknownData, UnknownData},
		{"type 0", []byte{0}, signed, readFile, UnknownData, UnknownData},

		{"hash, writing", hashed, match.Demands{}, writeFile, ok, ok},
		{"signature, writing", sigV2, match.Demands{}, writeFile, silent, silent},
		{"wrong signature, writing", toySign(imaevm.TypeSignature, 2, 9, sha256), match.Demands{}, writeFile, InvalidSignature, InvalidSignature},
		{"verity signature, writing", veritys, verified, writeFile, silent, silent},

		{"algorithm allowed", hashed, match.Demands{Algos: 1 << 4}, readFile, ok, ok},
		{"algorithm denied", hashed, match.Demands{Algos: 1 << 6}, readFile, DeniedAlgorithm, DeniedAlgorithm},
		{"algorithm denied, signature", sigV2, match.Demands{Algos: 1 << 6}, readFile, DeniedAlgorithm, DeniedAlgorithm},
		{"wrong hash before algorithm", badHash, match.Demands{Algos: 1 << 6}, readFile, InvalidHash, InvalidHash},
	} {
		t.Run(c.name, func(t *testing.T) {
			for version, want := range map[*Kernel]Cause{kernel(6, 12): c.v612, kernel(7, 2): c.v72} {
				v := version.check(file(c.label), c.access, c.demands, false, byDemand)
				wantStatus := Denied
				if want == ok {
					wantStatus = Allowed
				}
				if want == silent {
					want = ""
				}
				if v.Status != wantStatus || v.Cause() != want || v.Status == Denied && want == "" && v.Reasons == nil {
					t.Errorf("%s: %+v, want %s %q", version.Kernel, v, wantStatus, want)
				}
			}
		})
	}
}

// TestCircumstances is everything around the label.
func TestCircumstances(t *testing.T) {
	fuse := func(f *File) { f.Magic = match.Is[uint32](policy.MagicFUSE) }
	for _, c := range []struct {
		name    string
		change  func(*Kernel, *File)
		access  match.Access
		demands match.Demands
		direct  bool
		want    Verdict
	}{
		{"directory", func(_ *Kernel, f *File) { f.Regular, f.IMA = false, nil }, readFile, signed, false, allowed()},
		{"no attributes", func(_ *Kernel, f *File) { f.NoXattrs, f.IMA = true, nil }, readFile, match.Demands{}, false,
			denied("", because(NoXattrs))},
		{"no attributes, modsig", func(_ *Kernel, f *File) { f.NoXattrs, f.IMA, f.ModSig = true, nil, ModSigRight }, module, modsig, false, allowed()},
		{"FUSE", func(_ *Kernel, f *File) { fuse(f); f.UserMount = policy.False }, readFile, match.Demands{}, false, allowed()},
		{"FUSE of a user", func(_ *Kernel, f *File) { fuse(f); f.UserMount = policy.True }, readFile, match.Demands{}, false, denied(Unverifiable)},
		{"FUSE, not known whose", func(_ *Kernel, f *File) { fuse(f) }, readFile, match.Demands{}, false,
			maybe(missing(because(UnknownMount)), Unverifiable)},
		{"FUSE, fail_securely", func(_ *Kernel, f *File) { fuse(f) }, readFile, match.Demands{FailSecurely: true}, false, denied(Unverifiable)},
		{"FUSE, fail_securely, no label", func(_ *Kernel, f *File) { fuse(f); f.IMA = nil }, readFile, match.Demands{FailSecurely: true}, false, denied(Unverifiable)},
		{"ext4, fail_securely", nil, readFile, match.Demands{FailSecurely: true}, false, allowed()},

		{"direct", nil, readFile, match.Demands{}, true, denied(FailedDirectIO)},
		{"direct, permitted", func(_ *Kernel, f *File) { f.IMA = nil }, readFile, match.Demands{DirectIO: true}, true, allowed()},
		{"direct, permitted, algorithm", nil, readFile, match.Demands{DirectIO: true, Algos: 1 << 6}, true, denied(DeniedAlgorithm)},
		{"direct, signed, writing, permitted", func(_ *Kernel, f *File) { f.IMA = sigV2 }, writeFile, match.Demands{DirectIO: true}, true, allowed()},
		{"direct, verity", func(_ *Kernel, f *File) { f.IMA = veritys }, readFile, verified, true, allowed()},
		{"direct, no verity", func(_ *Kernel, f *File) { f.Content = bytesOf{data: content} }, readFile, verified, true, denied(FailedDirectIO)},
		{"no verity", func(_ *Kernel, f *File) { f.Content = bytesOf{data: content} }, readFile, verified, false, denied(NoVerityDigest)},
		{"no verity, mixed, no label", func(_ *Kernel, f *File) { f.Content, f.IMA = bytesOf{}, nil }, readFile, mixed, false, denied(NoVerityDigest)},

		{"algorithm not in the kernel", func(k *Kernel, _ *File) { k.Digests = only(hash.SHA1) },
			readFile, match.Demands{}, false, denied(Failed, notThere(hash.SHA256))},
		{"default not known", func(k *Kernel, f *File) { k.DefaultHash, f.IMA = 0, []byte{4, 99, 1} }, readFile, match.Demands{}, false,
			maybe(missing(because(NoDefaultHash)), InvalidHash)},
		{"default not known, not needed", func(k *Kernel, _ *File) { k.DefaultHash = 0 }, readFile, match.Demands{}, false, allowed()},
		{"cannot be read", func(_ *Kernel, f *File) { f.Content = broken{} }, readFile, match.Demands{}, false, maybe(missing(reason.New(NoContent, "the content's digest: no")), InvalidHash)},
		{"cannot be read, unknown key", func(_ *Kernel, f *File) { f.Content, f.IMA = broken{}, toySign(imaevm.TypeSignature, 2, 9, sha256) }, readFile, match.Demands{}, false,
			denied(InvalidSignature, unknownKey(9))},
		{"cannot be read, no label", func(_ *Kernel, f *File) { f.Content, f.IMA = broken{}, nil }, readFile, match.Demands{}, false, denied(MissingHash)},
		{"cannot be computed", func(_ *Kernel, f *File) { f.IMA = append([]byte{4, 18}, make([]byte, 32)...) }, readFile, match.Demands{}, false,
			maybe(missing(reason.New(NoContent, "the content's digest: %v", &hash.NotComputableError{Algorithm: hash.Streebog256})), InvalidHash)},
		{"empty file", func(_ *Kernel, f *File) { f.Content, f.IMA = bytesOf{}, encode(imaevm.NewHash(sum(hash.SHA256, ""))) }, readFile, match.Demands{}, false, allowed()},

		{"keys not known", func(k *Kernel, f *File) { k.Keys, f.IMA = nil, sigV2 }, readFile, signed, false,
			maybe(missing(because(NoKeys)), InvalidSignature)},
		{"keys not known, writing", func(k *Kernel, f *File) { k.Keys, f.IMA = nil, sigV2 }, writeFile, signed, false,
			Verdict{Denied, []Cause{InvalidSignature, ""}, reason.List{because(NoKeys), because(NotWritable)}}},
		{"two keys with the id", func(_ *Kernel, f *File) { f.IMA = toySign(imaevm.TypeSignature, 2, 0xdead, sha256) }, readFile, signed, false,
			maybe(missing(reason.New(Unchecked, "the signature by key 0000dead cannot be checked")), InvalidSignature)},
		{"no signatures in the kernel", func(k *Kernel, f *File) { k.Config.AsymmetricKeys, f.IMA = policy.False, sigV2 }, readFile, signed, false,
			denied(UnknownCause, because(NoSignatures))},
		{"no verity signatures in the kernel", func(k *Kernel, f *File) { k.Config.AsymmetricKeys, f.IMA = policy.False, veritys }, readFile, verified, false,
			denied(InvalidVeritySignature, because(NoSignatures))},
		{"platform key", func(k *Kernel, f *File) { k.Keys, k.Platform, f.IMA = toy{7}, toy{good}, sigV2 }, kexec, signed, false, allowed()},
		{"platform key, module", func(k *Kernel, f *File) { k.Keys, k.Platform, f.IMA = toy{7}, toy{good}, sigV2 }, module, signed, false,
			denied(InvalidSignature, unknownKey(good))},

		{"modsig right", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigRight, nil }, module, modsig, false, allowed()},
		{"modsig wrong", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigWrong, nil }, module, modsig, false,
			denied(InvalidSignature, because(WrongModSig))},
		{"modsig not allowed", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigRight, nil }, module, signed, false, denied(SignatureRequired)},
		{"modsig, other hook", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigRight, nil }, readFile, modsig, false, denied(SignatureRequired)},
		{"modsig not in the kernel", func(k *Kernel, f *File) { k.Config.ModSig, f.ModSig, f.IMA = policy.False, ModSigRight, nil }, module, modsig, false, denied(SignatureRequired)},
		{"modsig not checked", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigUnchecked, nil }, module, modsig, false,
			maybe(missing(because(UncheckedModSig)), InvalidSignature)},
		{"modsig not looked for", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigUnknown, nil }, module, modsig, false,
			maybe(missing(because(UncheckedModSig)), SignatureRequired, InvalidSignature)},
		{"modsig badHash, label right", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigUnknown, sigV2 }, module, modsig, false, allowed()},
		{"modsig right, hash", func(_ *Kernel, f *File) { f.ModSig = ModSigRight }, module, modsig, false, allowed()},
		{"modsig right, label wrong", func(_ *Kernel, f *File) {
			f.ModSig, f.IMA = ModSigRight, toySign(imaevm.TypeSignature, 2, good, verity)
		},
			module, modsig, false, denied(InvalidSignature, because(WrongSignature))},
		{"modsig right, label of unknown key", func(_ *Kernel, f *File) { f.ModSig, f.IMA = ModSigRight, toySign(imaevm.TypeSignature, 2, 9, sha256) },
			module, modsig, false, allowed()},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, f := kernel(6, 12), file(hashed)
			if c.change != nil {
				c.change(k, f)
			}
			if v := k.check(f, c.access, c.demands, c.direct, byDemand); !same(v, c.want) {
				t.Errorf("%+v, want %+v", v, c.want)
			}
		})
	}
}
