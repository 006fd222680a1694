package relabel

import (
	"context"
	"fmt"
	"os"
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
	inline, entry, align := ext4Inline, ext4Entry, 4
	if fs.Type == unix.XFS_SUPER_MAGIC {
		inline, entry, align = xfsInline, xfsEntry, 1
	}
	size := 0
	for _, n := range []int{l.IMA, l.EVM} {
		if n > 0 {
			size += entry + (n+align-1)/align*align
		}
	}
	return size <= inline
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
	files int
	need  uint64
	fs    unix.Statfs_t
}

// CheckSpace returns a *SpaceError if the labels that a run will write, by the
// class of the file, do not fit. find is the run's source; with countOnly it
// opens no files. A quick count, as if all files had the largest labels, decides
// unless it is too much: then each file is looked at, since it may have a block
// for its labels already or get none.
func (l *Labeller) CheckSpace(ctx context.Context, sizes map[plan.Class]Labels, find func(ctx context.Context, countOnly bool, visit walk.Visitor) error) error {
	var largest Labels
	for _, labels := range sizes {
		largest = Labels{IMA: max(largest.IMA, labels.IMA), EVM: max(largest.EVM, labels.EVM)}
	}
	quick := over(ctx, func(_ *walk.Entry, fs *unix.Statfs_t) uint64 { return largest.need(fs) },
		func(ctx context.Context, visit walk.Visitor) error { return find(ctx, true, visit) })
	if len(quick) == 0 {
		return nil
	}
	exact := over(ctx, func(e *walk.Entry, fs *unix.Statfs_t) uint64 { return l.need(e, sizes, fs) },
		func(ctx context.Context, visit walk.Visitor) error { return find(ctx, false, visit) })
	for _, u := range exact {
		return &SpaceError{Path: u.path, Files: u.files, Need: u.need, Free: u.free()}
	}
	return nil
}

// over returns the file systems whose free space is less than what their files
// need.
func over(ctx context.Context, need func(*walk.Entry, *unix.Statfs_t) uint64, find func(context.Context, walk.Visitor) error) []*usage {
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
			u = &usage{path: e.Path}
			if unix.Statfs(e.Path, &u.fs) != nil {
				return nil
			}
			used[e.Stat.Dev] = u
		}
		if n := need(&e, &u.fs); n > 0 {
			u.files++
			u.need += n
		}
		return nil
	})
	var over []*usage
	for _, u := range used {
		if u.need > u.free() && ctx.Err() == nil {
			over = append(over, u)
		}
	}
	return over
}

// need returns what the labels of a file need beyond what it has already.
func (l *Labeller) need(e *walk.Entry, sizes map[plan.Class]Labels, fs *unix.Statfs_t) uint64 {
	class, err := l.class(e)
	if err != nil || l.SigFiles && isSigFile(e) {
		return 0
	}
	ima, imaErr := get(l.Store, e, imaevm.AttrIMA)
	evm, evmErr := get(l.Store, e, imaevm.AttrEVM)
	if imaErr != nil || evmErr != nil {
		return 0
	}
	has, want := Labels{IMA: len(ima), EVM: len(evm)}, sizes[class]
	there, need := has.need(fs), Labels{IMA: max(has.IMA, want.IMA), EVM: max(has.EVM, want.EVM)}.need(fs)
	return need - min(there, need)
}

// ext4Reserved is what ext4 keeps for the end of the world, even from root: a
// fiftieth of the blocks, and at most so many. Kernel: ext4_set_resv_clusters()
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
