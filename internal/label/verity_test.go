package label

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// A verityFile is a file with an fs-verity digest, unless that is nil.
type verityFile struct {
	algorithm uint16
	digest    []byte
	ima       []byte
}

func (f *verityFile) Name() string    { return "file" }
func (f *verityFile) Rel() string     { return "file" }
func (f *verityFile) Full() string    { return "/file" }
func (f *verityFile) Meta() tree.Meta { return tree.Meta{Mode: 0o100644, Size: 11} }
func (f *verityFile) Close() error    { return nil }

// ReadAt serves those that look whether the file is a program.
func (f *verityFile) ReadAt(b []byte, off int64) (int, error) {
	return strings.NewReader("hello world").ReadAt(b, off)
}

func (f *verityFile) Attr(name string) ([]byte, error) {
	if name != imaevm.AttrIMA || f.ima == nil {
		return nil, tree.ErrNoAttr
	}
	return f.ima, nil
}

func (f *verityFile) Attrs() ([]string, error) { return nil, nil }

func (f *verityFile) VerityDigest() (uint16, []byte, error) {
	if f.digest == nil {
		return 0, nil, errors.New("no fs-verity")
	}
	return f.algorithm, f.digest, nil
}

// veritySigner labels under a policy that compares fs-verity digests.
func veritySigner(t *testing.T, key string, rules string) *Labeller {
	t.Helper()
	k, err := keys.Open(t.Context(), vectors.Path(t, "keys/"+key+".key.pem"), nil, keys.Options{Certificate: vectors.Path(t, "keys/"+key+".cert.der")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	kernel := policy.Kernel{Major: 6, Minor: 12}
	p, err := policy.Parse(rules, kernel)
	if err != nil {
		t.Fatal(err)
	}
	return &Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Hash), Policy: &Policy{Policy: p, Kernel: kernel},
		Key: &Key{Signer: k, Own: k, Version: 2},
	}
}

const verityRule = "appraise digest_type=verity appraise_type=sigv3\n"

var verityNumbers = map[hash.Algorithm]uint16{hash.SHA256: 1, hash.SHA512: 2}

func decide(t *testing.T, l *Labeller, f tree.File) (run.Decision, error) {
	t.Helper()
	return l.Decide(t.Context(), hash.NewReader(), f)
}

// TestVerity: where the policy compares fs-verity digests, signatures over these are
// what evmctl makes. The content is not read, and a second run signs nothing.
func TestVerity(t *testing.T) {
	tried := 0
	for _, v := range vectors.Index(t) {
		if v.Type != byte(imaevm.TypeVerity) {
			continue
		}
		tried++
		t.Run(v.ID, func(t *testing.T) {
			a, err := hash.Parse(v.Hash)
			if err != nil {
				t.Fatal(err)
			}
			l := veritySigner(t, v.Key, verityRule)
			want := v.Value
			f := &verityFile{algorithm: verityNumbers[a], digest: v.VerityDigest}
			d, err := decide(t, l, f)
			if err != nil || len(d.Changes) != 1 || d.Changes[0].Attr != imaevm.AttrIMA || d.Result.Outcome != report.Labelled || d.Result.Bytes != 0 {
				t.Fatalf("%+v, %v", d, err)
			}
			got := d.Changes[0].New
			s, err := imaevm.ParseSignature(got)
			digest, _ := hash.NewDigest(a, v.VerityDigest)
			if err != nil || sign.Verify(s, digest, l.Key.Own) != nil {
				t.Errorf("the label is not valid: %x, %v", got, err)
			}
			if n := imaevm.SignatureHeader - 2; !bytes.Equal(got[:n], want[:n]) {
				t.Errorf("the label begins with %x, want %x", got[:n], want[:n])
			}
			if strings.HasPrefix(v.Key, "rsa") && !bytes.Equal(got, want) { // ECDSA has nonces
				t.Errorf("the label is %x, want %x", got, want)
			}
			f.ima = want
			if d, err := decide(t, l, f); err != nil || len(d.Changes) != 0 || d.Result.Outcome != report.Unchanged {
				t.Errorf("with the label of evmctl: %+v, %v", d, err)
			}
			f.digest = bytes.Clone(f.digest)
			f.digest[0] ^= 1
			if d, err := decide(t, l, f); err != nil || len(d.Changes) != 1 {
				t.Errorf("with a label over another digest: %+v, %v", d, err)
			}
		})
	}
	if tried < 2 {
		t.Errorf("%d vectors", tried)
	}
}

// TestVerityDemands: what cannot be labelled is told with its reason, and what others
// have signed is kept.
func TestVerityDemands(t *testing.T) {
	v := vectors.ByID(t, "hello.txt.rsa2048.verity-sha256.sigv3")
	label := v.Value
	own := veritySigner(t, "rsa2048", verityRule)
	without, trusting := *own, *own
	without.Key = nil
	trusting.Key, trusting.Trust = nil, own.Key.Own
	ordinary := append([]byte{byte(imaevm.TypeSignature)}, label[1:]...)
	tests := []struct {
		name     string
		labeller *Labeller
		file     verityFile
		code     reason.Code // of the error
		outcome  report.Outcome
	}{
		{"no fs-verity", own, verityFile{}, reason.NeedsVerity, ""},
		{"no key", &without, verityFile{1, v.VerityDigest, label}, reason.NeedsKey, ""},
		{"trusted", &trusting, verityFile{1, v.VerityDigest, label}, "", report.Kept},
		{"trusted, of other content", &trusting, verityFile{1, make([]byte, 32), label}, reason.NeedsKey, ""},
		{"trusted, of another algorithm", &trusting, verityFile{2, make([]byte, 64), label}, reason.NeedsKey, ""},
		{"an ordinary signature", own, verityFile{1, v.VerityDigest, ordinary}, "", report.Labelled},
		{"another algorithm", veritySigner(t, "rsa2048", "appraise digest_type=verity appraise_type=sigv3 appraise_algos=sha512\n"), verityFile{1, v.VerityDigest, nil}, reason.DeniedAlgorithm, ""},
		{"both digests", veritySigner(t, "rsa2048", "appraise func=FILE_CHECK mask=MAY_READ digest_type=verity appraise_type=sigv3\nappraise func=FILE_CHECK mask=MAY_WRITE\n"), verityFile{1, v.VerityDigest, nil}, reason.NoLabelFulfils, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := decide(t, tt.labeller, &tt.file)
			demand, refused := errors.AsType[*DemandError](err)
			if refused != (tt.code != "") || refused && (demand.Code != tt.code || demand.Advice == "") || !refused && d.Result.Outcome != tt.outcome {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}
