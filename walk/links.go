package walk

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Links is a set of inodes with several links: each of them is visited once.
// The zero value is empty. Its methods are safe for concurrent use.
type Links struct {
	mu   sync.Mutex
	seen map[Inode]struct{}
}

// visit reports whether another name of the inode was visited before, and
// remembers this one.
func (l *Links) visit(st *unix.Stat_t) bool {
	if st.Nlink < 2 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[InodeOf(st)]; ok {
		return true
	}
	if l.seen == nil {
		l.seen = make(map[Inode]struct{})
	}
	l.seen[InodeOf(st)] = struct{}{}
	return false
}

// isLink reports whether another name of the inode was visited before. The file is
// open as fd, or, if that is -1, lies in the directory that is open as at.
func (w *walker) isLink(st *unix.Stat_t, at, fd int) bool {
	return !w.cfg.EveryName && namesOne(st, at, fd) && w.cfg.Links.visit(st)
}

// namesOne reports whether the inode has other names, and they stay those of one
// file whatever is done to it. The descriptors are those of isLink.
func namesOne(st *unix.Stat_t, at, fd int) bool {
	if st.Nlink < 2 {
		return false
	}
	if fd < 0 {
		fd = at
	}
	return !breaksLinks(fd)
}

// breaksLinks reports whether the names of an inode with several may stand for
// several files once one of them is changed: overlayfs copies a lower file up under
// the one name by which it is changed (without the feature index, see
// Documentation/filesystems/overlayfs.rst). Each name then is a file of its own.
func breaksLinks(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC
}
