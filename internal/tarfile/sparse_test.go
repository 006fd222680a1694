package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"imaseal/internal/tarfile/sparse"
)

// block pads to whole blocks.
func block(s string) []byte {
	return append([]byte(s), make([]byte, pad(int64(len(s)))-int64(len(s)))...)
}

func sized(n int) []byte {
	return header('0', func(b []byte) { fieldSize.setNumber(b, int64(n)) })
}

const (
	sparsePieces = "abcdef" // abc at 2, def at 1000
	sparseSize   = 1100
)

func sparseWant() string {
	b := make([]byte, sparseSize)
	copy(b[2:], "abc")
	copy(b[1000:], "def")
	return string(b)
}

// sparseSamples has the same file in each form.
var sparseSamples = map[string]func() []byte{
	"old": func() []byte {
		h := sparseHeader(sparseSize, "\x00", 2, 3, 1000, 3, sparseSize, 0)
		fieldSize.setNumber(h, 6)
		setSum(h, false)
		return cat(h, block(sparsePieces), end)
	},
	"old, more blocks": func() []byte {
		h := sparseHeader(sparseSize, "\x01", 0, 0, 2, 1, 3, 1, 4, 1)
		fieldSize.setNumber(h, 6)
		setSum(h, false)
		more := make([]byte, BlockSize)
		for i, n := range []int{1000, 3, sparseSize, 0} {
			copy(more[i*12:], fmt.Sprintf("%011o", n))
		}
		return cat(h, more, block(sparsePieces), end)
	},
	"0.0": func() []byte {
		return cat(paxHeader('x', records("GNU.sparse.size", fmt.Sprint(sparseSize), "GNU.sparse.numblocks", "2",
			"GNU.sparse.offset", "2", "GNU.sparse.numbytes", "3", "GNU.sparse.offset", "1000", "GNU.sparse.numbytes", "3")), sized(6), block(sparsePieces), end)
	},
	"0.1": func() []byte {
		return cat(paxHeader('x', records("GNU.sparse.size", fmt.Sprint(sparseSize), "GNU.sparse.numblocks", "2",
			"GNU.sparse.map", "2,3,1000,3", "GNU.sparse.name", "real")), sized(6), block(sparsePieces), end)
	},
	"1.0": func() []byte {
		stored := string(block("2\n2\n3\n1000\n3\n")) + sparsePieces
		return cat(paxHeader('x', records("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "real",
			"GNU.sparse.realsize", fmt.Sprint(sparseSize))), sized(len(stored)), block(stored), end)
	},
}

func TestSparse(t *testing.T) {
	for name, archive := range sparseSamples {
		t.Run(name, func(t *testing.T) {
			a := archive()
			all := mustParse(t, a)
			if p := all[0]; p.Size != sparseSize || p.Err != nil {
				t.Fatalf("%d bytes, %v", p.Size, p.Err)
			}
			if got := all[0].content(t); got != sparseWant() {
				t.Errorf("%q", got)
			}
			labelled := join(t, all, setLabels)
			if !bytes.Equal(join(t, mustParse(t, labelled), dropLabels), a) {
				t.Error("without labels it is not what it was")
			}
			for _, a := range [][]byte{a, labelled} {
				r := tar.NewReader(bytes.NewReader(a))
				h, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(r); err != nil || string(b) != sparseWant() || h.Name != all[0].Name {
					t.Errorf("to archive/tar it is %q: %q, %v", h.Name, b, err)
				}
			}
		})
	}
}

// TestSparseRead reads at every place, in steps of several sizes.
func TestSparseRead(t *testing.T) {
	p := mustParse(t, sparseSamples["1.0"]())[0]
	r, err := p.Content(bytes.NewReader(p.stored))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 3, 999, sparseSize, sparseSize + 1} {
		for off := range sparseSize + 2 {
			b := bytes.Repeat([]byte{0xff}, n)
			got, err := r.ReadAt(b, int64(off))
			want := sparseWant()[min(off, sparseSize):min(off+n, sparseSize)]
			if string(b[:got]) != want || (got < n) != (err == io.EOF) {
				t.Fatalf("%d bytes at %d: %q, %v; want %q", n, off, b[:got], err, want)
			}
		}
	}
}

// TestSparseBroken has maps that are none.
func TestSparseBroken(t *testing.T) {
	lines := func(list string, size int64) []byte {
		stored := string(block(list)) + "abc"
		return cat(paxHeader('x', records("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", fmt.Sprint(size))), sized(len(stored)), block(stored), end)
	}
	recorded := func(pairs ...string) []byte {
		return cat(paxHeader('x', records(append(pairs, "GNU.sparse.size", "10")...)), sized(3), block("abc"), end)
	}
	old := func(extended string, numbers ...int64) []byte {
		h := sparseHeader(10, extended, numbers...)
		fieldSize.setNumber(h, 3)
		setSum(h, false)
		return cat(h, block("abc"), end)
	}
	number := &ValueError{}
	for name, tt := range map[string]struct {
		archive []byte
		want    error
	}{
		"no number":         {lines("x\n", 10), sparse.ErrNoNumber},
		"negative":          {lines("1\n-1\n3\n", 10), sparse.ErrNoNumber},
		"endless line":      {lines(strings.Repeat("1", 600), 10), sparse.ErrNoNumber},
		"no end":            {lines("9999\n"+strings.Repeat("1\n", 200), 10), sparse.ErrNoNumber},
		"too many":          {lines("262145\n", 10), sparse.ErrTooMany},
		"beyond the size":   {lines("1\n8\n3\n", 10), sparse.ErrMisfit},
		"beyond the stored": {lines("1\n0\n4\n", 10), sparse.ErrMisfit},
		"not all":           {lines("1\n0\n2\n", 10), sparse.ErrMisfit},
		"out of order":      {lines("2\n5\n2\n0\n1\n", 10), sparse.ErrMisfit},
		"overlap":           {lines("2\n0\n2\n1\n1\n", 10), sparse.ErrMisfit},
		"huge":              {lines("1\n9223372036854775807\n9223372036854775807\n", 10), sparse.ErrMisfit},
		"list, odd":         {recorded("GNU.sparse.map", "1,2,3"), sparse.ErrNoNumber},
		"list, letters":     {recorded("GNU.sparse.map", "a,b"), sparse.ErrNoNumber},
		"list, misfit":      {recorded("GNU.sparse.map", "1,2"), sparse.ErrMisfit},
		"pairs, no offset":  {recorded("GNU.sparse.numblocks", "1", "GNU.sparse.numbytes", "3"), sparse.ErrNoNumber},
		"blocks, misfit":    {old("\x00", 9, 3), sparse.ErrMisfit},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, tt.archive)[0]
			if p.Err != nil {
				t.Fatal(p.Err)
			}
			if _, err := p.Content(bytes.NewReader(p.stored)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	letters := sparseHeader(10, "\x00", 1)
	copy(letters[fieldSparse.at+12:], "abc")
	setSum(letters, false)
	if _, err := mustParse(t, cat(letters, end))[0].Content(bytes.NewReader(nil)); !errors.As(err, &number) {
		t.Errorf("a map of letters: %v", err)
	}
}
