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
