// Package locate finds the files that the kernel's records name, as they are now.
// A record names a file system by the kernel's own id of it and a file by its
// number there, and has a path, or only a last name, which may lead elsewhere by now.
package locate

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A State says what became of a file since it was recorded.
type State string

// The states.
const (
	Same     State = "same"     // it is where it was
	Renamed  State = "renamed"  // it has another name in the same directory
	Replaced State = "replaced" // another file has its name
	Gone     State = "gone"     // nothing has its name
	// Elsewhere is a file of another file system than that which has the path here,
	// as of a container or of another machine.
	Elsewhere State = "elsewhere"
	// Pathless is a file of which no record tells where it lies.
	Pathless State = "pathless"
	// Unreachable is a file that this process may not look at.
	Unreachable State = "unreachable"
)

// A Found is a file as it is now.
type Found struct {
	State State
	// Path is where to open it, in the states Same, Renamed and Replaced.
	Path string
	// Changed is when its content, its labels or what else it has last changed (its
	// ctime).
	Changed time.Time
}

// A Finder finds files. It is safe for concurrent use.
type Finder struct {
	ids    map[uint64][]string // what the kernel may call a file system, by its device
	points map[string]string   // where all of it is mounted, by what it alone is called
}

// Open reads what is mounted. root is put before the paths of /proc and /sys; empty
// for the machine itself. Where they cannot be read, files go by their number alone.
func Open(root string) *Finder {
	f := &Finder{ids: make(map[uint64][]string), points: make(map[string]string)}
	b, err := os.ReadFile(filepath.Join(root, "/proc/self/mountinfo"))
	if err != nil {
		return f
	}
	for line := range strings.Lines(string(b)) {
		f.mount(root, line)
	}
	return f
}

// mount takes a line of mountinfo: see proc_pid_mountinfo(5).
func (f *Finder) mount(root, line string) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return
	}
	major, minor, ok := strings.Cut(fields[2], ":")
	maj, err1 := strconv.ParseUint(major, 10, 32)
	mnr, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return
	}
	dev := unix.Mkdev(uint32(maj), uint32(mnr))
	if f.ids[dev] != nil {
		return
	}
	// Kernel: s_id is the name of a block device (setup_bdev_super(), fs/super.c), also
	// where the numbers are not its own, as with btrfs; else the type (alloc_super()),
	// and with NFS the numbers.
	ids := []string{fields[2]}
	if link, err := os.Readlink(filepath.Join(root, "/sys/dev/block", fields[2])); err == nil {
		ids = append(ids, path.Base(link))
	}
	_, behind, _ := strings.Cut(line, " - ")
	of := strings.Fields(behind)
	if len(of) > 1 {
		if name, err := filepath.EvalSymlinks(of[1]); err == nil {
			ids = append(ids, path.Base(name))
		}
	}
	if len(fields) > 4 && fields[3] == "/" {
		for _, id := range ids {
			f.points[id] = fields[4]
		}
	}
	if len(of) > 0 {
		ids = append(ids, of[0])
	}
	f.ids[dev] = ids
}

// Mounted returns where a file system is mounted that a record names, in the form that
// mountinfo has it, and false where that is not known.
func (f *Finder) Mounted(dev string) (string, bool) {
	point, ok := f.points[dev]
	return point, ok
}

// isOn reports whether a device may be the file system that a record names.
func (f *Finder) isOn(dev uint64, named string) bool {
	ids, known := f.ids[dev]
	if named == "" || !known { // as a subvolume of btrfs
		return true
	}
	for _, id := range ids {
		if id == named {
			return true
		}
	}
	return false
}

// Find finds a file by the id of its file system and its number, "" and 0 where a
// record does not tell them, and by its name. at is when it was last recorded, zero
// if that is not known: a file that was made later is another one, whatever its number.
func (f *Finder) Find(dev string, inode uint64, name string, at time.Time) Found {
	if !path.IsAbs(name) {
		return Found{State: Pathless}
	}
	named, err := look(name)
	isFile := err == nil && named.isFile()
	if isFile && f.isOn(named.dev(), dev) && named.is(inode, at) {
		return named.found(Same, name)
	}
	dir := path.Dir(name)
	switch in, err := look(dir + "/."); {
	case err == nil && !f.isOn(in.dev(), dev):
		return Found{State: Elsewhere}
	case err == nil && inode != 0:
		if other, file := inDirectory(dir, in.dev(), inode, at); file != nil {
			return file.found(Renamed, other)
		}
	}
	switch {
	case isFile:
		return named.found(Replaced, name)
	case err == nil, err == unix.ENOENT, err == unix.ENOTDIR, err == unix.ELOOP:
		return Found{State: Gone}
	}
	return Found{State: Unreachable}
}

// A file is what is seen of one.
type file unix.Statx_t

// look looks at what has a name, and follows no link.
func look(name string) (*file, error) {
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_CTIME | unix.STATX_BTIME
	for {
		st := new(unix.Statx_t)
		if err := unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, st); err != unix.EINTR {
			return (*file)(st), err
		}
	}
}

func (s *file) dev() uint64  { return unix.Mkdev(s.Dev_major, s.Dev_minor) }
func (s *file) isFile() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// coarse is how far the clock of inodes, and that of records, may be behind.
const coarse = 20 * time.Millisecond

// is reports whether a file has the number, and was there at that time.
func (s *file) is(inode uint64, at time.Time) bool {
	born := time.Unix(s.Btime.Sec, int64(s.Btime.Nsec))
	if s.Mask&unix.STATX_BTIME != 0 && !at.IsZero() && born.After(at.Add(coarse)) {
		return false
	}
	return inode == 0 || s.Ino == inode
}

func (s *file) found(state State, name string) Found {
	return Found{State: state, Path: name, Changed: time.Unix(s.Ctime.Sec, int64(s.Ctime.Nsec))}
}

// maxEntries bounds how much of a directory is searched.
const maxEntries = 20000

// inDirectory looks for a regular file of that number.
func inDirectory(dir string, dev, inode uint64, at time.Time) (string, *file) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil
	}
	defer d.Close()
	for seen := 0; seen < maxEntries; {
		names, err := d.Readdirnames(1000)
		if err != nil {
			break
		}
		seen += len(names)
		for _, name := range names {
			full := path.Join(dir, name)
			if s, err := look(full); err == nil && s.isFile() && s.dev() == dev && s.is(inode, at) {
				return full, s
			}
		}
	}
	return "", nil
}
