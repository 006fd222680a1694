package label

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
	"imaseal/walk"
)

// contexts are contexts by the names of files.
type contexts map[string]string

func (c contexts) Context(f tree.File) (string, error) {
	if c == nil {
		return "", errBroken
	}
	return c[f.Rel()], nil
}

// A file of the tests has an inode and attributes in memory.
type file struct {
	content string
	attrs   map[string][]byte
	tree.Bound
}

func (f *file) Name() string    { return "f" }
func (f *file) Rel() string     { return "f" }
func (f *file) Full() string    { return "/f" }
func (f *file) Meta() tree.Meta { return tree.Meta{Mode: 0o100644, Size: int64(len(f.content))} }
func (f *file) Close() error    { return nil }
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	return strings.NewReader(f.content).ReadAt(b, off)
}

func (f *file) Attr(name string) ([]byte, error) {
	if value, ok := f.attrs[name]; ok {
		return bytes.Clone(value), nil
	}
	return nil, tree.ErrNoAttr
}

func (f *file) Attrs() ([]string, error)    { return slices.Collect(maps.Keys(f.attrs)), nil }
func (f *file) Inode() uint64               { return 12 }
func (f *file) Generation() (uint32, error) { return 1, nil }
func (f *file) UUID() ([16]byte, error)     { return [16]byte{1}, nil }

// apply makes changes, and fails the test if one is not what the file needs.
func (f *file) apply(t *testing.T, changes []tree.Change) {
	t.Helper()
	for _, c := range changes {
		if old, ok := f.attrs[c.Attr]; !bytes.Equal(old, c.Old) || ok != (c.Old != nil) {
			t.Errorf("%s was %q, and is taken for %q", c.Attr, old, c.Old)
		}
		f.attrs[c.Attr] = c.New
	}
}

// names returns what changes, in the order in which it does.
func names(changes []tree.Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, strings.TrimPrefix(c.Attr, "security."))
	}
	return strings.Join(all, " ")
}

func openKey(t *testing.T, name string) *Key {
	t.Helper()
	text, err := os.ReadFile(vectors.Path(t, "keys/"+name+".key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key") // which only its owner may read
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Open(t.Context(), path, nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return &Key{Signer: k, Own: k, Version: 2}
}

// covers is what EVM covers in the tests.
var covers = target.EVM{
	Attrs: []target.Attr{{Name: imaevm.AttrSELinux, Counts: policy.True}, {Name: imaevm.AttrIMA, Counts: policy.True}},
}

func evmOf(kind imaevm.Type) *EVM {
	hmac, err := imaevm.NewHMACKey(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		panic(err)
	}
	return &EVM{Covers: covers, Kinds: map[plan.Class]imaevm.Type{plan.Hash: kind, plan.Sign: kind}, HMAC: hmac}
}

// checkEVM fails the test unless security.evm covers what the file carries.
func checkEVM(t *testing.T, f tree.File, l *Labeller) {
	t.Helper()
	evm, err := f.Attr(imaevm.AttrEVM)
	if err != nil {
		t.Fatal(err)
	}
	ima, err := f.Attr(imaevm.AttrIMA)
	if err != nil {
		t.Fatal(err)
	}
	input, err := l.EVM.Covers.Input(f, imaevm.Type(evm[0]), ima)
	if err != nil {
		t.Fatal(err)
	}
	if imaevm.Type(evm[0]) == imaevm.TypeHMAC {
		if want, err := l.EVM.HMAC.Sum(input).AppendBinary(nil); err != nil || !bytes.Equal(evm, want) {
			t.Errorf("security.evm is %x, want %x (%v)", evm, want, err)
		}
		return
	}
	s, err := imaevm.ParseSignature(evm)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(s.Alg, input)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.Verify(s, d, l.Key.Own); err != nil {
		t.Errorf("security.evm: %v", err)
	}
}

const oldContext, newContext = "u:r:old:s0", "u:r:new:s0"

// A step labels the file once more.
type step struct {
	labeller *Labeller
	before   func(*file) // nil for nothing
	want     string      // what changes
	err      error
	outcome  report.Outcome
}

func TestContext(t *testing.T) {
	key, other := openKey(t, "p256"), openKey(t, "p384")
	labeller := func(context string, class plan.Class, key *Key, kind imaevm.Type) *Labeller {
		l := &Labeller{Algo: hash.SHA256, Rules: plan.Only(class), Key: key}
		if kind != 0 {
			l.EVM = evmOf(kind)
		}
		if context != "" {
			l.Contexts = contexts{"f": context}
		}
		return l
	}
	trusting := labeller(newContext, plan.Sign, key, imaevm.TypePortable)
	trusting.Trust = other.Own
	const portable, hmac = imaevm.TypePortable, imaevm.TypeHMAC
	lose := func(f *file) { delete(f.attrs, imaevm.AttrSELinux) }
	for name, steps := range map[string][]step{
		"hash": {
			{labeller(oldContext, plan.Hash, nil, 0), nil, "selinux ima", nil, report.Labelled},
			{labeller(oldContext, plan.Hash, nil, 0), nil, "", nil, report.Unchanged},
			{labeller(newContext, plan.Hash, nil, 0), nil, "selinux", nil, report.Labelled},
			{labeller("", plan.Hash, nil, 0), nil, "", nil, report.Unchanged},
		},
		"without its NUL": {
			{labeller(oldContext, plan.Hash, nil, 0), func(f *file) { f.attrs[imaevm.AttrSELinux] = []byte(oldContext) }, "selinux ima", nil, report.Labelled},
		},
		"empty": {
			{labeller(oldContext, plan.Hash, nil, 0), func(f *file) { f.attrs[imaevm.AttrSELinux] = []byte{} }, "selinux ima", nil, report.Labelled},
		},
		"portable": {
			{labeller(oldContext, plan.Sign, key, portable), nil, "selinux ima evm", nil, report.Labelled},
			{labeller(oldContext, plan.Sign, key, portable), nil, "", nil, report.Unchanged},
			{labeller(newContext, plan.Sign, key, portable), nil, "selinux evm", nil, report.Labelled},
			{labeller(newContext, plan.Sign, key, portable), lose, "selinux", nil, report.Labelled}, // the old label is right again
		},
		"hmac": {
			{labeller(oldContext, plan.Hash, nil, hmac), nil, "selinux ima evm", nil, report.Labelled},
			{labeller(oldContext, plan.Hash, nil, hmac), nil, "", nil, report.Unchanged},
			{labeller(newContext, plan.Hash, nil, hmac), nil, "selinux evm", nil, report.Labelled},
		},
		"no EVM label is made": {
			{labeller(oldContext, plan.Sign, key, portable), nil, "selinux ima evm", nil, report.Labelled},
			{labeller(newContext, plan.Sign, key, 0), nil, "", ErrStaleEVM, ""},
			{labeller(oldContext, plan.Sign, key, 0), nil, "", nil, report.Unchanged},
		},
		"a kept signature": {
			{labeller(oldContext, plan.Sign, other, 0), nil, "selinux ima", nil, report.Labelled},
			{labeller(oldContext, plan.Hash, nil, 0), nil, "", nil, report.Kept},
			{labeller(newContext, plan.Hash, nil, 0), nil, "selinux", nil, report.Labelled},
		},
		"an EVM signature where an HMAC would be": {
			{labeller(oldContext, plan.Hash, other, portable), nil, "selinux ima evm", nil, report.Labelled},
			{labeller(oldContext, plan.Hash, nil, hmac), nil, "", nil, report.Kept},
			{labeller(newContext, plan.Hash, nil, hmac), nil, "selinux evm", nil, report.Labelled},
		},
		"an EVM signature of a trusted key": {
			{labeller(newContext, plan.Sign, other, portable), nil, "selinux ima evm", nil, report.Labelled},
			{trusting, lose, "selinux", nil, report.Labelled}, // it covers what is written
			{labeller(oldContext, plan.Sign, other, portable), nil, "selinux evm", nil, report.Labelled},
			{trusting, nil, "selinux evm", nil, report.Labelled},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &file{content: "content", attrs: make(map[string][]byte)}
			for i, s := range steps {
				if s.before != nil {
					s.before(f)
				}
				d, err := s.labeller.Decide(t.Context(), hash.NewReader(), f)
				if !errors.Is(err, s.err) || err == nil && (names(d.Changes) != s.want || d.Result.Outcome != s.outcome) {
					t.Fatalf("step %d: %q %s, %v; want %q %s, %v", i, names(d.Changes), d.Result.Outcome, err, s.want, s.outcome, s.err)
				}
				for _, w := range d.Result.Warnings {
					if w.Code != reason.ReplacedSignature || !strings.HasSuffix(s.want, "evm") {
						t.Errorf("step %d: warning %v", i, w)
					}
				}
				f.apply(t, d.Changes)
				if strings.HasSuffix(s.want, "evm") {
					checkEVM(t, f, s.labeller)
				}
				if want := s.labeller.Contexts; err == nil && want != nil && string(f.attrs[imaevm.AttrSELinux]) != want.(contexts)["f"]+"\x00" {
					t.Errorf("step %d: security.selinux is %q", i, f.attrs[imaevm.AttrSELinux])
				}
			}
		})
	}
}

func TestContextCannotBeRead(t *testing.T) {
	l := &Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash), Contexts: contexts{"f": newContext}}
	f := &file{content: "content"}
	if d, err := l.Decide(t.Context(), hash.NewReader(), failing{f}); err != errBroken || len(d.Changes) > 0 {
		t.Errorf("%v, %v", d.Changes, err)
	}
	l.Contexts = contexts(nil) // which fails
	if d, err := l.Decide(t.Context(), hash.NewReader(), f); err != errBroken || len(d.Changes) > 0 {
		t.Errorf("%v, %v", d.Changes, err)
	}
}

var errBroken = errors.New("broken")

// A failing file cannot tell its context.
type failing struct{ *file }

func (f failing) Attr(name string) ([]byte, error) {
	if name == imaevm.AttrSELinux {
		return nil, errBroken
	}
	return f.file.Attr(name)
}

// A silent report says nothing.
type silent struct{}

func (silent) Start(report.Header) error   { return nil }
func (silent) Result(report.Result) error  { return nil }
func (silent) Finish(report.Summary) error { return nil }

// TestContextOfMountedFiles runs on real files, whose attributes are kept where
// no privilege is needed.
func TestContextOfMountedFiles(t *testing.T) {
	root := treetest.Make(t, "file f content=x\nfile d/g content=y mode=0755\nfile none content=z")
	treetest.UserAttrs(t, root)
	l := &Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: openKey(t, "p256"), EVM: evmOf(imaevm.TypePortable),
		Contexts: contexts{"f": oldContext, "d/g": newContext},
	}
	ns := tree.Namespace{From: "security.", To: "user."}
	label := func(want map[report.Outcome]int) {
		t.Helper()
		src, err := mounted.Open([]string{root}, mounted.Config{Config: walk.Config{Workers: 2}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		r := run.Run{Source: ns.Source(src), Job: l, Sink: ns.Sink(new(mounted.Sink)), Report: silent{}}
		sum, err := r.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for outcome, n := range want {
			if sum.Count[outcome] != n {
				t.Errorf("%d %s, want %d: %+v", sum.Count[outcome], outcome, n, sum)
			}
		}
		check := func(found tree.Found) error {
			if found.File == nil {
				return nil
			}
			f := ns.File(found.File)
			defer f.Close()
			context, _ := f.Attr(imaevm.AttrSELinux)
			want, _ := l.Contexts.Context(f)
			if want != "" {
				want += "\x00"
			}
			if string(context) != want {
				t.Errorf("%s: security.selinux is %q, want %q", f.Rel(), context, want)
			}
			checkEVM(t, f, l)
			return nil
		}
		if err := src.Walk(context.WithoutCancel(t.Context()), check); err != nil {
			t.Fatal(err)
		}
	}
	label(map[report.Outcome]int{report.Labelled: 3})
	label(map[report.Outcome]int{report.Unchanged: 3})
	l.Contexts = contexts{"f": newContext, "d/g": newContext}
	label(map[report.Outcome]int{report.Labelled: 1, report.Unchanged: 2})
}
