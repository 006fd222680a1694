package relabel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
)

// A BlockError says that a file system has no room for the labels of one file,
// however much of it is free.
type BlockError struct {
	Path   string // a file whose labels do not fit
	Files  int    // that there are
	Labels Labels // of the file
	Room   int    // bytes, for all attributes of a file
}

func (e *BlockError) Error() string {
	return fmt.Sprintf("%s: labels of %d and %d bytes do not fit: this file system has %d bytes for all attributes of a file, and %d files would get more",
		report.Quote(e.Path), e.Labels.IMA, e.Labels.EVM, e.Room, e.Files)
}

// ext4Block is what the block of a file's attributes has besides their entries:
// a header, and four zero bytes behind the last entry. Kernel: struct
// ext4_xattr_header in fs/ext4/xattr.h.
const ext4Block = 32 + 4

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
	labels Labels
}

// count counts a file if its labels are larger than the room for them. Each
// counts: one that is small enough for the inode would not be too large for the
// block with another one.
func (b *oversized) count(path string, l Labels, fs *unix.Statfs_t) {
	if most := room(fs); most == 0 || l.ext4Size() <= most {
		return
	}
	if b.files == 0 {
		b.path, b.labels = path, l
	}
	b.files++
}

// takes reports whether the file system holds labels that are larger than a
// block, which ext4 with the feature ea_inode does, and nothing but trying tells:
// with a file that never has a name. What cannot be tried is for the run to find.
func (u *usage) takes(store attr.Store) bool {
	fd, err := unix.Open(filepath.Dir(u.big.path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return true
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Dev != u.dev {
		return true
	}
	for _, label := range []struct {
		name string
		size int
	}{{imaevm.AttrIMA, u.big.labels.IMA}, {imaevm.AttrEVM, u.big.labels.EVM}} {
		value := make([]byte, label.size)
		copy(value, []byte{byte(imaevm.TypeSignature), 2, 4}) // of sha256, which kernels take everywhere
		if label.size > 0 && errors.Is(store.Set(f, label.name, value), unix.ENOSPC) {
			return false
		}
	}
	return true
}
