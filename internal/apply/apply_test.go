package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// A file is one in memory.
type file struct {
	rel, content string
	meta         tree.Meta
	attrs        map[string]string
	generation   uint32
	verity       hash.Digest
	mapped       bool
}

func (f *file) Name() string { return "tree/" + f.rel }
func (f *file) Rel() string  { return f.rel }
func (f *file) Full() string { return "/" + f.rel }
func (f *file) Meta() tree.Meta {
	m := f.meta
	m.Size = int64(len(f.content))
	return m
}
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	return strings.NewReader(f.content).ReadAt(b, off)
}
func (f *file) Attr(name string) ([]byte, error) {
	if v, ok := f.attrs[name]; ok {
		return []byte(v), nil
	}
	return nil, tree.ErrNoAttr
}
func (f *file) Attrs() ([]string, error)    { return slices.Collect(maps.Keys(f.attrs)), nil }
func (f *file) Close() error                { return nil }
func (f *file) OwnersMapped() (bool, error) { return f.mapped, nil }
func (f *file) VerityDigest() (uint16, []byte, error) {
	if f.verity.IsZero() {
		return 0, nil, io.EOF
	}
	return 1, f.verity.Bytes(), nil
}

// A boundFile has an inode, too.
type boundFile struct{ *file }

func (boundFile) Inode() uint64                 { return 12 }
func (f boundFile) Generation() (uint32, error) { return f.generation, nil }
func (boundFile) UUID() ([16]byte, error)       { return [16]byte{1}, nil }

func sum(t *testing.T, content string) hash.Digest {
	t.Helper()
	d, err := hash.Sum(hash.SHA256, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func hashLabel(t *testing.T, content string) []byte {
	t.Helper()
	b, err := imaevm.NewHash(sum(t, content)).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A key signs by repeating the digest.
type key imaevm.KeyID

func (k key) KeyID() imaevm.KeyID { return imaevm.KeyID(k) }
func (k key) SignDigest(_ context.Context, d hash.Digest) ([]byte, error) {
	return append([]byte{byte(k)}, d.Bytes()...), nil
}
func (k key) VerifyDigest(d hash.Digest, sig []byte) error {
	if want, _ := k.SignDigest(context.Background(), d); !bytes.Equal(sig, want) {
		return sign.ErrSignature
	}
	return nil
}
func (k key) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	if id != k.KeyID() {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return k, nil
}

func (k key) label(t *testing.T, kind imaevm.Type, d hash.Digest) []byte {
	t.Helper()
	version := uint8(2)
	if kind == imaevm.TypeVerity {
		version = 3
	}
	l, err := sign.Label(t.Context(), k, kind, version, d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const own, other = key(1), key(2)

// covers is what EVM covers of a file of newFile.
func covers(kind imaevm.Type) *labelfile.EVM {
	e := &labelfile.EVM{
		Kind: kind, Algo: hash.SHA256, Meta: imaevm.Meta{UID: 3, GID: 4, Mode: 0o104755},
		Attrs: []imaevm.Attr{{Name: imaevm.AttrSELinux, Value: []byte("t\x00")}, {Name: imaevm.AttrIMA}, {Name: "security.capability", Value: []byte("cap")}},
	}
	if kind != imaevm.TypePortable {
		e.Names = []string{imaevm.AttrSELinux, imaevm.AttrIMA, "security.capability"}
		e.Meta.Inode, e.Meta.Generation, e.Meta.UUID = 12, 13, &[16]byte{1}
	}
	return e
}

func newFile() *file {
	return &file{
		rel: "bin/a", content: "content", meta: tree.Meta{UID: 3, GID: 4, Mode: 0o104755}, generation: 13,
		attrs: map[string]string{imaevm.AttrSELinux: "t\x00", "security.capability": "cap", "security.SMACK64": "", "user.x": "x"},
	}
}

func hashed(t *testing.T) labelfile.Record {
	return labelfile.Record{Path: "bin/a", Class: "hash", Digest: sum(t, "content"), IMA: hashLabel(t, "content")}
}

func signed(t *testing.T, k key) labelfile.Record {
	return labelfile.Record{Path: "bin/a", Class: "sign", Digest: sum(t, "content"), IMA: k.label(t, imaevm.TypeSignature, sum(t, "content"))}
}

// withEVM adds an EVM label.
func withEVM(t *testing.T, r labelfile.Record, k key, kind imaevm.Type) labelfile.Record {
	r.EVM = covers(kind)
	input, err := r.EVM.Input(r.IMA)
	if err != nil {
		t.Fatal(err)
	}
	if kind == imaevm.TypeHMAC {
		r.EVM.Algo = 0
		r.EVMLabel = append([]byte{2}, make([]byte, 20)...)
		return r
	}
	r.EVMLabel = k.label(t, kind, sum(t, string(input)))
	return r
}

// index writes records to a file, and reads that.
func index(t *testing.T, records ...labelfile.Record) *labelfile.Index {
	t.Helper()
	var b bytes.Buffer
	w := labelfile.NewWriter(&b, labelfile.Labels)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(nil); err != nil {
		t.Fatal(err)
	}
	x, err := labelfile.NewIndex(t.Context(), bytes.NewReader(b.Bytes()), false)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestDecide: what becomes of a file that has, or is, what the records do not tell.
func TestDecide(t *testing.T) {
	smack := func(f *file) { delete(f.attrs, "security.SMACK64") }
	portable := func(t *testing.T) []labelfile.Record {
		return []labelfile.Record{withEVM(t, signed(t, own), own, imaevm.TypePortable)}
	}
	has := func(attr string, value []byte) func(*file) { return func(f *file) { f.attrs[attr] = string(value) } }
	for _, tt := range []struct {
		name    string
		records func(*testing.T) []labelfile.Record
		file    func(*file)
		applier Applier
		want    string // outcome, and reason or attributes that are written
	}{
		{"a hash", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, nil, Applier{}, "labelled security.ima"},
		{"a signature", func(t *testing.T) []labelfile.Record { return []labelfile.Record{signed(t, own)} }, nil, Applier{}, "labelled security.ima"},
		{"both", portable, smack, Applier{Keys: own}, "labelled security.ima security.evm"},
		{"another content", portable, func(f *file) { f.content += "x" }, Applier{}, fmt.Sprintf("the content is %s, and the label was made for %s", sum(t, "contentx"), sum(t, "content"))},
		{"shorter", portable, func(f *file) { f.content = "" }, Applier{}, fmt.Sprintf("the content is %s, and the label was made for %s", sum(t, ""), sum(t, "content"))},
		{"another owner", portable, func(f *file) { f.meta.UID = 0 }, Applier{}, "the owner is 0, and the EVM label was made for 3"},
		{"another group", portable, func(f *file) { f.meta.GID = 0 }, Applier{}, "the group is 0, and the EVM label was made for 4"},
		{"another mode", portable, func(f *file) { f.meta.Mode = 0o100755 }, Applier{}, "the mode is 0100755, and the EVM label was made for 0104755"},
		{"one more attribute", portable, nil, Applier{}, `security.SMACK64 is "", and the EVM label was made for none`},
		{"one less", portable, func(f *file) { smack(f); delete(f.attrs, "security.capability") }, Applier{}, `security.capability is none, and the EVM label was made for "cap"`},
		{"another", portable, func(f *file) { smack(f); f.attrs[imaevm.AttrSELinux] = "t" }, Applier{}, `security.selinux is "t", and the EVM label was made for "t"`},
		{"mapped owners", portable, func(f *file) { f.mapped = true }, Applier{}, "the mount shows other owners than the file system has, which are those that EVM covers"},
		{"a hash whatever the mode", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, func(f *file) { f.meta.Mode = 0o100644 }, Applier{}, "labelled security.ima"},
		{"a new context", func(t *testing.T) []labelfile.Record {
			r := portable(t)
			r[0].SELinux = []byte("t\x00")
			return r
		}, func(f *file) { smack(f); f.attrs[imaevm.AttrSELinux] = "old" }, Applier{}, "labelled security.selinux security.ima security.evm"},
		{"bound to no inode", func(t *testing.T) []labelfile.Record {
			return []labelfile.Record{withEVM(t, hashed(t), own, imaevm.TypeSignature)}
		}, nil, Applier{}, "an EVM label of type signature covers the inode, which the file gets when it is unpacked"},
		{"verity", func(t *testing.T) []labelfile.Record {
			return []labelfile.Record{{Path: "bin/a", Class: "sign", Digest: sum(t, "v"), Verity: true, IMA: own.label(t, imaevm.TypeVerity, sum(t, "v"))}}
		}, func(f *file) { f.verity = sum(t, "v") }, Applier{}, "labelled security.ima"},
		{"no verity", func(t *testing.T) []labelfile.Record {
			return []labelfile.Record{{Path: "bin/a", Class: "sign", Digest: sum(t, "v"), Verity: true, IMA: own.label(t, imaevm.TypeVerity, sum(t, "v"))}}
		}, nil, Applier{}, "it has no fs-verity digest, and the label was made for " + sum(t, "v").String()},

		// Several records, of other trees too.
		{"that of another tree", func(t *testing.T) []labelfile.Record {
			r := hashed(t)
			r.Digest, r.IMA = sum(t, "other"), hashLabel(t, "other")
			return []labelfile.Record{r, hashed(t)}
		}, nil, Applier{}, "labelled security.ima"},
		{"twice", func(t *testing.T) []labelfile.Record { return append(portable(t), portable(t)...) }, smack, Applier{}, "labelled security.ima security.evm"},
		{"by two keys", func(t *testing.T) []labelfile.Record { return []labelfile.Record{signed(t, own), signed(t, other)} }, nil, Applier{}, "there are several labels for it, which are not the same"},
		{"the closest is told", func(t *testing.T) []labelfile.Record {
			r := hashed(t)
			r.Digest, r.IMA = sum(t, "other"), hashLabel(t, "other")
			return append(portable(t), r)
		}, func(f *file) { f.meta.UID = 0 }, Applier{}, "the owner is 0, and the EVM label was made for 3"},

		// Labels that are none.
		{"another's hash", func(t *testing.T) []labelfile.Record {
			r := hashed(t)
			r.IMA = hashLabel(t, "other")
			return []labelfile.Record{r}
		}, nil, Applier{}, "its label is not one of its content"},
		{"rubbish", func(t *testing.T) []labelfile.Record {
			r := hashed(t)
			r.IMA = []byte{9}
			return []labelfile.Record{r}
		}, nil, Applier{}, "its label is not one of its content: unknown label type 0x09"},
		{"another key's", portable, smack, Applier{Keys: other}, "security.ima in the file of labels: no key with id 00000001"},
		{"a wrong signature", func(t *testing.T) []labelfile.Record {
			r := portable(t)
			r[0].IMA[len(r[0].IMA)-1]++
			return r
		}, smack, Applier{Keys: own}, "security.ima in the file of labels: bad signature by key 00000001"},
		{"a wrong EVM signature", func(t *testing.T) []labelfile.Record {
			r := portable(t)
			r[0].EVMLabel[len(r[0].EVMLabel)-1]++
			return r
		}, smack, Applier{Keys: own}, "security.evm in the file of labels: bad signature by key 00000001"},
		{"of another kind", func(t *testing.T) []labelfile.Record {
			r := portable(t)
			r[0].EVMLabel = append([]byte{2}, make([]byte, 20)...)
			return r
		}, smack, Applier{}, "security.evm: its label is not one of its content"},

		// What is there already.
		{"right", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, hashLabel(t, "content")), Applier{}, "unchanged"},
		{"right, and forced", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, hashLabel(t, "content")), Applier{Force: true}, "labelled security.ima"},
		{"a stale hash", func(t *testing.T) []labelfile.Record { return []labelfile.Record{signed(t, own)} }, has(imaevm.AttrIMA, hashLabel(t, "old")), Applier{}, "labelled security.ima"},
		{"a signature, for a hash", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, other.label(t, imaevm.TypeSignature, sum(t, "content"))), Applier{}, "kept signature"},
		{"one that may go", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, other.label(t, imaevm.TypeSignature, sum(t, "content"))), Applier{ReplaceSignatures: true}, "labelled security.ima, replaces a signature in security.ima by key 00000002"},
		{"another key's signature", func(t *testing.T) []labelfile.Record { return []labelfile.Record{signed(t, own)} }, has(imaevm.AttrIMA, other.label(t, imaevm.TypeSignature, sum(t, "content"))), Applier{}, "labelled security.ima, replaces a signature in security.ima by key 00000002"},
		{"a trusted key's", portable, func(f *file) {
			smack(f)
			f.attrs[imaevm.AttrIMA] = string(other.label(t, imaevm.TypeSignature, sum(t, "content")))
		}, Applier{Trust: other}, "kept signature of a trusted key"},
		{"a trusted key's wrong one", func(t *testing.T) []labelfile.Record { return []labelfile.Record{signed(t, own)} }, has(imaevm.AttrIMA, other.label(t, imaevm.TypeSignature, sum(t, "x"))), Applier{Trust: other}, "labelled security.ima, replaces a signature in security.ima by key 00000002"},
		{"unknown", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, []byte{9}), Applier{}, "has a label of unknown type, which is left alone: type 0x09"},
		{"unknown, and forced", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrIMA, []byte{9}), Applier{Force: true}, "labelled security.ima"},
		{"an EVM label that would be stale", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrEVM, []byte{5}), Applier{}, label.ErrStaleEVM.Error()},
		{"one that fits still", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, func(f *file) {
			f.attrs[imaevm.AttrEVM], f.attrs[imaevm.AttrIMA] = "\x05", string(hashLabel(t, "content"))
		}, Applier{}, "unchanged"},
		{"one that the kernel renews", func(t *testing.T) []labelfile.Record { return []labelfile.Record{hashed(t)} }, has(imaevm.AttrEVM, []byte{2}), Applier{Stale: label.RenewedByKernel}, "labelled security.ima"},
		{"an unknown EVM label", portable, func(f *file) { smack(f); f.attrs[imaevm.AttrEVM] = "\x09" }, Applier{}, "security.evm has a label of unknown type, which is left alone: type 0x09"},
		{"the EVM label alone is wrong", portable, func(f *file) {
			smack(f)
			f.attrs[imaevm.AttrIMA], f.attrs[imaevm.AttrEVM] = string(portable(t)[0].IMA), "\x02"
		}, Applier{}, "labelled security.evm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFile()
			if tt.file != nil {
				tt.file(f)
			}
			decide(t, tt.applier, f, tt.records(t), tt.want)
		})
	}
}

// decide compares a decision with what is wanted of it.
func decide(t *testing.T, a Applier, f tree.File, records []labelfile.Record, want string) {
	t.Helper()
	a.Index = index(t, records...)
	d, err := a.Decide(t.Context(), hash.NewReader(), f)
	got := string(d.Result.Outcome)
	for _, c := range d.Changes {
		got += " " + c.Attr
	}
	if d.Result.Reason != "" {
		got += " " + d.Result.Reason
	}
	if w := d.Result.Warning(); w != "" {
		got += ", " + w
	}
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if err == nil && (!d.Content || d.Meta != (records[0].EVM != nil) && len(records) == 1) {
		t.Errorf("content %v, meta %v", d.Content, d.Meta)
	}
}

// TestBound: labels that are bound to an inode go to that one alone.
func TestBound(t *testing.T) {
	for _, kind := range []imaevm.Type{imaevm.TypeSignature, imaevm.TypeHMAC} {
		for want, change := range map[string]func(*labelfile.EVM){
			"labelled security.ima security.evm":                             func(*labelfile.EVM) {},
			"the inode is 12, and the EVM label was made for 11":             func(e *labelfile.EVM) { e.Meta.Inode = 11 },
			"the inode's generation is 13, and the EVM label was made for 0": func(e *labelfile.EVM) { e.Meta.Generation = 0 },
			"the file system's UUID is 01000000000000000000000000000000, and the EVM label was made for 02000000000000000000000000000000": func(e *labelfile.EVM) { e.Meta.UUID = &[16]byte{2} },
		} {
			r := withEVM(t, hashed(t), own, kind)
			change(r.EVM)
			decide(t, Applier{}, boundFile{newFile()}, []labelfile.Record{r}, want)
		}
	}
	// A signature of another key is better than an HMAC.
	f := newFile()
	r := withEVM(t, hashed(t), own, imaevm.TypeHMAC)
	f.attrs[imaevm.AttrIMA] = string(r.IMA)
	f.attrs[imaevm.AttrEVM] = string(withEVM(t, hashed(t), other, imaevm.TypeSignature).EVMLabel)
	decide(t, Applier{}, boundFile{f}, []labelfile.Record{r}, "kept EVM signature")
	decide(t, Applier{ReplaceSignatures: true}, boundFile{f}, []labelfile.Record{r}, "labelled security.evm, replaces a signature in security.evm by key 00000002")
	r = withEVM(t, hashed(t), own, imaevm.TypeSignature)
	decide(t, Applier{Trust: other}, boundFile{f}, []labelfile.Record{r}, "kept signature of a trusted key")
	decide(t, Applier{}, boundFile{f}, []labelfile.Record{r}, "labelled security.evm, replaces a signature in security.evm by key 00000002")
}

// found finds files, and nothing else.
type found []tree.File

func (s found) Walk(_ context.Context, visit func(tree.Found) error) error {
	for _, f := range s {
		if err := visit(tree.Found{Path: f.Name(), File: f}); err != nil {
			return err
		}
	}
	return nil
}

// TestMissing: every label has a file, or is told; every file a label, or is
// skipped.
func TestMissing(t *testing.T) {
	a := Applier{Index: index(t, hashed(t), labelfile.Record{Path: "gone", Class: "hash", Digest: sum(t, ""), IMA: hashLabel(t, "")})}
	more := newFile()
	more.rel = "more"
	var got []string
	visit := func(f tree.Found) error {
		if f.File == nil {
			got = append(got, fmt.Sprint(f.Path, " ", f.Err))
			return nil
		}
		d, err := a.Decide(t.Context(), hash.NewReader(), f.File)
		got = append(got, fmt.Sprint(f.Path, " ", d.Result.Outcome, " ", d.Result.Code, err))
		return nil
	}
	if err := a.Missing(found{newFile(), more}).Walk(t.Context(), visit); err != nil {
		t.Fatal(err)
	}
	if want := []string{"tree/bin/a labelled <nil>", "tree/more skipped not-in-labels<nil>", "gone there is a label for it, and no such file"}; !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if a.Leave(newFile()) != "" || a.Leave(more) != reason.NotNamed {
		t.Error("names are left, or not")
	}
	failed := errors.New("failed")
	if err := a.Missing(found{newFile()}).Walk(t.Context(), func(tree.Found) error { return failed }); err != failed {
		t.Error(err)
	}
	if has, want := a.Sizes(newFile()); has != (tree.Labels{}) || want.IMA != 34 || want.EVM != 0 {
		t.Errorf("%+v, %+v", has, want)
	}
	if d, _ := a.Decide(t.Context(), hash.NewReader(), newFile()); d.Result.Outcome != report.Labelled {
		t.Errorf("%+v", d)
	}
}

// TestVendor: of several labels one that fits is taken, and what none fits is left
// out.
func TestVendor(t *testing.T) {
	other := labelfile.Record{Path: "bin/a", Class: "sign", Digest: sum(t, "other"), IMA: key(1).label(t, imaevm.TypeSignature, sum(t, "other"))}
	wrong := signed(t, 1)
	wrong.IMA = bytes.Clone(wrong.IMA)
	wrong.IMA[len(wrong.IMA)-1]++
	cut := signed(t, 1)
	cut.IMA = cut.IMA[:len(cut.IMA)-1]
	for name, tt := range map[string]struct {
		records []labelfile.Record
		want    string
	}{
		"fits":                   {[]labelfile.Record{signed(t, 1)}, "labelled security.ima"},
		"the second fits":        {[]labelfile.Record{other, wrong, signed(t, 1)}, "labelled security.ima"},
		"one of two that differ": {[]labelfile.Record{signed(t, 2), signed(t, 1)}, "labelled security.ima"},
		"changed":                {[]labelfile.Record{other}, "skipped changed since it was signed"},
		"unknown key":            {[]labelfile.Record{signed(t, 2)}, "skipped a signature by a key that is not known"},
		"bad signature":          {[]labelfile.Record{other, wrong}, "skipped bad signature"},
		"malformed":              {[]labelfile.Record{cut}, "skipped malformed label"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Applier{Keys: key(1), Vendor: true, Index: index(t, tt.records...)}
			d, err := a.Decide(t.Context(), hash.NewReader(), newFile())
			got := string(d.Result.Outcome)
			for _, c := range d.Changes {
				got += " " + c.Attr
			}
			if d.Result.Reason != "" {
				got += " " + d.Result.Reason
			}
			if err != nil || got != tt.want {
				t.Errorf("%s, %v, want %s", got, err, tt.want)
			}
		})
	}
	a := Applier{Vendor: true, Index: index(t, signed(t, 1)), At: func(f tree.File) (string, bool) { return "x/" + f.Rel(), f.Rel() == "bin/a" }}
	if c := a.Leave(newFile()); c != reason.NoVendorLabel {
		t.Errorf("%s", c)
	}
	if d, err := a.Decide(t.Context(), hash.NewReader(), newFile()); err != nil || d.Result.Code != reason.NoVendorLabel {
		t.Errorf("%+v, %v", d, err)
	}
}
