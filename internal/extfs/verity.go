package extfs

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
)

// ErrNoVerity says that a file has no fs-verity digest.
var ErrNoVerity = errors.New("it has no fs-verity digest")

// What the descriptor of a file with fs-verity has, which stands behind its content
// and the tree of digests. Kernel: struct fsverity_descriptor in
// fs/verity/fsverity_private.h; fs/ext4/verity.c.
const (
	verityDescriptor = 256
	verityVersion    = 1
	verityAlgorithm  = 1
	veritySigSize    = 4 // which is zero when the digest is made
	verityDataSize   = 8
	verityMaxSize    = 16384
)

// VerityDigest returns the fs-verity digest of a file, and the kernel's number of
// its algorithm. The content is not compared with it. The error is ErrNoVerity if
// there is none.
func (c *Content) VerityDigest() (algorithm uint16, digest []byte, err error) {
	in, fs := c.m.in, c.m.fs
	if !in.IsVerity() || in.flags&flagExtents == 0 {
		return 0, nil, ErrNoVerity
	}
	end, err := c.m.end()
	if err != nil {
		return 0, nil, err
	}
	all := &Content{size: int64(end * fs.super.blockSize), m: mapper{fs: fs, in: in}}
	var b [4]byte
	if end == 0 || readFull(all, b[:], all.size-4) != nil {
		return 0, nil, damaged(in.where(), "it has fs-verity, and no descriptor of that")
	}
	size := int64(u32(b[:], 0))
	at := (all.size - 4 - size) &^ (int64(fs.super.blockSize) - 1)
	if size < verityDescriptor || size > verityMaxSize || at < in.Size {
		return 0, nil, damaged(in.where(), "its descriptor of fs-verity has %d bytes", size)
	}
	d := make([]byte, verityDescriptor)
	if err := readFull(all, d, at); err != nil {
		return 0, nil, err
	}
	if d[0] != verityVersion || high(u32(d, verityDataSize), u32(d, verityDataSize+4)) != uint64(in.Size) {
		return 0, nil, damaged(in.where(), "its descriptor of fs-verity is that of another file")
	}
	clear(d[veritySigSize : veritySigSize+4])
	switch algorithm = uint16(d[verityAlgorithm]); algorithm {
	case 1:
		sum := sha256.Sum256(d)
		return algorithm, sum[:], nil
	case 2:
		sum := sha512.Sum512(d)
		return algorithm, sum[:], nil
	}
	return 0, nil, damaged(in.where(), "the digest of fs-verity is of the unknown kind %d", algorithm)
}

// end returns the first block behind the last extent.
func (m *mapper) end() (uint64, error) {
	n, err := m.extentNode(m.in.blocks[:], 0, logicalBlocks)
	for level := 1; err == nil && n.count() > 0; level++ {
		e := n.entry(n.count() - 1)
		if n.depth == 0 {
			length := uint64(u16(e, 4))
			if length > maxInitialized {
				length -= maxInitialized
			}
			return uint64(u32(e, 0)) + length, nil
		}
		n, err = m.child(&n, level, n.count()-1)
	}
	return 0, err
}
