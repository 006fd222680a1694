package answer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/sign"
)

// A fakeKey signs by repeating the digest.
type fakeKey struct {
	id    imaevm.KeyID
	made  *atomic.Int64
	fails func(n int64) error // nil for never
	takes time.Duration
}

func (k fakeKey) KeyID() imaevm.KeyID { return k.id }

func (k fakeKey) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	n := k.made.Add(1)
	if k.fails != nil {
		if err := k.fails(n); err != nil {
			return nil, err
		}
	}
	if k.takes > 0 {
		select {
		case <-time.After(k.takes * time.Duration(1+d.Bytes()[0]%5)): // some are faster
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return append([]byte{byte(k.id)}, d.Bytes()...), nil
}

func (k fakeKey) VerifyDigest(d hash.Digest, sig []byte) error {
	if !bytes.Equal(sig, append([]byte{byte(k.id)}, d.Bytes()...)) {
		return sign.ErrSignature
	}
	return nil
}

func (k fakeKey) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	if id != k.id {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return k, nil
}

// newKey returns a key with a cache in front, as the program has it.
func newKey(id imaevm.KeyID) (*Key, *fakeKey) {
	k := &fakeKey{id: id, made: new(atomic.Int64)}
	return keyOf(k), k
}

func keyOf(k *fakeKey) *Key {
	return &Key{Key: label.Key{Signer: sign.NewCache(k), Own: k, Version: 2}, Scheme: sign.ECDSA}
}

func request(t testing.TB, path string, evm imaevm.Type) labelfile.Record {
	d, err := hash.Sum(hash.SHA256, []byte(path))
	if err != nil {
		t.Fatal(err)
	}
	r := labelfile.Record{Path: path, Class: "sign", Digest: d}
	if evm != 0 {
		r.EVM = &labelfile.EVM{Kind: evm, Algo: hash.SHA256, Meta: imaevm.Meta{Mode: 0o100644}, Attrs: []imaevm.Attr{{Name: imaevm.AttrIMA}}}
	}
	return r
}

// requests returns a file of so many, of which two each have the same content.
func requests(t testing.TB, n int) string {
	var all []labelfile.Record
	for i := range n {
		r := request(t, fmt.Sprintf("%d", i/2), imaevm.TypePortable)
		r.Path = fmt.Sprintf("dir/%d", i)
		all = append(all, r)
	}
	return file(t, labelfile.Requests, all...)
}

func file(t testing.TB, k labelfile.Kind, all ...labelfile.Record) string {
	var b strings.Builder
	w := labelfile.NewWriter(&b, k)
	for _, r := range all {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// answers answers a file, and returns the file of labels, without its end if it
// could not be finished.
func answers(ctx context.Context, a *Answerer, text string) (string, error) {
	in := labelfile.NewReader(strings.NewReader(text), labelfile.Requests)
	var b strings.Builder
	w := labelfile.NewWriter(&b, labelfile.Labels)
	if err := a.Answer(ctx, in, w.Write); err != nil {
		return b.String(), err
	}
	requested := in.Requested()
	err := w.End(&requested)
	return b.String(), err
}

// TestAnswer: answers are in the order of requests, each is that of its request, and
// equal digests are signed once.
func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ima, k := newKey(1)
		evm, e := newKey(2)
		k.takes = time.Second
		a := &Answerer{IMA: ima, EVM: evm, Workers: 8}
		text := requests(t, 100)
		begin := time.Now()
		got, err := answers(t.Context(), a, text)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 60*time.Second {
			t.Errorf("took %s: one after the other", took)
		}
		if k.made.Load() != 50 || e.made.Load() != 50 {
			t.Errorf("%d and %d signatures", k.made.Load(), e.made.Load())
		}
		in, labels := labelfile.NewReader(strings.NewReader(text), labelfile.Requests), labelfile.NewReader(strings.NewReader(got), labelfile.Labels)
		for n := 0; ; n++ {
			r, err := labels.Next()
			if err == io.EOF && n == 100 {
				break
			}
			if err != nil {
				t.Fatal(n, err)
			}
			asked, err := in.Next()
			if err != nil || !a.isAnswer(asked, r) {
				t.Fatalf("%+v\nis no answer to %+v, %v", r, asked, err)
			}
			if s, err := imaevm.ParseSignature(r.EVMLabel); err != nil || s.KeyID != 2 || s.Kind != imaevm.TypePortable {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if err := labels.Whole(); err != nil {
			t.Error(err)
		}
	})
}

// TestFails: when a key fails, the answers before that are written, and no more.
func TestFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		ima, k := newKey(1)
		k.takes = time.Second
		k.fails = func(n int64) error {
			if n == 20 {
				return broken
			}
			return nil
		}
		got, err := answers(t.Context(), &Answerer{IMA: ima, EVM: ima, Workers: 4}, requests(t, 1000))
		if !errors.Is(err, broken) || k.made.Load() > 40 {
			t.Errorf("%v after %d", err, k.made.Load())
		}
		if n := strings.Count(got, "\n"); n == 0 || n > 40 {
			t.Errorf("%d answers", n)
		}
	})
}

// TestInterrupted: so it is when the run is ended, and when nothing can be written.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ima, k := newKey(1)
		k.takes = time.Second
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		time.AfterFunc(10*time.Second, func() { cancel(stop) })
		got, err := answers(ctx, &Answerer{IMA: ima, EVM: ima, Workers: 4}, requests(t, 1000))
		if err != stop || strings.Count(got, "\n") == 0 {
			t.Errorf("%v, %d answers", err, strings.Count(got, "\n"))
		}
		in := labelfile.NewReader(strings.NewReader(requests(t, 1000)), labelfile.Requests)
		full := errors.New("full")
		n := 0
		err = (&Answerer{IMA: ima, EVM: ima, Workers: 4}).Answer(t.Context(), in, func(labelfile.Record) error {
			if n++; n > 3 {
				return full
			}
			return nil
		})
		if err != full || n != 4 {
			t.Errorf("%v, %d written", err, n)
		}
	})
}

// TestResume: wherever a run was killed, the next one writes what it would have.
func TestResume(t *testing.T) {
	ima, _ := newKey(1)
	text := requests(t, 6)
	want, err := answers(t.Context(), &Answerer{IMA: ima, EVM: ima, Workers: 1}, text)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(want) + 1 {
		ima, k := newKey(1)
		a := &Answerer{IMA: ima, EVM: ima, Workers: 1}
		in := labelfile.NewReader(strings.NewReader(text), labelfile.Requests)
		var had labelfile.Total
		end, err := a.Resume(in, strings.NewReader(want[:n]), func(r labelfile.Record) { had.Add(r.Sum) })
		if err != nil {
			t.Fatal(n, err)
		}
		var b strings.Builder
		b.WriteString(want[:end])
		w := labelfile.NewWriter(&b, labelfile.Labels)
		w.Add(had)
		if err := a.Answer(t.Context(), in, w.Write); err != nil {
			t.Fatal(n, err)
		}
		requested := in.Requested()
		if err := w.End(&requested); err != nil || b.String() != want {
			t.Fatalf("%d: %v\n%s\nwant %s", n, err, &b, want)
		}
		if had.Files == 6 && k.made.Load() > 0 {
			t.Errorf("%d signatures of what was there", k.made.Load())
		}
	}
}

// TestResumeOther: what is no answer to the requests is not gone on with.
func TestResumeOther(t *testing.T) {
	ima, _ := newKey(1)
	other, _ := newKey(2)
	a := &Answerer{IMA: ima, EVM: ima, Workers: 1}
	text := requests(t, 4)
	first, rest, _ := strings.Cut(text, "\n")
	three := &Key{Key: ima.Key, Scheme: sign.ECDSA}
	three.Version = 3
	for name, by := range map[string]struct {
		a    *Answerer
		text string
	}{
		"another key":     {&Answerer{IMA: other, EVM: other, Workers: 1}, text},
		"another EVM key": {&Answerer{IMA: ima, EVM: other, Workers: 1}, text},
		"another version": {&Answerer{IMA: three, EVM: three, Workers: 1}, text},
		"another order":   {a, rest + first + "\n"},
		"fewer":           {a, rest},
		"more":            {a, text + text},
	} {
		had, err := answers(t.Context(), by.a, by.text)
		if err != nil {
			t.Fatal(err)
		}
		in := labelfile.NewReader(strings.NewReader(text), labelfile.Requests)
		if _, err := a.Resume(in, strings.NewReader(had), func(labelfile.Record) {}); err != ErrOtherAnswers {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, had := range []string{text, "x\n", strings.Repeat("\n", 3)} {
		in := labelfile.NewReader(strings.NewReader(text), labelfile.Requests)
		if _, err := a.Resume(in, strings.NewReader(had), func(labelfile.Record) {}); err != ErrOtherAnswers {
			t.Errorf("%.20q: %v", had, err)
		}
	}
}

// TestCheck: what cannot be answered is refused before anything is signed.
func TestCheck(t *testing.T) {
	hashed := func(content string) []byte {
		d, _ := hash.Sum(hash.SHA256, []byte(content))
		b, err := imaevm.NewHash(d).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ecdsa, k := newKey(1)
	mldsa := &Key{Key: ecdsa.Key, Scheme: sign.MLDSA}
	mldsa.Version = 3
	for _, tt := range []struct {
		name   string
		key    *Key
		change func(*labelfile.Record)
		want   string
	}{
		{"all is well", ecdsa, func(*labelfile.Record) {}, ""},
		{"without a key", nil, func(*labelfile.Record) {}, ""},
		{"a hash", ecdsa, func(r *labelfile.Record) { r.Class, r.IMA = "hash", hashed("a") }, ""},
		{"another hash", ecdsa, func(r *labelfile.Record) { r.Class, r.IMA = "hash", hashed("b") }, "its label is of sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d, and its digest is sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
		{"md4", ecdsa, func(r *labelfile.Record) { r.Digest, _ = hash.NewDigest(hash.MD4, make([]byte, 16)) }, (&sign.DigestError{Scheme: sign.ECDSA, Algorithm: hash.MD4}).Error()},
		{"md4 for EVM", ecdsa, func(r *labelfile.Record) { r.EVM.Algo = hash.MD4 }, (&sign.DigestError{Scheme: sign.ECDSA, Algorithm: hash.MD4}).Error()},
		{"version 2 of ML-DSA", mldsa, func(r *labelfile.Record) { r.Version = 2 }, sign.ErrHashless.Error()},
		{"its own version", mldsa, func(*labelfile.Record) {}, ""},
		{"verity", ecdsa, func(r *labelfile.Record) { r.Verity = true }, ""},
		{"an HMAC", ecdsa, func(r *labelfile.Record) {
			r.EVM.Kind, r.EVM.Algo, r.EVM.Names = imaevm.TypeHMAC, 0, []string{imaevm.AttrIMA}
		}, ErrKind.Error()},
	} {
		r := request(t, "a", imaevm.TypePortable)
		tt.change(&r)
		var got []string
		a := &Answerer{IMA: tt.key, EVM: tt.key}
		s, err := a.Check(t.Context(), strings.NewReader(file(t, labelfile.Requests, r)), func(line int, path string, err error) {
			got = append(got, fmt.Sprintf("%d %s %v", line, path, err))
		})
		want := ""
		if tt.want != "" {
			want = "1 a " + tt.want
		}
		if err != nil || strings.Join(got, "\n") != want || s.Requests != 1 || (s.EVM == 1) != (want == "") {
			t.Errorf("%s: %q, %+v, %v; want %q", tt.name, got, s, err, want)
		}
	}
	if k.made.Load() > 0 {
		t.Error("something was signed")
	}
	text := requests(t, 2)
	for _, partial := range []bool{false, true} {
		a := &Answerer{Partial: partial}
		part, _, _ := strings.Cut(text, "\n")
		_, err := a.Check(t.Context(), strings.NewReader(part+"\n"), nil)
		if _, isPart := errors.AsType[*labelfile.PartError](err); isPart == partial {
			t.Errorf("partial %v: %v", partial, err)
		}
		if _, err := a.Check(t.Context(), strings.NewReader(""), nil); err != labelfile.ErrForeign {
			t.Errorf("%v", err)
		}
	}
}
