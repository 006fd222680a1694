package walk

import (
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
)

// Numbers are those of the inodes with several links: of each the least of its
// names', so that all of them are in one shard. A walk with Config.Collect finds
// them, and one with Config.Numbers goes by them. The zero value is empty.
type Numbers struct {
	mu    sync.Mutex
	least map[Inode]uint64
	// untold says that a directory gives a file another inode number than the
	// file itself: one must look at each.
	untold bool
}

// add notes a name of an inode.
func (n *Numbers) add(id Inode, number uint64, told bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.least == nil {
		n.least = make(map[Inode]uint64)
	}
	if least, ok := n.least[id]; !ok || number < least {
		n.least[id] = number
	}
	n.untold = n.untold || !told
}

// of returns the number of an inode of which one name has the number.
func (n *Numbers) of(id Inode, number uint64) uint64 {
	if n == nil {
		return number
	}
	if least, ok := n.least[id]; ok {
		return least
	}
	return number
}

// Within is the path of the entry within its tree, or below Config.Base; of another
// file that was named itself it is the name as given, without slashes in front.
func (e *Entry) Within() string {
	if e.Named() && !e.Below() {
		return strings.TrimLeft(path.Clean(e.Path), "/")
	}
	return e.Rel
}

// collect notes a name that was found in a directory, which says that it is that of
// the inode ino.
func (w *walker) collect(e *Entry, at int, ino uint64) {
	if namesOne(&e.Stat, at, -1) {
		w.cfg.Collect.add(InodeOf(&e.Stat), shard.Number(e.Rel), ino == e.Stat.Ino)
	}
}

// isOther reports whether a name in a directory belongs to another shard. The
// directory, which is open as at unless that is negative, says which inode it is of.
func (w *walker) isOther(d *dir, at int, n name, rel string) bool {
	if !w.cfg.Shard.Divides() {
		return false
	}
	id := Inode{Dev: d.id.Dev, Ino: n.ino}
	if w.cfg.Numbers != nil && w.cfg.Numbers.untold {
		var st unix.Stat_t
		if at >= 0 && fstatat(at, n.text, &st) == nil && namesOne(&st, at, -1) {
			id = InodeOf(&st)
		}
	}
	return !w.cfg.Shard.Has(w.cfg.Numbers.of(id, shard.Number(rel)))
}

// skipOther gives what is skipped anyway, and is counted all the same, to the shard
// of its path.
func (w *walker) skipOther(e *Entry) {
	if e.Skip != "" && !w.cfg.Shard.HasPath(e.Rel) {
		e.Skip = reason.OtherShard
	}
}

// isOtherNamed is isOther for a regular file that was named itself. With Collect it
// notes the name, and there is nothing else to do.
func (w *walker) isOtherNamed(e *Entry) bool {
	if w.cfg.Collect == nil && !w.cfg.Shard.Divides() {
		return false
	}
	number := shard.Number(e.Within())
	if e.Stat.Nlink > 1 && !w.breaksNamed(e) {
		if w.cfg.Collect != nil {
			w.cfg.Collect.add(InodeOf(&e.Stat), number, true)
		}
		number = w.cfg.Numbers.of(InodeOf(&e.Stat), number)
	}
	return w.cfg.Collect != nil || !w.cfg.Shard.Has(number)
}

// breaksNamed is breaksLinks for a file that was named itself.
func (w *walker) breaksNamed(e *Entry) bool {
	fd, err := e.openPath(e.Path, e.Rel)(unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return breaksLinks(fd)
}
