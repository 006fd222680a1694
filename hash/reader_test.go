package hash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

var errReader = errors.New("made up")

// A content whose reading a test follows.
type content struct {
	*bytes.Reader
	reads int
	after func(reads int) error
}

func (c *content) ReadAt(b []byte, off int64) (int, error) {
	c.reads++
	if c.after != nil {
		if err := c.after(c.reads); err != nil {
			return 0, err
		}
	}
	return c.Reader.ReadAt(b, off)
}

func newContent(b []byte) *content { return &content{Reader: bytes.NewReader(b)} }

// A Reader computes digests one after the other, by any algorithms, of contents of
// any size, and no byte behind the size counts.
func TestReader(t *testing.T) {
	r := NewReader()
	all := bytes.Repeat([]byte("imaseal "), 3*readBuffer/8+1)
	for range 2 { // with what the first round has left
		for _, a := range []Algorithm{SHA256, SHA1, SM3, SHA512, SHA256} {
			for _, size := range []int{0, 1, readBuffer - 1, readBuffer, readBuffer + 1, len(all) - 1, len(all)} {
				want, err := Sum(a, all[:size])
				if err != nil {
					t.Fatal(err)
				}
				got, n, err := r.Content(t.Context(), a, newContent(all), int64(size))
				if err != nil || got != want || n != int64(size) {
					t.Errorf("%s of %d bytes: %s, %d, %v", a, size, got, n, err)
				}
			}
		}
	}
}

// Progress is told of every byte when it has been read, and of no other.
func TestReaderProgress(t *testing.T) {
	r := NewReader()
	all := make([]byte, 2*readBuffer+10)
	var told []int64
	r.Progress = func(n int64) { told = append(told, n) }
	if _, n, err := r.Content(t.Context(), SHA256, newContent(all), int64(len(all))); err != nil || n != int64(len(all)) {
		t.Errorf("%d, %v", n, err)
	}
	if want := []int64{readBuffer, readBuffer, 10}; len(told) != 3 || told[0] != want[0] || told[1] != want[1] || told[2] != want[2] {
		t.Errorf("told of %v, want %v", told, want)
	}
	told = nil
	short := newContent(all[:5])
	_, n, err := r.Content(t.Context(), SHA256, short, 10)
	if _, ok := errors.AsType[*ShortError](err); !ok || n != 5 || len(told) != 1 || told[0] != 5 {
		t.Errorf("%d, %v, told of %v", n, err, told)
	}
	r.Progress = nil // nobody any more
	if _, _, err := r.Content(t.Context(), SHA256, newContent(all), 10); err != nil || len(told) != 1 {
		t.Errorf("%v, told of %v", err, told)
	}
}

// Whatever ends a reading, the next one begins anew.
func TestReaderFails(t *testing.T) {
	all := make([]byte, 3*readBuffer)
	want, err := Sum(SHA256, all)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader()
	ctx, cancel := context.WithCancelCause(t.Context())
	tests := map[string]struct {
		algorithm Algorithm
		content   io.ReaderAt
		size      int64
		check     func(Digest, int64, error) bool
	}{
		"cannot be computed": {Streebog256, newContent(all), 1, func(_ Digest, n int64, err error) bool {
			cannot, ok := errors.AsType[*NotComputableError](err)
			return ok && cannot.Algorithm == Streebog256 && n == 0
		}},
		"none": {0, newContent(all), 1, func(_ Digest, n int64, err error) bool { return err != nil && n == 0 }},
		"short": {SHA256, newContent(all), int64(len(all)) + 1, func(_ Digest, n int64, err error) bool {
			short, ok := errors.AsType[*ShortError](err)
			return ok && short.Want == int64(len(all))+1 && short.Got == n && n == int64(len(all))
		}},
		"failing": {SHA256, &content{Reader: bytes.NewReader(all), after: func(reads int) error {
			if reads == 2 {
				return errReader
			}
			return nil
		}}, int64(len(all)), func(_ Digest, n int64, err error) bool { return err == errReader && n == readBuffer }},
		"cancelled": {SHA256, &content{Reader: bytes.NewReader(all), after: func(reads int) error {
			if reads == 2 {
				cancel(errReader)
			}
			return nil
		}}, int64(len(all)), func(_ Digest, n int64, err error) bool { return err == errReader && n == 2*readBuffer }},
	}
	for name, tt := range tests {
		c := t.Context()
		if name == "cancelled" {
			c = ctx
		}
		got, n, err := r.Content(c, tt.algorithm, tt.content, tt.size)
		if !tt.check(got, n, err) || !got.IsZero() {
			t.Errorf("%s: %s, %d, %v", name, got, n, err)
		}
		if got, _, err := r.Content(t.Context(), SHA256, newContent(all), int64(len(all))); err != nil || got != want {
			t.Errorf("after %s: %s, %v", name, got, err)
		}
	}
}

// A reading allocates no more than its digest, whether it is told of or not.
func TestReaderAllocates(t *testing.T) {
	r := NewReader()
	c := newContent(make([]byte, 100))
	for range 2 {
		n := testing.AllocsPerRun(100, func() {
			if _, _, err := r.Content(context.Background(), SHA256, c, 100); err != nil {
				t.Error(err)
			}
		})
		if n > 1 {
			t.Errorf("%v allocations", n)
		}
		r.Progress = func(int64) {}
	}
}
