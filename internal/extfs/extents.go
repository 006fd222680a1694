package extfs

import (
	"fmt"
	"sort"
)

const (
	extentMagic     = 0xf30a
	extentSize      = 12 // of the header, and of each entry
	maxExtentDepth  = 5  // EXT4_MAX_EXTENT_DEPTH
	maxInitialized  = 32768
	logicalBlocks   = 1 << 32
	checksumOfBlock = 4
)

// A run is a part of a file: blocks that are one behind another, or a hole.
type run struct {
	physical uint64 // the first block; 0 for zeros
	length   uint64 // blocks, at least 1
}

// A mapper knows where the blocks of a file are. It keeps the way to the last one
// that it was asked for, and so holds a handful of blocks whatever the file's size.
type mapper struct {
	fs   *FS
	in   *Inode
	path [maxExtentDepth + 1]node // from the root, by level
}

// A node is a block of a tree of extents, or of pointers.
type node struct {
	block uint64 // 0 for none
	buf   []byte
}

// find returns what a file has from a block on.
func (m *mapper) find(logical uint64) (run, error) {
	if m.in.flags&flagExtents != 0 {
		return m.findExtent(logical)
	}
	return m.findPointer(logical)
}

// An extentNode is a block of a tree of extents that was looked at.
type extentNode struct {
	entries []byte
	depth   int
	from    uint64 // logical blocks that it is about
	to      uint64
}

func (n *extentNode) count() int { return len(n.entries) / extentSize }

func (n *extentNode) entry(i int) []byte { return n.entries[i*extentSize:] }

// start is the first logical block of an entry; behind the last one, the end.
func (n *extentNode) start(i int) uint64 {
	if i == n.count() {
		return n.to
	}
	return uint64(u32(n.entry(i), 0))
}

// findExtent goes down a tree of extents. Kernel: ext4_find_extent() and
// __ext4_ext_check() in fs/ext4/extents.c.
func (m *mapper) findExtent(logical uint64) (run, error) {
	if logical >= logicalBlocks {
		return run{}, damaged(m.in.where(), "block %d of a file is more than there can be", logical)
	}
	n, err := m.extentNode(m.in.blocks[:], 0, logicalBlocks)
	for level := 1; err == nil; level++ {
		i := sort.Search(n.count(), func(i int) bool { return n.start(i) > logical }) - 1
		if i < 0 {
			return run{length: n.start(0) - logical}, nil
		}
		e := n.entry(i)
		if n.depth == 0 {
			return m.extent(e, logical, n.start(i+1))
		}
		n, err = m.child(&n, level, i)
	}
	return run{}, err
}

// child goes down from an entry of a node.
func (m *mapper) child(n *extentNode, level, i int) (extentNode, error) {
	e := n.entry(i)
	block := high(u32(e, 4), uint32(u16(e, 8)))
	b, err := m.load(level, block)
	if err != nil {
		return extentNode{}, err
	}
	below, err := m.extentNode(b, n.start(i), n.start(i+1))
	switch {
	case err != nil:
	case below.depth != n.depth-1:
		err = damaged(m.in.where(), "block %d of its extents is at depth %d, and should be at %d", block, below.depth, n.depth-1)
	case below.count() == 0:
		err = damaged(m.in.where(), "block %d of its extents has none", block)
	case !m.extentSumFits(b):
		err = damaged(m.in.where(), "the checksum of block %d of its extents is wrong", block)
	}
	return below, err
}

// extent returns what an extent has from a logical block on, or the hole behind
// it.
func (m *mapper) extent(e []byte, logical, next uint64) (run, error) {
	start, length := uint64(u32(e, 0)), uint64(u16(e, 4))
	unwritten := length > maxInitialized
	if unwritten {
		length -= maxInitialized
	}
	physical := high(u32(e, 8), uint32(u16(e, 6)))
	s := &m.fs.super
	switch {
	case length == 0, start+length > next:
		return run{}, damaged(m.in.where(), "its extent at %d has %d blocks, and the next one is at %d", start, length, next)
	case physical <= s.first, physical >= s.blocks, length > s.blocks-physical:
		return run{}, damaged(m.in.where(), "its extent at %d, %d blocks from %d on, is not in the file system", start, length, physical)
	case logical >= start+length:
		return run{length: next - logical}, nil
	}
	r := run{length: start + length - logical}
	if !unwritten {
		r.physical = physical + logical - start
	}
	return r, nil
}

// extentNode looks at a node that is about some logical blocks: its entries must
// be in order.
func (m *mapper) extentNode(b []byte, from, to uint64) (extentNode, error) {
	count, most, depth := int(u16(b, 2)), int(u16(b, 4)), int(u16(b, 6))
	if u16(b, 0) != extentMagic || most > len(b)/extentSize-1 || count > most || depth > maxExtentDepth {
		return extentNode{}, damaged(m.in.where(), "a node of its extents has %d of %d entries at depth %d", count, most, depth)
	}
	n := extentNode{entries: b[extentSize : extentSize*(1+count)], depth: depth, from: from, to: to}
	last := from
	for i := range count {
		start := n.start(i)
		if start < last || start >= to {
			return extentNode{}, damaged(m.in.where(), "entry %d of its extents is at %d, and not between %d and %d", i, start, last, to)
		}
		last = start + 1
	}
	return n, nil
}

// extentSumFits checks the checksum behind the entries that a node has room for.
func (m *mapper) extentSumFits(b []byte) bool {
	if !m.fs.checksums() {
		return true
	}
	end := extentSize * (1 + int(u16(b, 4)))
	return end+checksumOfBlock <= len(b) && u32(b, end) == crc(m.in.seed, b[:end])
}

// load reads a block of a file's map, which is kept for its level.
func (m *mapper) load(level int, block uint64) ([]byte, error) {
	n := &m.path[level]
	if n.block == block && block != 0 {
		return n.buf, nil
	}
	if n.buf == nil {
		n.buf = make([]byte, m.fs.super.blockSize)
	}
	n.block = 0
	if err := m.fs.block(n.buf, block, m.in.where()); err != nil {
		return nil, fmt.Errorf("where its content is: %w", err)
	}
	n.block = block
	return n.buf, nil
}

// Pointers in an inode: to content, and to blocks of pointers.
const (
	directPointers = 12
	pointerSize    = 4
	pointerLevels  = 3
)

// findPointer looks up a block in a file without extents. Kernel:
// ext4_block_to_path() in fs/ext4/indirect.c.
func (m *mapper) findPointer(logical uint64) (run, error) {
	per := m.fs.super.blockSize / pointerSize
	if logical < directPointers {
		return m.pointers(m.in.blocks[:directPointers*pointerSize], logical, 1)
	}
	rest := logical - directPointers
	span := per // blocks below the pointer in the inode
	for levels := 1; levels <= pointerLevels; levels++ {
		if rest < span {
			return m.below(levels, rest, span)
		}
		rest -= span
		span *= per
	}
	return run{}, damaged(m.in.where(), "block %d of a file is more than there can be", logical)
}

// below goes down from the pointer of so many levels.
func (m *mapper) below(levels int, rest, span uint64) (run, error) {
	per := m.fs.super.blockSize / pointerSize
	block := uint64(u32(m.in.blocks[:], (directPointers+levels-1)*pointerSize))
	for level := 1; ; level++ {
		if block == 0 {
			return run{length: span - rest}, nil
		}
		b, err := m.load(level, block)
		if err != nil {
			return run{}, err
		}
		span /= per
		if level == levels {
			return m.pointers(b, rest, 1)
		}
		block, rest = uint64(u32(b, int(rest/span)*pointerSize)), rest%span
	}
}

// pointers returns what a list of pointers to content has from one on.
func (m *mapper) pointers(b []byte, i, length uint64) (run, error) {
	first := uint64(u32(b, int(i)*pointerSize))
	step := min(first, 1)
	for ; (i+length)*pointerSize < uint64(len(b)) && uint64(u32(b, int(i+length)*pointerSize)) == first+step*length; length++ {
	}
	if s := &m.fs.super; first != 0 && (first <= s.first || first >= s.blocks || length > s.blocks-first) {
		return run{}, damaged(m.in.where(), "its blocks from %d on, %d of them, are not in the file system", first, length)
	}
	return run{physical: first, length: length}, nil
}
