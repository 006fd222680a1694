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
	Files      int    // that need a block each
	Need, Free uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: the signatures of %d files need %s on this file system, and %s are free",
		report.Quote(e.Path), e.Files, report.Size(int64(e.Need)), report.Size(int64(e.Free)))
}

// How many bytes of labels an inode of the usual size holds beside its other
// contents: 256 bytes on ext4, some 90 of which are left for attributes, 512 on
// xfs, where the list of extents takes its part. What does not fit takes a
// block of its own.
const (
	inlineExt4 = 60
	inlineXFS  = 200
	xfsMagic   = 0x58465342 // XFS_SUPER_MAGIC, include/uapi/linux/magic.h
)

// usage is what the labels need on one file system.
type usage struct {
	path   string
	blocks int
	fs     unix.Statfs_t
}

// CheckSpace returns a *SpaceError if the labels that a run will write, size
// bytes a file, do not fit. find is the run's source; with countOnly it opens no
// files. A quick count decides unless it is too much: then each file is looked
// at, since it may have a block for its labels already or get none.
func (l *Labeller) CheckSpace(ctx context.Context, size int, find func(ctx context.Context, countOnly bool, visit walk.Visitor) error) error {
	if len(l.over(ctx, size, find, true)) == 0 {
		return nil
	}
	for _, u := range l.over(ctx, size, find, false) {
		return &SpaceError{Path: u.path, Files: u.blocks, Need: u.need(), Free: u.free()}
	}
	return nil
}

// over returns the file systems whose free space is not enough.
func (l *Labeller) over(ctx context.Context, size int, find func(context.Context, bool, walk.Visitor) error, countOnly bool) []*usage {
	var mu sync.Mutex
	used := make(map[uint64]*usage)
	// Errors are the run's to report, and so is a walk that ends early.
	_ = find(ctx, countOnly, func(e walk.Entry) error {
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
		if size > u.inline() && (countOnly || l.needsBlock(&e, size)) {
			u.blocks++
		}
		return nil
	})
	var over []*usage
	for _, u := range used {
		if u.need() > u.free() {
			over = append(over, u)
		}
	}
	return over
}

// needsBlock reports whether the file will get signatures and has none of the
// size yet.
func (l *Labeller) needsBlock(e *walk.Entry, size int) bool {
	class, err := l.class(e)
	if err != nil || class == plan.Skip || class == plan.Hash && l.EVM == nil {
		return false
	}
	there := 0
	for _, name := range []string{imaevm.AttrIMA, imaevm.AttrEVM} {
		value, err := get(l.Store, e, name)
		if err != nil {
			return false
		}
		there += len(value)
	}
	return there < size-size/8 // ECDSA signatures differ by some bytes
}

func (u *usage) inline() int {
	if uint32(u.fs.Type) == xfsMagic {
		return inlineXFS
	}
	return inlineExt4
}

func (u *usage) need() uint64 { return uint64(u.blocks) * uint64(u.fs.Bsize) }

// free is what the process may use: root has the reserved blocks too.
func (u *usage) free() uint64 {
	if os.Geteuid() == 0 {
		return u.fs.Bfree * uint64(u.fs.Bsize)
	}
	return u.fs.Bavail * uint64(u.fs.Bsize)
}
