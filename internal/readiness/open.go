package readiness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/finding"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// An inode is one on the whole machine.
type inode struct{ dev, ino uint64 }

// openFiles names the files of root that are open for writing, and those that
// are open for direct I/O.
func (t *table) openFiles() {
	links, hidden := t.descriptors()
	written, direct := make(map[inode]bool), make(map[inode]bool)
	var writes, directs []string
	for _, link := range links {
		info, err := os.ReadFile(strings.Replace(link, "/fd/", "/fdinfo/", 1))
		if err != nil {
			continue
		}
		flags := openFlags(string(info))
		if mode := flags & unix.O_ACCMODE; mode == unix.O_WRONLY || mode == unix.O_RDWR {
			writes = t.note(writes, written, link, func(match.Demands) bool { return true })
		}
		if flags&unix.O_DIRECT != 0 {
			directs = t.note(directs, direct, link, func(d match.Demands) bool { return !d.DirectIO })
		}
	}
	t.Open = writes
	names := finding.Some(writes)
	if hidden {
		names += "; what other processes have open cannot be seen (run as root)"
	}
	switch {
	case len(writes) == 0 && hidden:
		t.Add(finding.Warn, "open files", "run as root", "what other processes have open cannot be seen")
	case len(writes) == 0:
		t.Add(finding.Pass, "open files", "", "no appraised file of root is open for writing")
	case t.Active.Appraises:
		t.Add(finding.Pass, "open files", "after a crash relabel them", "files of root that are open for writing, whose labels are renewed when the last writer closes them: %s", names)
	default:
		t.Add(finding.Warn, "open files", "stop what writes them (logs: another owner, or excluded by the policy), or relabel after it has ended",
			"files of root that are open for writing, whose labels will be stale: %s", names)
	}
	if len(directs) > 0 {
		t.Add(finding.Warn, "direct I/O", "permit_directio in a policy of your own",
			"files of root that are open with O_DIRECT, which is denied: %s", finding.Some(directs))
	}
}

// descriptors returns the links to what processes have open, and whether those of
// some cannot be seen.
func (t *table) descriptors() (links []string, hidden bool) {
	dirs, _ := filepath.Glob(filepath.Join(t.Host.Root, "/proc/[0-9]*/fd"))
	for _, dir := range dirs {
		names, err := os.ReadDir(dir)
		hidden = hidden || errors.Is(err, fs.ErrPermission) // other errors are of processes that end
		for _, name := range names {
			links = append(links, filepath.Join(dir, name.Name()))
		}
	}
	return links, hidden
}

// note adds the name of the file behind a descriptor to the names if it is
// appraised with such demands and not among those seen.
func (t *table) note(names []string, seen map[inode]bool, link string, some func(match.Demands) bool) []string {
	st, f, ok := t.fileAt(link)
	if !ok || st.Nlink == 0 || seen[inode{uint64(st.Dev), st.Ino}] || !t.demands(f, some) {
		return names
	}
	target, err := os.Readlink(link)
	if err != nil {
		return names
	}
	seen[inode{uint64(st.Dev), st.Ino}] = true
	return append(names, target)
}

// fileAt returns what policies look at in a regular file of root's, and false
// for others.
func (t *table) fileAt(path string) (unix.Stat_t, match.File, bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != t.Owner {
		return st, match.File{}, false
	}
	var space unix.Statfs_t
	if unix.Statfs(path, &space) != nil {
		return st, match.File{}, false
	}
	name, _ := policy.NameOf(uint32(space.Type))
	return st, rootFile(name, uint32(space.Type), true), true
}

// openFlags returns the flags in fdinfo: see proc_pid_fdinfo(5).
func openFlags(info string) int {
	for line := range strings.Lines(info) {
		var flags int
		if n, _ := fmt.Sscanf(line, "flags: %o", &flags); n == 1 {
			return flags
		}
	}
	return 0
}
