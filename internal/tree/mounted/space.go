package mounted

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// CheckSpace returns a *tree.SpaceError if the labels that a run will write do not fit
// on a file system of the tree, and a *tree.BlockError if a file's do not even on an
// empty one. A quick count, as if all files had the largest labels, decides unless
// it is too much: then each file is looked at, since it may have a block for its
// labels already or get none. Of a list that can be read once only, nothing is
// known before.
func (t *Tree) CheckSpace(ctx context.Context, q tree.Space) error {
	if !t.Countable() {
		return nil
	}
	quick := newSurvey()
	t.count(ctx, func(e *walk.Entry) {
		quick.add(e, func(u *usage) uint64 {
			u.big.count(u.path, q.Largest, &u.fs)
			return need(q.Largest, &u.fs)
		})
	})
	if ctx.Err() != nil || !slices.ContainsFunc(quick.all(), func(u *usage) bool { return u.need > u.free() || u.big.files > 0 }) {
		return nil
	}
	exact := newSurvey()
	t.find(ctx, t.walkConfig(), func(e walk.Entry) error { // errors are the run's to report
		if e.File == nil {
			return nil
		}
		f := &File{tree: t, entry: e}
		defer f.Close()
		has, want := q.Labels(f)
		exact.add(&e, func(u *usage) uint64 {
			if want != has {
				u.big.count(e.Path, want, &u.fs)
			}
			return need(want, &u.fs) - min(need(want, &u.fs), need(has, &u.fs))
		})
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return judge(&q, exact.all())
}

// judge says whether what the files need is there.
func judge(q *tree.Space, used []*usage) error {
	for _, u := range used {
		if u.need > u.free() {
			return &tree.SpaceError{Path: u.path, Files: u.files, Need: u.need, Free: u.free()}
		}
		if u.big.files > 0 && !q.DryRun && !u.takes(q) {
			return &tree.BlockError{Path: u.big.path, Files: u.big.files, Labels: u.big.labels, Room: room(&u.fs)}
		}
	}
	return nil
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

// A survey adds up what files need on each file system. It is safe for concurrent
// use.
type survey struct {
	mu   sync.Mutex
	used map[uint64]*usage // by device
}

func newSurvey() *survey { return &survey{used: make(map[uint64]*usage)} }

func (s *survey) add(e *walk.Entry, need func(*usage) uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dev := walk.InodeOf(&e.Stat).Dev
	u := s.used[dev]
	if u == nil {
		u = &usage{path: e.Path, dev: dev}
		if unix.Statfs(e.Path, &u.fs) != nil {
			return
		}
		s.used[dev] = u
	}
	if n := need(u); n > 0 {
		u.files++
		u.need += n
	}
}

func (s *survey) all() []*usage { return slices.Collect(maps.Values(s.used)) }

// ext4Reserved is what ext4 keeps even from root, to complete writes that it has
// accepted: a fiftieth of the blocks, and at most so many. Kernel: ext4_set_resv_clusters()
// in fs/ext4/super.c.
const ext4Reserved = 4096

// free is what the process may use: root has the blocks that are reserved for
// it, too.
func (u *usage) free() uint64 {
	blockSize := uint64(u.fs.Bsize)
	if os.Geteuid() != 0 {
		return u.fs.Bavail * blockSize
	}
	blocks := u.fs.Bfree
	if u.fs.Type == unix.EXT4_SUPER_MAGIC {
		blocks -= min(blocks, u.fs.Blocks/50, ext4Reserved)
	}
	return blocks * blockSize
}

// takes reports whether the file system holds labels that are larger than a
// block, which ext4 with the feature ea_inode does, and nothing but trying tells:
// with a file that never has a name. What cannot be tried is for the run to find.
func (u *usage) takes(q *tree.Space) bool {
	fd, err := unix.Open(filepath.Dir(u.big.path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return true
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || walk.InodeOf(&st).Dev != u.dev {
		return true
	}
	for _, label := range []struct {
		name string
		size int
	}{{q.IMA, u.big.labels.IMA}, {q.EVM, u.big.labels.EVM}} {
		value := make([]byte, label.size)
		copy(value, []byte{byte(imaevm.TypeSignature), 2, 4}) // of sha256, which kernels take everywhere
		if label.size > 0 && errors.Is(attr.Set(f, label.name, value), unix.ENOSPC) {
			return false
		}
	}
	return true
}
