package compress

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"

	"imaseal/internal/treetest"
)

func unpackAny(packed io.Reader) ([]byte, error) {
	r, err := Unpack(packed)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestUnpack reads what the programs write, in one piece and in several.
func TestUnpack(t *testing.T) {
	treetest.Leaks(t)
	b := sample(300 << 10)
	for _, f := range []Format{Gzip, Zstd, XZ, Bzip2} {
		run := func(in []byte, args ...string) []byte {
			cmd := exec.Command(treetest.Tool(t, f.String()), append(args, "-c")...)
			cmd.Stdin = bytes.NewReader(in)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %s: %v", f, args, err)
			}
			return out
		}
		for _, packed := range [][]byte{run(b), run(b, "-9"), append(run(b[:1<<10]), run(b[1<<10:], "-1")...)} {
			if got, err := unpackAny(bytes.NewReader(packed)); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: %d bytes, %v", f, len(got), err)
			}
			for _, n := range []int{11, len(packed) / 2, len(packed) - 1} {
				if _, err := unpackAny(bytes.NewReader(packed[:n])); !isDataError(err) {
					t.Errorf("%s, %d of %d bytes: %v", f, n, len(packed), err)
				}
			}
			if _, err := unpackAny(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), failing{})); !errors.Is(err, errInput) || isDataError(err) {
				t.Errorf("%s: %v, and reading failed", f, err)
			}
		}
	}
	for _, plain := range []string{"", "x", "070701" + string(sample(100)), "07070X00000000"} {
		if got, err := unpackAny(bytes.NewReader([]byte(plain))); err != nil || string(got) != plain {
			t.Errorf("%.10q is %.10q, %v", plain, got, err)
		}
	}
	if _, err := unpackAny(bytes.NewReader([]byte("LZIP...."))); !errors.As(err, new(*ForeignError)) {
		t.Errorf("lzip: %v", err)
	}
}

func isDataError(err error) bool {
	_, ok := errors.AsType[*DataError](err)
	return ok
}

// TestUnpackWindow refuses to look back farther than there should be memory for.
func TestUnpackWindow(t *testing.T) {
	cmd := exec.Command(treetest.Tool(t, "xz"), "-c", "--lzma2=dict=256MiB")
	cmd.Stdin = bytes.NewReader(sample(100))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unpackAny(bytes.NewReader(out)); !isDataError(err) {
		t.Errorf("%v", err)
	}
}
