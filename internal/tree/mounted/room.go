package mounted

import (
	"golang.org/x/sys/unix"

	"imaseal/internal/tree"
)

// How many bytes of labels an inode of the usual size holds: 256 bytes on ext4,
// of which 88 are left for attributes and 20 go into each one's entry, and 512
// on xfs, where the list of extents takes its part. What does not fit takes a
// block of its own. Kernel: fs/ext4/xattr.h, fs/xfs/libxfs/xfs_attr_leaf.c.
const (
	ext4Inline, ext4Entry = 88, 20
	xfsInline, xfsEntry   = 200, 6
	// btrfs has no such blocks, and keeps its metadata twice.
	btrfsEntry, btrfsCopies = 60, 2
	// ext4Block is what the block of a file's attributes has besides their
	// entries: a header, and four zero bytes behind the last entry. Kernel:
	// struct ext4_xattr_header in fs/ext4/xattr.h.
	ext4Block = 32 + 4
)

// fit reports whether labels fit into an inode.
func fit(l tree.Labels, fs *unix.Statfs_t) bool {
	if fs.Type == unix.XFS_SUPER_MAGIC {
		return size(l, xfsEntry, 1) <= xfsInline
	}
	return ext4Size(l) <= ext4Inline
}

func ext4Size(l tree.Labels) int { return size(l, ext4Entry, 4) }

// size returns what labels take if each has an entry and is padded to align.
func size(l tree.Labels, entry, align int) int {
	size := 0
	for _, n := range []int{l.IMA, l.EVM} {
		if n > 0 {
			size += entry + (n+align-1)/align*align
		}
	}
	return size
}

// need returns how many bytes labels need on a file system: a file beside the
// labelled one takes a block.
func need(l tree.Labels, fs *unix.Statfs_t) uint64 {
	block := uint64(fs.Bsize)
	var beside uint64
	if l.Sidecar {
		beside = block
	}
	switch {
	case uint32(fs.Type) == unix.BTRFS_SUPER_MAGIC: // signed in 32 bits
		return uint64(l.IMA+l.EVM+2*btrfsEntry)*btrfsCopies + beside
	case fit(l, fs):
		return beside
	}
	return (uint64(l.IMA+l.EVM)+block-1)/block*block + beside
}

// room returns how many bytes of attributes a file can have beside those in its
// inode, 0 for no such bound. ext4 gives it one block.
func room(fs *unix.Statfs_t) int {
	if fs.Type != unix.EXT4_SUPER_MAGIC {
		return 0
	}
	return int(fs.Bsize) - ext4Block
}

// oversized counts the files of a file system that probably cannot hold their
// labels.
type oversized struct {
	path   string // one of them
	files  int
	labels tree.Labels
}

// count counts a file if its labels are larger than the room for them. Each
// counts: one that is small enough for the inode would not be too large for the
// block with another one.
func (b *oversized) count(path string, l tree.Labels, fs *unix.Statfs_t) {
	if most := room(fs); most == 0 || ext4Size(l) <= most {
		return
	}
	if b.files == 0 {
		b.path, b.labels = path, l
	}
	b.files++
}
