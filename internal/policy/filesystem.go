package policy

import "slices"

// A Filesystem is a type of file system and its magic number.
type Filesystem struct {
	Name  string // as in /proc/filesystems
	Magic uint32 // s_magic, and f_type of statfs taken as unsigned
	// Excluded says that appraise_tcb does not appraise what is on it.
	Excluded bool
	// Bare says that its inodes have no extended attributes at all: an
	// appraised file is denied whatever is done, without an audit record.
	Bare bool
	// NoUUID says that none of them has a UUID: the kernel takes zeros for it.
	NoUUID bool
	// Option of its configuration has the kernel show security attributes; empty
	// where it always does, or never.
	Option string
}

// filesystems holds appraise_tcb's exclusions first and in its order
// (default_appraise_rules[], ima_policy.c), then others. Numbers:
// include/uapi/linux/magic.h and the file systems' own sources.
var filesystems = []Filesystem{
	{Name: "proc", Magic: 0x9fa0, Excluded: true},
	{Name: "sysfs", Magic: 0x62656572, Excluded: true},
	{Name: "debugfs", Magic: 0x64626720, Excluded: true},
	{Name: "tmpfs", Magic: 0x01021994, Excluded: true},
	{Name: "ramfs", Magic: 0x858458f6, Excluded: true},
	{Name: "devpts", Magic: 0x1cd1, Excluded: true},
	{Name: "binfmt_misc", Magic: 0x42494e4d, Excluded: true},
	{Name: "securityfs", Magic: 0x73636673, Excluded: true},
	{Name: "selinuxfs", Magic: 0xf97cff8c, Excluded: true},
	{Name: "smackfs", Magic: 0x43415d53, Excluded: true},
	{Name: "nsfs", Magic: 0x6e736673, Excluded: true},
	{Name: "efivarfs", Magic: 0xde5e81e4, Excluded: true},
	{Name: "cgroup", Magic: 0x27e0eb, Excluded: true},
	{Name: "cgroup2", Magic: 0x63677270, Excluded: true},

	{Name: "tracefs", Magic: 0x74726163, Bare: true},
	{Name: "hugetlbfs", Magic: 0x958458f6, Bare: true},
	{Name: "mqueue", Magic: 0x19800202, Bare: true},
	{Name: "bpf", Magic: 0xcafe4a11, Bare: true},
	{Name: "pstore", Magic: 0x6165676c, Bare: true},
	{Name: "configfs", Magic: 0x62656570, Bare: true},
	{Name: "fusectl", Magic: 0x65735543, Bare: true},
	{Name: "vfat", Magic: 0x4d44, Bare: true},
	{Name: "exfat", Magic: 0x2011bab0, Bare: true},
	{Name: "iso9660", Magic: 0x9660, Bare: true, NoUUID: true},
	{Name: "udf", Magic: 0x15013346, Bare: true},
	{Name: "nfsd", Magic: 0x6e667364, Bare: true}, // /proc/fs/nfsd

	{Name: "overlay", Magic: MagicOverlay},
	{Name: "fuse", Magic: MagicFUSE},
	{Name: "nfs", Magic: 0x6969},
	{Name: "cifs", Magic: 0xff534d42},
	{Name: "9p", Magic: 0x01021997},
	{Name: "ceph", Magic: 0x00c36400},
	{Name: "squashfs", Magic: 0x73717368, NoUUID: true, Option: "CONFIG_SQUASHFS_XATTR"},
	{Name: "erofs", Magic: 0xe0f5e1e2, Option: "CONFIG_EROFS_FS_SECURITY"},
	{Name: "ext4", Magic: magicExt, Option: "CONFIG_EXT4_FS_SECURITY"},
	{Name: "ext3", Magic: magicExt, Option: "CONFIG_EXT4_FS_SECURITY"},
	{Name: "ext2", Magic: magicExt, Option: "CONFIG_EXT2_FS_SECURITY"},
	{Name: "xfs", Magic: 0x58465342},
	{Name: "btrfs", Magic: 0x9123683e},
	{Name: "f2fs", Magic: 0xf2f52010, Option: "CONFIG_F2FS_FS_SECURITY"},
	{Name: "jffs2", Magic: 0x72b6, Option: "CONFIG_JFFS2_FS_SECURITY"},
	{Name: "ubifs", Magic: 0x24051905, Option: "CONFIG_UBIFS_FS_SECURITY"},
	{Name: "zfs", Magic: 0x2fc12fc1},
}

// magicExt is that of ext2, ext3 and ext4.
const magicExt = 0xef53

// Magic numbers that appraisal itself looks for.
const (
	MagicFUSE    = 0x65735546
	MagicOverlay = 0x794c7630
)

// Filesystems returns the known types, appraise_tcb's exclusions first. The caller
// owns the slice.
func Filesystems() []Filesystem { return slices.Clone(filesystems) }

// Excluded returns the types that appraise_tcb excludes, in its order: pseudo
// file systems that a walk need not enter.
func Excluded() []Filesystem {
	return slices.DeleteFunc(Filesystems(), func(f Filesystem) bool { return !f.Excluded })
}

// ByName returns the type of the name.
func ByName(name string) (Filesystem, bool) {
	for _, f := range filesystems {
		if f.Name == name {
			return f, true
		}
	}
	return Filesystem{}, false
}

// MagicOf returns the magic number of the type.
func MagicOf(name string) (uint32, bool) {
	f, ok := ByName(name)
	return f.Magic, ok
}

// NameOf returns a type with the magic number, the commonest one if several
// share it.
func NameOf(magic uint32) (string, bool) {
	f, ok := ByMagic(magic)
	return f.Name, ok
}

// ByMagic returns a type with the magic number, the commonest one if several share
// it.
func ByMagic(magic uint32) (Filesystem, bool) {
	for _, f := range filesystems {
		if f.Magic == magic {
			return f, true
		}
	}
	return Filesystem{}, false
}
