package mounted

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/inode"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// A File is a descriptor. It is a tree.Live, tree.Bound, tree.Placed, tree.Verity
// and tree.Sidecar.
type File struct {
	tree  *Tree
	entry walk.Entry
	lease time.Time // when it was asked for; zero for none
	timed bool      // times have to tell of changes
	wrote bool      // since Begin: ctime tells nothing any more
}

func (f *File) fd() int { return int(f.entry.File.Fd()) }

func (f *File) dev() uint64 { return walk.InodeOf(&f.entry.Stat).Dev }

// Name implements tree.File.
func (f *File) Name() string { return f.entry.Path }

// Rel implements tree.File.
func (f *File) Rel() string { return f.entry.Within() }

// Full implements tree.File.
func (f *File) Full() string { return f.tree.full(f.entry.Path) }

// Meta implements tree.File.
func (f *File) Meta() tree.Meta {
	st := &f.entry.Stat
	return tree.Meta{UID: st.Uid, GID: st.Gid, Mode: st.Mode, Size: st.Size}
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.entry.File.ReadAt(b, off)
	if _, ok := err.(*fs.PathError); ok {
		err = pathless(err)
	}
	return n, err
}

// Attr implements tree.File. Capabilities are those that the file system holds,
// where it can be asked for them; elsewhere, and for users who may not ask, as the
// kernel shows them, which mostly is the same.
func (f *File) Attr(name string) ([]byte, error) {
	value, err := attr.Get(f.entry.File, name)
	switch {
	case err == attr.ErrNotSet:
		return nil, tree.ErrNoAttr
	case err != nil || name != capability:
		return value, err
	}
	if held, err := inode.Capability(f.entry.File, value); err == nil {
		return held, nil
	}
	return value, nil
}

const capability = "security.capability"

// Attrs implements tree.File.
func (f *File) Attrs() ([]string, error) { return attr.List(f.entry.File) }

// Close implements tree.File. A lease ends with it.
func (f *File) Close() error { return f.entry.File.Close() }

// Inode implements tree.Bound.
func (f *File) Inode() uint64 { return f.entry.Stat.Ino }

// Generation implements tree.Bound.
func (f *File) Generation() (uint32, error) { return inode.Generation(f.entry.File) }

// UUID implements tree.Bound.
func (f *File) UUID() ([16]byte, error) {
	known := f.tree.filesystem(f)
	return known.uuid, known.uuidErr
}

func inodeUUID(f *File) ([16]byte, error) { return inode.UUID(f.entry.File) }

// Filesystem implements tree.Placed.
func (f *File) Filesystem() (tree.Filesystem, error) {
	known := f.tree.filesystem(f)
	return known.fs, known.err
}

// NoAttributes implements tree.Placed. The kernel asks a file system without any
// for no label, and writes no record (IOP_XATTR, xattr_resolve_name() in
// fs/xattr.c).
func (f *File) NoAttributes() bool {
	for _, name := range []string{"user.imaseal", "trusted.imaseal"} {
		if _, err := unix.Fgetxattr(f.fd(), name, nil); !errors.Is(err, unix.EOPNOTSUPP) {
			return false
		}
	}
	return true
}

// VerityDigest implements tree.Verity.
func (f *File) VerityDigest() (algorithm uint16, digest []byte, err error) {
	return inode.VerityDigest(f.entry.File)
}

// OwnersMapped implements tree.Mapped.
func (f *File) OwnersMapped() (bool, error) { return f.tree.ownersMapped(f.fd()) }

// ownersMapped asks each mount once; one that is not to be seen does not map owners,
// which Notes tells. A kernel that does not tell mounts apart
// (before Linux 5.8) cannot map owners either.
func (t *Tree) ownersMapped(fd int) (bool, error) {
	id, err := mountID(fd)
	if errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for the mount: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	mapped, known := t.mapped[id]
	if !known {
		m, err := mountOf(id)
		switch {
		case err == nil:
			// Kernel: show_mnt_opts(), fs/proc_namespace.c.
			mapped = slices.Contains(strings.Split(m.Options, ","), "idmapped")
		case errors.Is(err, unix.ENOENT):
			// No /proc, or a chroot that is no mount of its own: the kernel leaves
			// out what is mounted above it (show_mountinfo()).
			t.unseenMount.Store(true)
		default:
			return false, fmt.Errorf("asking for the mount: %w", err)
		}
		t.mapped[id] = mapped
	}
	return mapped, nil
}

// mountID returns the number of a descriptor's mount, unix.ENOTSUP where the kernel
// does not tell it.
func mountID(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, unix.ENOTSUP // before Linux 5.8
	}
	return st.Mnt_id, nil
}

// mountOf looks up a mount in /proc/self/mountinfo.
func mountOf(id uint64) (*mountinfo.Info, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		is := uint64(m.ID) == id
		return !is, is
	})
	if err != nil {
		return nil, err
	}
	if len(mounts) == 0 {
		return nil, unix.ENOENT // mounted elsewhere, and open here
	}
	return mounts[0], nil
}

// mountType returns the type of a descriptor's mount, such as ext4 or fuse.sshfs.
// The device would not do: files of btrfs have other numbers than their mount.
func mountType(fd int) (string, error) {
	id, err := mountID(fd)
	if err != nil {
		return "", err
	}
	m, err := mountOf(id)
	if err != nil {
		return "", err
	}
	return m.FSType, nil
}

// stat looks at the file again.
func (f *File) stat(st *unix.Stat_t) error {
	if err := unix.Fstat(f.fd(), st); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return nil
}

// pathless drops the file's name from an error: the report prints it.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
