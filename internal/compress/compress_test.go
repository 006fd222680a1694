package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// sample is text of so many bytes that every goroutine gets a piece.
func sample(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	for i := range b {
		b[i] = "abcdefgh"[r.IntN(8)]
	}
	return b
}

func pack(t testing.TB, h Header, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpack(packed []byte) (Header, []byte, error) {
	r, err := NewReader(bytes.NewReader(packed))
	if err != nil {
		return Header{}, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return r.Header, b, err
}

func TestRoundTrip(t *testing.T) {
	treetest.Leaks(t)
	for _, f := range []Format{None, Gzip, Zstd} {
		for _, size := range []int{0, 1, blockSize, blockSize + 1, 3 << 20} {
			b := sample(size)
			packed := pack(t, Header{Format: f}, b)
			h, got, err := unpack(packed)
			if err != nil || !bytes.Equal(got, b) || h.Format != f {
				t.Errorf("%s, %d bytes: %d bytes of format %s, %v", f, size, len(got), h.Format, err)
			}
			if again := pack(t, h, b); !bytes.Equal(again, packed) {
				t.Errorf("%s, %d bytes: packed again they are others", f, size)
			}
		}
	}
}

// TestSameEverywhere packs with as many goroutines as machines of all sizes have.
func TestSameEverywhere(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	b := sample(3 << 20)
	for _, f := range []Format{Gzip, Zstd} {
		var first []byte
		for _, n := range []int{1, 2, 3, 8} {
			runtime.GOMAXPROCS(n)
			packed := pack(t, Header{Format: f}, b)
			if first == nil {
				first = packed
			}
			if !bytes.Equal(packed, first) {
				t.Errorf("%s: with %d processors it is another result", f, n)
			}
			if _, got, err := unpack(packed); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: with %d processors %d bytes are unpacked, %v", f, n, len(got), err)
			}
		}
	}
}

// TestPrograms exchanges data with the programs that everybody has.
func TestPrograms(t *testing.T) {
	b := sample(3 << 20)
	for _, f := range []Format{Gzip, Zstd} {
		program := treetest.Tool(t, f.String())
		run := func(in []byte, args ...string) []byte {
			cmd := exec.Command(program, args...)
			cmd.Stdin = bytes.NewReader(in)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %s: %v", f, args, err)
			}
			return out
		}
		if !bytes.Equal(run(pack(t, Header{Format: f}, b), "-dc"), b) {
			t.Errorf("%s unpacks something else", f)
		}
		two := append(run(b[:1<<20], "-c"), run(b[1<<20:], "-c", "-9")...)
		h, got, err := unpack(two)
		if err != nil || !bytes.Equal(got, b) || h.Format != f {
			t.Errorf("two outputs of %s: %d bytes of format %s, %v", f, len(got), h.Format, err)
		}
	}
}

// TestHeader keeps what a gzip file says of itself.
func TestHeader(t *testing.T) {
	const head = "\x1f\x8b\x08\x18\x01\x02\x03\x04\x00\x03tree.tar\x00by hand\x00"
	packed := append([]byte(head), pack(t, Header{Format: Gzip}, []byte("content"))[10:]...)
	h, _, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	if got := pack(t, h, []byte("other")); !strings.HasPrefix(string(got), head) {
		t.Errorf("the header became %q", got[:min(len(got), len(head))])
	}
}

func TestDamaged(t *testing.T) {
	treetest.Leaks(t)
	for _, f := range []Format{Gzip, Zstd} {
		packed := pack(t, Header{Format: f}, sample(1<<20))
		for _, n := range []int{4, 11, len(packed) / 2, len(packed) - 1} {
			_, _, err := unpack(packed[:n])
			if _, ok := errors.AsType[*DataError](err); !ok || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, %d of %d bytes: %v", f, n, len(packed), err)
			}
		}
		packed[len(packed)/2] ^= 0x55
		if _, _, err := unpack(packed); err == nil {
			t.Errorf("%s: a byte changed, and no error", f)
		}
	}
	if _, _, err := unpack(append(pack(t, Header{Format: Gzip}, nil), "rubbish"...)); err == nil {
		t.Error("rubbish behind gzip, and no error")
	}
}

func TestForeign(t *testing.T) {
	for first, want := range map[string]string{
		"PK\x03\x04....": "zip", "\xfd7zXZ\x00..": "xz", "BZh91AY&": "bzip2", "\x04\x22\x4d\x18....": "lz4",
		"!<arch>\n": "ar (as Debian's packages are)", "070701..": "cpio", "hsqs....": "squashfs",
	} {
		_, _, err := unpack([]byte(first + strings.Repeat("x", 1000)))
		if foreign, ok := errors.AsType[*ForeignError](err); !ok || foreign.Format != want {
			t.Errorf("%q: %v, want %s", first, err, want)
		}
	}
}

var errInput = errors.New("no input")

// TestInputError tells an error of the input from damaged data.
func TestInputError(t *testing.T) {
	treetest.Leaks(t)
	for _, f := range []Format{None, Gzip, Zstd} {
		packed := pack(t, Header{Format: f}, sample(1<<20))
		r, err := NewReader(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), failing{}))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if !errors.Is(err, errInput) {
			t.Errorf("%s: %v", f, err)
		}
		if _, ok := errors.AsType[*DataError](err); ok {
			t.Errorf("%s: %v is said to be of the data", f, err)
		}
	}
	if _, err := NewReader(failing{}); !errors.Is(err, errInput) {
		t.Errorf("at once: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errInput }

// TestFailingOutput ends the goroutines of a writer that cannot write, and says
// why.
func TestFailingOutput(t *testing.T) {
	treetest.Leaks(t)
	for _, f := range []Format{None, Gzip, Zstd} {
		for _, room := range []int{0, 1, 1 << 20} {
			out := full(room)
			w, err := NewWriter(&out, Header{Format: f})
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(sample(3 << 20))
			if closeErr := w.Close(); err != errInput && closeErr != errInput {
				t.Errorf("%s, room for %d bytes: %v, %v", f, room, err, closeErr)
			}
		}
	}
}

// full is how many bytes there is still room for.
type full int

func (n *full) Write(b []byte) (int, error) {
	if *n -= full(len(b)); *n < 0 {
		return 0, errInput
	}
	return len(b), nil
}

func TestParse(t *testing.T) {
	for _, f := range []Format{None, Gzip, Zstd} {
		if got, err := Parse(f.String()); got != f || err != nil {
			t.Errorf("%s: %s, %v", f, got, err)
		}
	}
	if _, err := Parse("xz"); err == nil {
		t.Error("xz is not refused")
	}
}
