package hash_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/vectors"
)

// TestVectors computes every vector in one go, in pieces, and as the content of
// a file. Each algorithm that can be computed must have vectors of two tools.
func TestVectors(t *testing.T) {
	tools := make(map[string]int)
	for _, text := range vectors.Texts(t, "digests") {
		t.Run(text.Name, func(t *testing.T) {
			a, err := hash.Parse(text.Expect)
			if err != nil {
				t.Fatal(err)
			}
			if len(text.Values) != 4 {
				t.Errorf("%d values, not one for each of the four files", len(text.Values))
			}
			tools[a.String()]++
			h, err := hash.New(a)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range text.Values {
				content := vectors.Read(t, "files/"+v.File)
				want, err := hash.NewDigest(a, v.Bytes)
				if err != nil {
					t.Fatalf("%s: %v", v.File, err)
				}
				if got, err := hash.Sum(a, content); got != want || err != nil {
					t.Errorf("%s: Sum = %v, %v; want %v", v.File, got, err, want)
				}
				for i := range content {
					h.Write(content[i : i+1])
				}
				if got := h.Digest(); got != want {
					t.Errorf("%s: byte by byte %v, want %v", v.File, got, want)
				}
				got, n, err := h.Content(t.Context(), bytes.NewReader(content), int64(len(content)), make([]byte, 4096))
				if got != want || n != int64(len(content)) || err != nil {
					t.Errorf("%s: Content = %v, %d, %v; want %v", v.File, got, n, err, want)
				}
			}
		})
	}
	for _, name := range hash.Names() {
		if tools[name] < 2 {
			t.Errorf("%d tools made vectors of %s, want two", tools[name], name)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, a := range hash.All() {
		t.Run(a.String(), func(t *testing.T) {
			value := bytes.Repeat([]byte{0xa5}, a.Size())
			d, err := hash.NewDigest(a, value)
			if err != nil {
				t.Fatal(err)
			}
			want := a.String() + ":" + strings.Repeat("a5", a.Size())
			if d.String() != want || d.Algorithm() != a || d.IsZero() {
				t.Errorf("digest prints as %q, algorithm %v, zero %v", d, d.Algorithm(), d.IsZero())
			}
			value[0] = 0
			d.Bytes()[0] = 0
			if got := d.AppendTo([]byte{1}); !bytes.Equal(got, append([]byte{1}, bytes.Repeat([]byte{0xa5}, a.Size())...)) {
				t.Errorf("a change of a copy changed the digest: %x", got)
			}
			if got, err := hash.ParseDigest(want); got != d || err != nil {
				t.Errorf("ParseDigest(%q) = %v, %v", want, got, err)
			}
			for _, size := range []int{0, a.Size() - 1, a.Size() + 1} {
				if got, err := hash.NewDigest(a, make([]byte, size)); err == nil || !got.IsZero() {
					t.Errorf("NewDigest of %d bytes = %v, %v", size, got, err)
				}
			}
		})
	}
}

func TestDigestsDiffer(t *testing.T) {
	a, err1 := hash.NewDigest(hash.SHA256, make([]byte, 32))
	b, err2 := hash.NewDigest(hash.SM3, make([]byte, 32))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if a == b || a == (hash.Digest{}) {
		t.Error("digests of different algorithms are equal")
	}
}

func TestParseDigestErrors(t *testing.T) {
	for _, s := range []string{
		"", ":", "none", "none:", "sha1", "sha1:", "sha1:00", ":00", "SHA1:" + strings.Repeat("00", 20),
		"sha1:" + strings.Repeat("0", 39), "sha1:" + strings.Repeat("00", 21), "sha1:" + strings.Repeat("0g", 20),
		" sha1:" + strings.Repeat("00", 20), "sha1:" + strings.Repeat("00", 20) + "\n", "sha1:0x" + strings.Repeat("00", 19),
	} {
		if d, err := hash.ParseDigest(s); err == nil || !d.IsZero() {
			t.Errorf("ParseDigest(%q) = %v, %v", s, d, err)
		}
	}
	if _, err := hash.ParseDigest("crc32:00"); !isUnknown(err, "crc32") {
		t.Errorf("an unknown algorithm gives %v", err)
	}
	const want = "a sha1 digest has 20 bytes, not 1"
	if _, err := hash.ParseDigest("sha1:00"); err == nil || err.Error() != want {
		t.Errorf("a short value gives %v, want %q", err, want)
	}
}

func isUnknown(err error, name string) bool {
	e, ok := errors.AsType[*hash.UnknownError](err)
	return ok && e.Name == name
}

func TestDigestJSON(t *testing.T) {
	type record struct{ A, B hash.Digest }
	empty, err := hash.Sum(hash.MD5, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(record{A: empty})
	const want = `{"A":"md5:d41d8cd98f00b204e9800998ecf8427e","B":"none"}`
	if string(b) != want || err != nil {
		t.Errorf("Marshal = %s, %v; want %s", b, err, want)
	}
	got := record{B: empty}
	if err := json.Unmarshal(b, &got); err != nil || got != (record{A: empty}) {
		t.Errorf("Unmarshal = %v, %v", got, err)
	}
	if err := got.A.UnmarshalText([]byte("md5:")); err == nil || got.A != empty {
		t.Errorf("a failed UnmarshalText gives %v and leaves %v", err, got.A)
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, a := range hash.All() {
		d, err := hash.NewDigest(a, bytes.Repeat([]byte{0x5a}, a.Size()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(d.String())
	}
	for _, s := range []string{"", "none", "sha1:", "sha1:00", "sha1:" + strings.Repeat("aF", 20)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := hash.ParseDigest(s)
		if err != nil {
			if !d.IsZero() {
				t.Fatalf("%v with error %v", d, err)
			}
			return
		}
		name, value, _ := strings.Cut(s, ":")
		if d.String() != name+":"+strings.ToLower(value) {
			t.Fatalf("%q prints as %q", s, d)
		}
		if hex.EncodeToString(d.Bytes()) != strings.ToLower(value) || len(d.Bytes()) != d.Algorithm().Size() {
			t.Fatalf("%q has value %x", s, d.Bytes())
		}
	})
}

func TestHasherStartsAnew(t *testing.T) {
	for _, name := range hash.Names() {
		a, err := hash.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		h, err := hash.New(a)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hash.Sum(a, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			if n, err := h.Write([]byte("x")); n != 1 || err != nil {
				t.Errorf("%s: Write = %d, %v", name, n, err)
			}
			if got := h.Digest(); got != want {
				t.Errorf("%s: digest %d is %v, want %v", name, i, got, want)
			}
		}
	}
}

// A reader is content that counts how far it was asked, and that fails with err
// at offset failAt if err is set.
type reader struct {
	content string
	asked   int64 // highest offset asked for
	largest int   // longest read asked for
	failAt  int64
	err     error
	onRead  func()
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.asked = max(r.asked, off+int64(len(p)))
	r.largest = max(r.largest, len(p))
	if r.onRead != nil {
		r.onRead()
	}
	if r.err != nil && off+int64(len(p)) > r.failAt {
		return copy(p, r.content[off:r.failAt]), r.err
	}
	return strings.NewReader(r.content).ReadAt(p, off)
}

const bufSize = 64

func TestContentBoundaries(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20)
	for _, size := range []int{0, 1, bufSize - 1, bufSize, bufSize + 1, 2*bufSize - 1, 2 * bufSize, 2*bufSize + 1, len(content)} {
		h, want := sha256Of(t, content[:size])
		r := &reader{content: content} // longer than size, as a file that grows
		got, n, err := h.Content(t.Context(), r, int64(size), make([]byte, bufSize))
		if got != want || n != int64(size) || err != nil {
			t.Errorf("%d bytes: %v, %d, %v; want %v", size, got, n, err, want)
		}
		if r.asked != int64(size) || r.largest > bufSize {
			t.Errorf("%d bytes: asked up to %d, %d bytes at once", size, r.asked, r.largest)
		}
		// The same with the file's end at size, where a reader may say io.EOF with the bytes.
		got, n, err = h.Content(t.Context(), eofReader(content[:size]), int64(size), make([]byte, bufSize))
		if got != want || n != int64(size) || err != nil {
			t.Errorf("%d bytes to the end: %v, %d, %v; want %v", size, got, n, err, want)
		}
	}
}

// An eofReader says io.EOF together with the last bytes.
type eofReader string

func (r eofReader) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, r[off:])
	if off+int64(n) == int64(len(r)) {
		return n, io.EOF
	}
	return n, nil
}

func sha256Of(t *testing.T, content string) (*hash.Hasher, hash.Digest) {
	t.Helper()
	h, err := hash.New(hash.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(hash.SHA256, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return h, d
}

func TestContentFailures(t *testing.T) {
	broken, stop := errors.New("broken"), errors.New("stop")
	content := strings.Repeat("x", 3*bufSize)
	for _, tt := range []struct {
		name   string
		reader reader
		size   int64
		buf    int
		cancel bool // during the first read
		read   int64
		want   error
	}{
		{"empty file", reader{}, 1, bufSize, false, 0, &hash.ShortError{Want: 1, Got: 0}},
		{"one byte short", reader{content: content}, 3*bufSize + 1, bufSize, false, 3 * bufSize, &hash.ShortError{Want: 3*bufSize + 1, Got: 3 * bufSize}},
		{"short in a buffer", reader{content: content[:100]}, 3 * bufSize, bufSize, false, 100, &hash.ShortError{Want: 3 * bufSize, Got: 100}},
		{"error at once", reader{content: content, err: broken}, 3 * bufSize, bufSize, false, 0, broken},
		{"error in the middle", reader{content: content, err: broken, failAt: 100}, 3 * bufSize, bufSize, false, 100, broken},
		{"cancelled in the middle", reader{content: content}, 3 * bufSize, bufSize, true, bufSize, stop},
		{"no buffer", reader{content: content}, 3 * bufSize, 0, false, 0, io.ErrNoProgress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.cancel {
				tt.reader.onRead = func() { cancel(stop) }
			}
			h, want := sha256Of(t, "again")
			h.Write([]byte("forgotten"))
			d, n, err := h.Content(ctx, &tt.reader, tt.size, make([]byte, tt.buf))
			if !d.IsZero() || n != tt.read || !sameError(err, tt.want) {
				t.Errorf("Content = %v, %d, %v; want %d, %v", d, n, err, tt.read, tt.want)
			}
			h.Write([]byte("again"))
			if got := h.Digest(); got != want {
				t.Errorf("the next digest is %v, want %v", got, want)
			}
		})
	}
}

func sameError(got, want error) bool {
	short, ok := errors.AsType[*hash.ShortError](want)
	if !ok {
		return errors.Is(got, want)
	}
	e, ok := errors.AsType[*hash.ShortError](got)
	return ok && *e == *short
}

func TestContentCancelledBefore(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	h, _ := sha256Of(t, "")
	r := &reader{content: "x"}
	if d, n, err := h.Content(ctx, r, 1, make([]byte, 1)); !d.IsZero() || n != 0 || err != stop || r.asked != 0 {
		t.Errorf("Content = %v, %d, %v after asking up to %d", d, n, err, r.asked)
	}
}
