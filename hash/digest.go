package hash

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
	"strings"
)

// A Digest is an algorithm and the value it computed. Digests are comparable
// and may be map keys. The zero value is no digest.
type Digest struct {
	alg Algorithm
	sum [MaxSize]byte
}

// NewDigest returns the digest with the given value, which is copied and must
// have the algorithm's size.
func NewDigest(a Algorithm, sum []byte) (Digest, error) {
	if a.Size() == 0 {
		return Digest{}, errors.New("a digest without an algorithm")
	}
	if len(sum) != a.Size() {
		return Digest{}, fmt.Errorf("a %s digest has %d bytes, not %d", a, a.Size(), len(sum))
	}
	d := Digest{alg: a}
	copy(d.sum[:], sum)
	return d, nil
}

// ParseDigest parses what String prints of a digest: an algorithm's name, a
// colon, and the value in hexadecimal, here in lower or upper case. "none" is an
// error. An algorithm that the kernel lacks gives an *UnknownError.
func ParseDigest(s string) (Digest, error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok {
		return Digest{}, fmt.Errorf("digest %q is not of the form ALGORITHM:HEX", s)
	}
	a, err := Parse(name)
	if err != nil {
		return Digest{}, err
	}
	sum, err := hex.DecodeString(value)
	if err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return NewDigest(a, sum)
}

// Algorithm returns the algorithm, zero for no digest.
func (d Digest) Algorithm() Algorithm { return d.alg }

// Bytes returns a copy of the value, as many bytes as the algorithm's size.
func (d Digest) Bytes() []byte { return d.AppendTo(nil) }

// AppendTo appends the value to b.
func (d Digest) AppendTo(b []byte) []byte { return append(b, d.sum[:d.alg.Size()]...) }

// IsZero reports whether d is no digest.
func (d Digest) IsZero() bool { return d.alg == 0 }

// String prints the digest as "sha256:1dc6…", everywhere the same.
func (d Digest) String() string {
	if d.IsZero() {
		return "none"
	}
	return d.alg.String() + ":" + hex.EncodeToString(d.sum[:d.alg.Size()])
}

// MarshalText is String, for JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest, for JSON, and takes "none" for no digest. On
// error d keeps its value.
func (d *Digest) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*d = Digest{}
		return nil
	}
	parsed, err := ParseDigest(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}

// A Hasher computes digests with one algorithm, one after the other. New makes
// it. It is not safe for concurrent use.
type Hasher struct {
	alg   Algorithm
	state stdhash.Hash
}

// New returns a Hasher for a. The error is a *NotComputableError.
func New(a Algorithm) (*Hasher, error) {
	switch e := a.entry(); {
	case e.new != nil:
		return &Hasher{alg: a, state: e.new()}, nil
	case e.crypto != 0:
		return &Hasher{alg: a, state: e.crypto.New()}, nil
	}
	return nil, &NotComputableError{Algorithm: a}
}

// Sum returns the digest of b with a. The error is a *NotComputableError.
func Sum(a Algorithm, b []byte) (Digest, error) {
	h, err := New(a)
	if err != nil {
		return Digest{}, err
	}
	h.Write(b)
	return h.Digest(), nil
}

// Write adds b to the content. It never fails.
func (h *Hasher) Write(b []byte) (int, error) { return h.state.Write(b) }

// Digest returns the digest of what was written, and starts anew.
func (h *Hasher) Digest() Digest {
	d := Digest{alg: h.alg}
	h.state.Sum(d.sum[:0])
	h.state.Reset()
	return d
}

// A ShortError says that a file ended before the size it had when it was
// opened: somebody is changing it. Sizes are in bytes.
type ShortError struct{ Want, Got int64 }

func (e *ShortError) Error() string {
	return fmt.Sprintf("read %d of %d bytes", e.Got, e.Want)
}

// Content returns the digest of the first size bytes of r, read through buf,
// and the number of bytes read. It asks r for no byte behind them, as
// ima_calc_file_hash_tfm() in security/integrity/ima/ima_crypto.c reads the
// inode's size and no more. What was written to h before is forgotten, and h
// can be used again whatever happens.
//
// A content that ends early gives a *ShortError, a cancelled ctx its cause, at
// the next buffer, and a failing r its own error. The buffer must not be empty
// and belongs to the call while it runs.
func (h *Hasher) Content(ctx context.Context, r io.ReaderAt, size int64, buf []byte) (Digest, int64, error) {
	h.state.Reset()
	n, err := h.read(ctx, r, size, buf)
	d := h.Digest()
	if err != nil {
		return Digest{}, n, err
	}
	return d, n, nil
}

func (h *Hasher) read(ctx context.Context, r io.ReaderAt, size int64, buf []byte) (int64, error) {
	var off int64
	for off < size {
		if ctx.Err() != nil {
			return off, context.Cause(ctx)
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		h.state.Write(buf[:n])
		off += int64(n)
		switch {
		case err == io.EOF && off < size:
			return off, &ShortError{Want: size, Got: off}
		case err != nil && err != io.EOF:
			return off, err
		case err == nil && n == 0:
			return off, io.ErrNoProgress // buf is empty, or r breaks io.ReaderAt's contract
		}
	}
	return off, nil
}
