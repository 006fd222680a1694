// Package inspect looks at an open file for what a policy asks about it: the file
// system that it is on, its owner, and what it is there to be used for. Package
// match decides with that which rule takes the file.
package inspect

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"imaseal/internal/inode"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// An Inspector finds out what conditions of rules look at in files. Each file
// system is asked once. The zero value takes files for what they are where they
// are now. An Inspector is safe for concurrent use.
type Inspector struct {
	// Type is the type of file system that the files will be on, such as ext4,
	// empty if that is the one they are on now.
	Type string
	// UUID is that of the file system that the files will be on, nil if that
	// is the one they are on now.
	UUID *[16]byte

	mu    sync.Mutex
	known map[uint64]match.File // by device
}

// File returns what is known of an open file, which st describes: all but labels
// of security modules, which depend on the module's own policy. The file is not
// read. The error is that of statfs(2), without the file's name.
func (i *Inspector) File(file inode.File, st *unix.Stat_t) (match.File, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	m, ok := i.known[uint64(st.Dev)]
	if !ok {
		var err error
		if m, err = i.filesystem(file); err != nil {
			return match.File{}, err
		}
		if i.known == nil {
			i.known = make(map[uint64]match.File)
		}
		i.known[uint64(st.Dev)] = m
	}
	m.Owner, m.Group = match.Is(st.Uid), match.Is(st.Gid)
	return m, nil
}

// filesystem returns what the files of a file system have in common.
func (i *Inspector) filesystem(file inode.File) (match.File, error) {
	var m match.File
	if i.UUID != nil {
		m.UUID = match.Is(policy.UUID(*i.UUID))
	}
	if i.Type != "" {
		m.FSName, m.Subtype = match.Is(i.Type), match.Is("")
		if magic, ok := policy.MagicOf(i.Type); ok {
			m.Magic = match.Is(magic)
		}
		return m, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return m, fmt.Errorf("asking for the file system: %w", err)
	}
	m.Magic = match.Is(uint32(fs.Type))
	if name, err := mountType(file); err == nil {
		base, subtype, _ := strings.Cut(name, ".")
		m.FSName, m.Subtype = match.Is(base), match.Is(subtype)
	}
	if i.UUID == nil {
		if uuid, err := inode.UUID(file); err == nil {
			m.UUID = match.Is(policy.UUID(uuid))
		}
	}
	return m, nil
}

// mountType returns the type of the file's mount, such as ext4 or fuse.sshfs.
// The device would not do: files of btrfs have other numbers than their mount.
func mountType(file inode.File) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return "", err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return "", unix.ENOTSUP // before Linux 5.8
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	return typeOfMount(mounts, st.Mnt_id)
}

// typeOfMount looks up a mount in mountinfo: see proc_pid_mountinfo(5).
func typeOfMount(mounts io.Reader, id uint64) (string, error) {
	lines := bufio.NewScanner(mounts)
	lines.Buffer(nil, 1<<20) // options may be long
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		number, _, _ := strings.Cut(before, " ")
		if !ok || number != strconv.FormatUint(id, 10) {
			continue
		}
		name, _, _ := strings.Cut(after, " ")
		return name, nil
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", unix.ENOENT // mounted elsewhere, and open here
}
