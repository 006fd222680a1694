package appraise

import (
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

var hmacKey, _ = imaevm.NewHMACKey([]byte("key"))

// evmLabel makes security.evm for a file as a kernel would see it.
func evmLabel(kind imaevm.Type, version uint8, id imaevm.KeyID, f *File) []byte {
	var attrs []imaevm.Attr
	for _, name := range []string{"security.selinux", imaevm.AttrIMA, "security.capability"} {
		i := slices.IndexFunc(f.Attrs, func(a Attr) bool { return a.Name == name })
		switch {
		case name == imaevm.AttrIMA && len(f.IMA) > 0:
			attrs = append(attrs, imaevm.Attr{Name: name, Value: f.IMA})
		case i >= 0 && (kind == imaevm.TypePortable || f.Attrs[i].Counts == policy.True):
			attrs = append(attrs, f.Attrs[i].Attr)
		}
	}
	input, err := imaevm.Input(kind, attrs, f.Meta, imaevm.Target{})
	if err != nil {
		panic(err)
	}
	if kind == imaevm.TypeHMAC {
		return encode(hmacKey.Sum(input))
	}
	return toySign(kind, version, id, sum(hash.SHA256, string(input)))
}

// TestEVM is the table of statuses and what appraisal makes of them.
func TestEVM(t *testing.T) {
	hmac, x509, both := EVM{HMAC: true}, EVM{X509: true}, EVM{HMAC: true, X509: true}
	label := func(kind imaevm.Type, version uint8, id imaevm.KeyID) func(*File) {
		return func(f *File) { f.EVM = evmLabel(kind, version, id, f) }
	}
	then := func(fs ...func(*File)) func(*File) {
		return func(f *File) {
			for _, change := range fs {
				change(f)
			}
		}
	}
	hmacLabel := label(imaevm.TypeHMAC, 0, 0)
	bound := label(imaevm.TypeSignature, 2, evmKey)
	portable := label(imaevm.TypePortable, 2, evmKey)
	chmod := func(f *File) { f.Meta.Mode = 0o100755 }
	move := func(f *File) { f.Meta.Inode++ }
	relabel := func(f *File) { f.IMA = badHash }
	overlay := func(f *File) { f.Magic = match.Is[uint32](policy.MagicOverlay) }
	disabled := func(f *File) { f.Attrs[0].Counts = policy.False }
	maybe := func(f *File) { f.Attrs[0].Counts = policy.Unknown }
	unbound := func(f *File) { f.Bound = false }
	set := func(b ...byte) func(*File) { return func(f *File) { f.EVM = append([]byte{}, b...) } }
	usermount := func(f *File) { f.UserMount = policy.True }
	for _, c := range []struct {
		name    string
		evm     EVM
		change  func(*File)
		demands match.Demands
		status  Status
		cause   Cause
	}{
		{"not active", EVM{}, set(9), match.Demands{}, Allowed, ""},
		{"no label", x509, func(*File) {}, match.Demands{}, Denied, MissingHMAC},
		{"empty label", x509, set(), match.Demands{}, Denied, InvalidHMAC},
		{"unknown type", x509, set(9, 9), match.Demands{}, Denied, InvalidHMAC},
		{"hash type", x509, set(4, 4), match.Demands{}, Denied, InvalidHMAC},
		{"overlay, HMAC only", hmac, then(overlay, set(9)), match.Demands{}, Allowed, ""},
		{"overlay, X509", both, then(overlay, set(9)), match.Demands{}, Denied, InvalidHMAC},
		{"no security.ima before EVM", both, func(f *File) { f.IMA = nil }, match.Demands{}, Denied, MissingHash},

		{"HMAC", hmac, hmacLabel, match.Demands{}, Allowed, ""},
		{"HMAC, signature demanded", hmac, hmacLabel, signed, Denied, SignatureRequired},
		{"HMAC, badHash hash", hmac, then(relabel, hmacLabel), match.Demands{}, Denied, InvalidHash},
		{"HMAC, mode changed", hmac, then(hmacLabel, chmod), match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, inode copied", hmac, then(hmacLabel, move), match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, label changed", hmac, then(hmacLabel, relabel), match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, attribute not counted", hmac, then(disabled, hmacLabel), match.Demands{}, Allowed, ""},
		{"HMAC, attribute not counted after all", hmac, then(hmacLabel, disabled), match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, not known what counts", hmac, then(hmacLabel, maybe), match.Demands{}, Undecided, ""},
		{"HMAC, not known what counts, badHash hash", hmac, then(relabel, hmacLabel, maybe), match.Demands{}, Denied, ""}, // or InvalidHMAC
		{"HMAC, target not known", hmac, then(hmacLabel, unbound), match.Demands{}, Undecided, ""},
		{"HMAC of another length", hmac, then(hmacLabel, func(f *File) { f.EVM = append(f.EVM, 0) }), match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, no key in the kernel", x509, hmacLabel, match.Demands{}, Denied, InvalidHMAC},
		{"HMAC, user namespace", hmac, then(hmacLabel, usermount), match.Demands{}, Denied, InvalidHMAC},

		{"bound signature", x509, bound, match.Demands{}, Allowed, ""},
		{"bound signature, HMAC only", hmac, bound, match.Demands{}, Allowed, ""},
		{"bound signature is not immutable", x509, bound, signed, Denied, SignatureRequired},
		{"bound signature, copied", x509, then(bound, move), match.Demands{}, Denied, InvalidHMAC},
		{"bound signature, target not known", x509, then(bound, unbound), match.Demands{}, Undecided, ""},
		{"bound signature by unknown key", x509, label(imaevm.TypeSignature, 2, 9), match.Demands{}, Denied, InvalidHMAC},
		{"bound signature by unknown key, target not known", x509, then(label(imaevm.TypeSignature, 2, 9), unbound), match.Demands{}, Denied, InvalidHMAC},
		{"bound signature cut", x509, then(bound, func(f *File) { f.EVM = f.EVM[:9] }), match.Demands{}, Denied, InvalidHMAC},

		{"portable", x509, portable, match.Demands{}, Allowed, ""},
		{"portable, copied", x509, then(portable, move, unbound), match.Demands{}, Allowed, ""},
		{"portable, hash counts as signature", x509, portable, signed, Allowed, ""},
		{"portable, badHash hash", x509, then(relabel, portable), signed, Denied, InvalidHash},
		{"portable, mode changed", x509, then(portable, chmod), signed, Denied, InvalidImmutable},
		{"portable, attribute not counted", x509, then(portable, disabled), signed, Allowed, ""},
		{"portable by unknown key", x509, label(imaevm.TypePortable, 2, 9), match.Demands{}, Denied, InvalidImmutable},
		{"portable by one of two keys", x509, label(imaevm.TypePortable, 2, 0xdead), match.Demands{}, Undecided, ""},
		{"portable header alone", x509, then(portable, func(f *File) { f.EVM = f.EVM[:9] }), match.Demands{}, Denied, InvalidHMAC},
		{"portable cut", x509, then(portable, func(f *File) { f.EVM = f.EVM[:12] }), match.Demands{}, Denied, InvalidImmutable},
		{"portable of version 1", x509, then(portable, func(f *File) { f.EVM[1] = 1 }), match.Demands{}, Denied, InvalidImmutable},
		{"portable, user namespace", x509, then(portable, usermount), match.Demands{}, Denied, InvalidImmutable},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, f := kernel(6, 12), evmFile()
			c.evm.Keys, c.evm.Key = k.EVM.Keys, hmacKey
			k.EVM = c.evm
			c.change(f)
			if v := k.check(f, readFile, c.demands, false, byDemand); v.Status != c.status || v.Cause() != c.cause {
				t.Errorf("%+v, want %s %q", v, c.status, c.cause)
			}
			isPortable := len(f.EVM) > 0 && f.EVM[0] == 5
			want := c.status
			if isPortable && len(f.EVM) > 9 {
				want = Denied // writing: right or wrong, the file is immutable
			}
			if v := k.check(f, writeFile, c.demands, false, byDemand); v.Status != want {
				t.Errorf("writing: %+v, want %s", v, want)
			}
		})
	}
}

func evmFile() *File {
	f := file(hashed)
	f.Attrs = []Attr{
		{imaevm.Attr{Name: "security.selinux", Value: []byte("label\x00")}, policy.True},
		{imaevm.Attr{Name: "security.capability", Value: []byte("cap")}, policy.True},
	}
	return f
}

func TestEVMVersions(t *testing.T) {
	for _, c := range []struct {
		name    string
		version uint8
		like    uint8 // the version by whose rules it was signed
		sigV3   bool
		v612    Cause
		v72     Cause
	}{
		{"2", 2, 2, false, "", ""},
		{"3", 3, 3, false, InvalidImmutable, ""},
		{"3 signed like 2", 3, 2, false, "", InvalidImmutable},
		{"2, 3 demanded", 2, 2, true, "", InvalidHMAC},
		{"3, 3 demanded", 3, 3, true, InvalidImmutable, ""},
	} {
		for _, k := range []*Kernel{kernel(6, 12), kernel(7, 2)} {
			k.EVM.X509, k.EVM.SigV3 = true, c.sigV3
			f := evmFile()
			f.EVM = evmLabel(imaevm.TypePortable, c.like, evmKey, f)
			f.EVM[1] = c.version
			want := c.v612
			if k.IsSigV3() {
				want = c.v72
			}
			if v := k.check(f, readFile, signed, false, byDemand); v.Cause() != want || v.Status == Undecided {
				t.Errorf("%s, version %s: %+v, want %q", k.Kernel, c.name, v, want)
			}
		}
	}
}

// TestEVMModSig: a file with nothing but an appended signature.
func TestEVMModSig(t *testing.T) {
	k, f := kernel(6, 12), file(nil)
	k.EVM.X509 = true
	f.ModSig = ModSigRight
	if v := k.check(f, module, modsig, false, byDemand); !same(v, allowed()) {
		t.Errorf("no attribute at all: %+v", v)
	}
	f.Attrs = evmFile().Attrs
	if v := k.check(f, module, modsig, false, byDemand); !same(v, denied(MissingHMAC)) {
		t.Errorf("a label of SELinux: %+v", v)
	}
	f.EVM = append([]byte{5, 2, 4}, make([]byte, 20)...)
	f.EVM[8] = 14
	if v := k.check(f, module, modsig, false, byDemand); !same(v, denied(InvalidImmutable)) {
		t.Errorf("portable without security.ima: %+v", v)
	}
}

// keyring holds the vectors' certificates that Go can verify with.
func keyring(t *testing.T) sign.Verifiers {
	var paths []string
	for _, name := range []string{"rsa2048", "rsa2048-customskid", "rsa3072", "rsa4096", "p192", "p256", "p384", "p521", "mldsa44", "mldsa65"} {
		paths = append(paths, vectors.Path(t, "keys/"+name+".cert.der"))
	}
	v, err := keys.OpenVerifiers(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors: what kernels accepted is allowed here, by the same kernels.
func TestVectors(t *testing.T) {
	ring := keyring(t)
	seen := 0
	for _, v := range vectors.Index(t) {
		if strings.HasPrefix(v.Key, "mldsa") {
			v.Kernel = "7.2" // as its source has it; the kernels of the others lack ML-DSA
		}
		if v.Kernel == "" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			for _, version := range []string{"6.12", "7.2"} {
				kv, err := policy.ParseKernel(version)
				if err != nil {
					t.Fatal(err)
				}
				kv.DefaultHash, kv.Digests = hash.SHA256, all(policy.BuiltIn)
				k := &Kernel{Kernel: kv, Keys: ring, EVM: EVM{Keys: ring}}
				f := vectorFile(t, k, v)
				d := match.Demands{Signature: v.Type != 2 && v.Type != 1 && v.Type != 4, Verity: v.VerityDigest != nil}
				d.Signature = d.Signature && v.Attr == imaevm.AttrIMA
				want := Denied
				if strings.Contains(v.Kernel, version) {
					want = Allowed
				}
				if got := k.check(f, readFile, d, false, byDemand); got.Status != want {
					t.Errorf("%s: %+v, want %s", version, got, want)
				}
				seen++
			}
		})
	}
	if seen < 40 {
		t.Errorf("only %d judgements", seen)
	}
}

// vectorFile is the file of an entry of index.json.
func vectorFile(t *testing.T, k *Kernel, v vectors.Label) *File {
	f := file(v.Value)
	name := v.File
	if name == "" {
		name = "hello.txt" // what the labels under EVM's entries are of
	}
	c := bytesOf{data: string(vectors.Read(t, "files/"+name))}
	if v.VerityDigest != nil {
		a, err := hash.Parse(v.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if c.verity, err = hash.NewDigest(a, v.VerityDigest); err != nil {
			t.Fatal(err)
		}
	}
	f.Content = c
	if v.Attr == imaevm.AttrIMA {
		return f
	}
	f.EVM = v.Value
	k.EVM.X509, k.EVM.HMAC = true, true
	if v.HMACKey != "" {
		key, err := imaevm.NewHMACKey(vectors.ReadHex(t, v.HMACKey))
		if err != nil {
			t.Fatal(err)
		}
		k.EVM.Key = key
	}
	f.Meta = imaevm.Meta{Inode: v.Meta.Inode, Generation: v.Meta.Generation, UID: v.Meta.UID, GID: v.Meta.GID, Mode: uint32(v.Meta.Mode)}
	if v.Meta.UUID != nil {
		f.Meta.UUID = (*[16]byte)(v.Meta.UUID)
	}
	for _, p := range imaevm.Protected() {
		path, ok := v.Others[p.Name]
		switch {
		case p.Name == imaevm.AttrIMA:
			f.IMA = vectors.ReadHex(t, path)
		case ok:
			f.Attrs = append(f.Attrs, Attr{imaevm.Attr{Name: p.Name, Value: vectors.ReadHex(t, path)}, policy.True})
		}
	}
	return f
}
