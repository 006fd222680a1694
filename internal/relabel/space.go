package relabel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/walk"
)

// A SpaceError says that the labels of a run do not fit on a file system.
type SpaceError struct {
	Path       string // a file on it
	Files      int    // that need more than they have
	Need, Free uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: the signatures of %d files need %s on this file system, and %s are free",
		report.Quote(e.Path), e.Files, report.Size(int64(e.Need)), report.Size(int64(e.Free)))
}

// How many bytes of labels an inode of the usual size holds: 256 bytes on ext4,
// of which 88 are left for attributes and 20 go into each one's entry, and 512
// on xfs, where the list of extents takes its part. What does not fit takes a
// block of its own. Kernel: fs/ext4/xattr.h, fs/xfs/libxfs/xfs_attr_leaf.c.
const (
	ext4Inline, ext4Entry = 88, 20
	xfsInline, xfsEntry   = 200, 6
	// btrfs has no such blocks, and keeps its metadata twice.
	btrfsEntry, btrfsCopies = 60, 2
)

// Labels is how many bytes the labels of a file have.
type Labels struct{ IMA, EVM int }

// fit reports whether labels fit into an inode.
func (l Labels) fit(fs *unix.Statfs_t) bool {
	if fs.Type == unix.XFS_SUPER_MAGIC {
		return l.size(xfsEntry, 1) <= xfsInline
	}
	return l.ext4Size() <= ext4Inline
}

func (l Labels) ext4Size() int { return l.size(ext4Entry, 4) }

// size returns what labels take if each has an entry and is padded to align.
func (l Labels) size(entry, align int) int {
	size := 0
	for _, n := range []int{l.IMA, l.EVM} {
		if n > 0 {
			size += entry + (n+align-1)/align*align
		}
	}
	return size
}

// need returns how many bytes labels need on a file system.
func (l Labels) need(fs *unix.Statfs_t) uint64 {
	switch {
	case fs.Type == unix.BTRFS_SUPER_MAGIC:
		return uint64(l.IMA+l.EVM+2*btrfsEntry) * btrfsCopies
	case l.fit(fs):
		return 0
	}
	block := uint64(fs.Bsize)
	return (uint64(l.IMA+l.EVM) + block - 1) / block * block
}

// usage is what the labels need on one file system.
type usage struct {
	path  string
	dev   uint64
	files int
	need  uint64
	fs    unix.Statfs_t
	big   oversized
}

// CheckSpace returns a *SpaceError if the labels that a run will write, by the
// class of the file, do not fit, and a *BlockError if a file's do not even in
// an empty file system. find is the run's source, count the same without opening
// files. A quick count, as if all files had the largest labels, decides unless
// it is too much: then each file is looked at, since it may have a block for
// its labels already or get none.
func (l *Labeller) CheckSpace(ctx context.Context, sizes map[plan.Class]Labels, count, find Source) error {
	var largest Labels
	for _, labels := range sizes {
		largest = Labels{IMA: max(largest.IMA, labels.IMA), EVM: max(largest.EVM, labels.EVM)}
	}
	quick := survey(ctx, count, func(_ *walk.Entry, u *usage) uint64 {
		u.big.count(u.path, largest, &u.fs)
		if l.SigFiles {
			return largest.need(&u.fs) + uint64(u.fs.Bsize)
		}
		return largest.need(&u.fs)
	})
	if !slices.ContainsFunc(quick, func(u *usage) bool { return u.need > u.free() || u.big.files > 0 }) {
		return nil
	}
	exact := survey(ctx, find, func(e *walk.Entry, u *usage) uint64 {
		has, want := l.labels(e, sizes)
		if want != has {
			u.big.count(e.Path, want, &u.fs)
		}
		return want.need(&u.fs) - min(want.need(&u.fs), has.need(&u.fs)) + l.sigFileNeed(e, &u.fs)
	})
	for _, u := range exact {
		if u.need > u.free() {
			return &SpaceError{Path: u.path, Files: u.files, Need: u.need, Free: u.free()}
		}
		if u.big.files > 0 && !l.Writer.DryRun && !u.takes(l.Writer.Store) {
			return &BlockError{Path: u.big.path, Files: u.big.files, Labels: u.big.labels, Room: room(&u.fs)}
		}
	}
	return nil
}

// survey returns what the files need on each file system, nothing if the run
// ends before.
func survey(ctx context.Context, find Source, need func(*walk.Entry, *usage) uint64) []*usage {
	var mu sync.Mutex
	used := make(map[uint64]*usage)
	// Errors are the run's to report, and so is a walk that ends early.
	_ = find(ctx, func(e walk.Entry) error {
		if e.File != nil {
			defer e.File.Close()
		}
		if e.Skip != "" || e.Err != nil {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		u := used[e.Stat.Dev]
		if u == nil {
			u = &usage{path: e.Path, dev: e.Stat.Dev}
			if unix.Statfs(e.Path, &u.fs) != nil {
				return nil
			}
			used[e.Stat.Dev] = u
		}
		if n := need(&e, u); n > 0 {
			u.files++
			u.need += n
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return slices.Collect(maps.Values(used))
}

// labels returns the sizes of the labels that a file has, and of those that it
// would have. A label that is not written stays as large as it is.
func (l *Labeller) labels(e *walk.Entry, sizes map[plan.Class]Labels) (has, want Labels) {
	class, err := l.class(e)
	if err != nil || l.SigFiles && isSigFile(e) {
		return Labels{}, Labels{}
	}
	ima, imaErr := get(l.Writer.Store, e, imaevm.AttrIMA)
	evm, evmErr := get(l.Writer.Store, e, imaevm.AttrEVM)
	if imaErr != nil || evmErr != nil {
		return Labels{}, Labels{}
	}
	has, want = Labels{IMA: len(ima), EVM: len(evm)}, sizes[class]
	return has, Labels{IMA: max(has.IMA, want.IMA), EVM: max(has.EVM, want.EVM)}
}

// sigFileNeed returns what the file beside a signed one needs: a block, unless
// there is one.
func (l *Labeller) sigFileNeed(e *walk.Entry, fs *unix.Statfs_t) uint64 {
	if !l.SigFiles || isSigFile(e) {
		return 0
	}
	if class, err := l.class(e); err != nil || class != plan.Sign {
		return 0
	}
	if _, err := readSigFile(e); err != errNoSigFile {
		return 0
	}
	return uint64(fs.Bsize)
}

// ext4Reserved is what ext4 keeps even from root, to complete writes that it has
// accepted: a fiftieth of the blocks, and at most so many. Kernel: ext4_set_resv_clusters()
// in fs/ext4/super.c.
const ext4Reserved = 4096

// free is what the process may use: root has the blocks that are reserved for
// it, too.
func (u *usage) free() uint64 {
	if os.Geteuid() != 0 {
		return u.fs.Bavail * uint64(u.fs.Bsize)
	}
	blocks := u.fs.Bfree
	if u.fs.Type == unix.EXT4_SUPER_MAGIC {
		blocks -= min(blocks, u.fs.Blocks/50, ext4Reserved)
	}
	return blocks * uint64(u.fs.Bsize)
}
