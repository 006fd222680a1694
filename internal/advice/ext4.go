package advice

import (
	"errors"

	"imaseal/internal/extfs"
	"imaseal/internal/partition"
	"imaseal/internal/reason"
	"imaseal/internal/tree/ext4"
)

// debugfs says where the program is from.
const debugfs = "install e2fsprogs 1.47.0 or later (apt install e2fsprogs)"

// ofExt4 is about images of file systems, and what is in them.
func ofExt4(err error) (reason.Code, string) {
	tool, isTool := errors.AsType[*ext4.ToolError](err)
	switch {
	case is[*ext4.AttachedError](err):
		return "attached", "umount and losetup -d free it; what is mounted can be labelled where it is"
	case errors.Is(err, ext4.ErrSameFile):
		return "same-file", "--in-place replaces the image, --output names another file"
	case errors.Is(err, ext4.ErrDevice):
		return "device", "mount it, and name the directory"
	case errors.Is(err, ext4.ErrNotFile):
		return "no-file", "copy it into a file"
	case isTool && (tool.Missing || tool.Old):
		return "no-debugfs", debugfs
	case isTool, is[*ext4.LostError](err):
		return "debugfs", "nothing was left; e2fsck -fn FILE tells whether the image is in order"
	case is[*ext4.FullError](err):
		return reason.NoSpace, Grow
	case errors.Is(err, ext4.ErrTooDeep):
		return "too-deep", ""
	}
	return ofPart(err)
}

// Grow makes a file system in an image larger.
const Grow = "make the file system larger: truncate -s +100M FILE, e2fsck -f FILE, resize2fs FILE"

// ofPart is about parts of disks, and what is in them.
func ofPart(err error) (reason.Code, string) {
	feature, isFeature := errors.AsType[*extfs.FeatureError](err)
	parts, isParts := errors.AsType[*ext4.PartitionedError](err)
	table, isTable := errors.AsType[*partition.TableError](err)
	const repair = "e2fsck -f FILE repairs it; of a part of a disk, e2fsck -f 'FILE?offset=BYTES'"
	switch {
	case isParts && len(parts.Ext4) > 0:
		return "partitioned", "ext4:FILE@pNUMBER names one"
	case isParts:
		return "partitioned", "mount the partition, and name the directory"
	case isTable && table.Table == "GPT":
		return "damaged-table", "gdisk FILE can restore it from its copy at the end of the disk"
	case isTable:
		return "damaged-table", "@OFFSET says where the file system begins, in bytes"
	case is[*partition.NumberError](err), errors.Is(err, partition.ErrNoTable), is[*ext4.OffsetError](err):
		return "no-partition", "sfdisk -l FILE lists the partitions; @OFFSET says where the file system begins, in bytes"
	case errors.Is(err, extfs.ErrRecover), errors.Is(err, extfs.ErrUnclean):
		return "unclean", repair
	case isFeature && feature.Writing:
		return "image-feature", "label it mounted, as root; or tune2fs -O ^FEATURE FILE takes a feature away that is not needed"
	case isFeature:
		return "image-feature", "label it mounted, as root"
	case errors.Is(err, extfs.ErrNoAttrs):
		return "image-feature", "tune2fs -O ext_attr FILE adds it"
	case is[*extfs.ForeignError](err):
		return "foreign-format", "label what it is made of: a tree, or a tar archive; an image of another kind has to be unpacked or converted first"
	case is[*extfs.NoRoomError](err):
		return NoRoom, Shorter
	case errors.Is(err, extfs.ErrOwnInode):
		return NoRoom, "label it mounted, as root"
	case errors.Is(err, extfs.ErrEncrypted), errors.Is(err, extfs.ErrCompressed):
		return "unreadable", "leave it out with --exclude, or label it mounted, with its key"
	case is[*extfs.DamagedError](err):
		return "damaged-image", repair
	}
	return "", ""
}

// NoRoom is the code of labels that do not fit beside the other attributes of a
// file.
const NoRoom reason.Code = "no-room"

// Shorter is what makes labels fit.
const Shorter = "a P-256 or RSA-2048 key makes shorter signatures; or make the file system with larger blocks (mkfs.ext4 -b 4096)"
