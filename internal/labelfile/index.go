package labelfile

import (
	"bytes"
	"cmp"
	"context"
	"hash/maphash"
	"io"
	"iter"
	"slices"
	"sync/atomic"
)

// An Index finds the records of a file of labels by the path. It takes some 16
// bytes a record. It is safe for concurrent use.
type Index struct {
	in      io.ReaderAt
	seed    maphash.Seed
	entries []entry
	used    []atomic.Uint64 // a bit an entry
	// HasHMAC says that some EVM label is an HMAC, which kernels may refuse.
	HasHMAC bool
	// Largest are the sizes of the largest labels.
	LargestIMA, LargestEVM int
}

type entry struct {
	hash uint64
	at   int64 // where the line begins
}

// NewIndex reads a file of labels to its end. partial takes one that is not whole.
// The errors are those of Reader.
func NewIndex(ctx context.Context, in io.ReaderAt, partial bool) (*Index, error) {
	x := &Index{in: in, seed: maphash.MakeSeed()}
	n, err := countLines(ctx, in)
	if err != nil {
		return nil, err
	}
	x.entries = make([]entry, 0, n) // or it would be there twice while it grows
	r := NewReader(io.NewSectionReader(in, 0, 1<<62), Labels)
	err = r.Each(ctx, partial, func(rec Record) error {
		x.entries = append(x.entries, entry{x.hash(rec.Path), r.At()})
		x.LargestIMA, x.LargestEVM = max(x.LargestIMA, len(rec.IMA)), max(x.LargestEVM, len(rec.EVMLabel))
		x.HasHMAC = x.HasHMAC || rec.EVM != nil && len(rec.EVMLabel) > 0 && rec.EVM.Kind == kinds["hmac"]
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(x.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.at, b.at))
	})
	x.used = make([]atomic.Uint64, (len(x.entries)+63)/64)
	return x, nil
}

// countLines counts the lines of a file.
func countLines(ctx context.Context, in io.ReaderAt) (n int, err error) {
	b := make([]byte, 256<<10)
	for at := int64(0); ; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		got, err := in.ReadAt(b, at)
		n, at = n+bytes.Count(b[:got], []byte{'\n'}), at+int64(got)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (x *Index) hash(path string) uint64 { return maphash.String(x.seed, path) }

// Find returns the records of a path, in the order of the file, and takes note that
// there is a file for them.
func (x *Index) Find(path string) ([]Record, error) {
	for i := range x.of(path) {
		x.used[i/64].Or(1 << (i % 64))
	}
	return x.Records(path)
}

// Records returns the records of a path, in the order of the file.
func (x *Index) Records(path string) ([]Record, error) {
	var found []Record
	for i := range x.of(path) {
		r, err := x.read(i)
		if err != nil {
			return nil, err
		}
		if r.Path == path {
			found = append(found, r)
		}
	}
	return found, nil
}

// Has reports whether there is a record of a path.
func (x *Index) Has(path string) bool {
	for range x.of(path) {
		return true
	}
	return false
}

// of returns the numbers of the entries of a path. That another one has the same
// hash is as good as impossible: 64 bits, of which nobody knows the seed.
func (x *Index) of(path string) iter.Seq[int] {
	h := x.hash(path)
	i, _ := slices.BinarySearchFunc(x.entries, h, func(e entry, h uint64) int {
		if e.hash < h {
			return -1
		}
		return 1
	})
	return func(yield func(int) bool) {
		for ; i < len(x.entries) && x.entries[i].hash == h && yield(i); i++ {
		}
	}
}

// read reads the record of an entry. It is an error if the file has changed.
func (x *Index) read(i int) (Record, error) {
	for size := 4 << 10; size <= 2*maxLine; size *= 4 {
		b := make([]byte, size)
		n, err := x.in.ReadAt(b, x.entries[i].at)
		if end := bytes.IndexByte(b[:n], '\n'); end >= 0 {
			r, _, err := parse(Labels, b[:end])
			return r, err
		}
		if err != nil {
			return Record{}, err
		}
	}
	return Record{}, ErrLong
}

// Unused calls do with the path of each record for which Find was not called, in
// the order of the file, until it returns an error.
func (x *Index) Unused(do func(path string) error) error {
	var unused []int // numbers of entries
	for i := range x.entries {
		if x.used[i/64].Load()&(1<<(i%64)) == 0 {
			unused = append(unused, i)
		}
	}
	slices.SortFunc(unused, func(a, b int) int { return cmp.Compare(x.entries[a].at, x.entries[b].at) })
	for _, i := range unused {
		r, err := x.read(i)
		if err == nil {
			err = do(r.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Len is the number of records.
func (x *Index) Len() int { return len(x.entries) }
