package inode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Revisions of security.capability, struct vfs_cap_data and vfs_ns_cap_data in
// include/uapi/linux/capability.h.
const (
	capRevision  = 0xff000000
	capRevision2 = 0x02000000
	capRevision3 = 0x03000000
	capSize2     = 20
	capSize3     = capSize2 + 4 // and the user that is root in the namespace
)

// attrCapability is the attribute's name without security.
const attrCapability = "capability"

// ErrUnseen says that nobody here can tell which security.capability a file has.
var ErrUnseen = errors.New("not to be seen which of two forms security.capability has on the file system")

// Capability returns security.capability as the file system holds it, which is
// what EVM covers, from what getxattr(2) shows.
//
// That shows capabilities of a user namespace whose root is the reader's own, 24
// bytes of revision 3, as 20 bytes of revision 2, and those that have revision 2 as
// they are (cap_inode_getsecurity(), security/commoncap.c). No mapping of users
// tells one from the other, as seen from a user namespace both are of revision 3. So
// ext4, xfs and btrfs are asked for the size of what they hold, which takes
// CAP_SYS_ADMIN, and of ext4 its block device. For another file system, and for who
// may not ask, the error is ErrUnseen.
func Capability(f File, shown []byte) ([]byte, error) {
	if len(shown) != capSize2 || binary.LittleEndian.Uint32(shown)&capRevision != capRevision2 {
		return shown, nil // nothing else is shown for something that it is not
	}
	size, err := capabilitySize(f)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnseen, err)
	case size == capSize2:
		return shown, nil
	case size != capSize3:
		return nil, fmt.Errorf("%w: the file system holds %d bytes", ErrUnseen, size)
	}
	magic := binary.LittleEndian.Uint32(shown)&^capRevision | capRevision3
	raw := binary.LittleEndian.AppendUint32(make([]byte, 0, capSize3), magic)
	return append(append(raw, shown[4:]...), 0, 0, 0, 0), nil
}

// capabilitySize asks the file system for the size of security.capability.
func capabilitySize(f File) (int, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, err
	}
	switch uint32(fs.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return ext4Capability(f)
	case unix.XFS_SUPER_MAGIC:
		return xfsCapability(f)
	case unix.BTRFS_SUPER_MAGIC:
		return btrfsCapability(f)
	}
	return 0, errors.New("the file system does not tell")
}

var errGone = errors.New("it is gone")

// writes are the bits of a request that passes something to the kernel.
const writes = 0xc0000000 &^ reads

// A handleRequest is struct xfs_fsop_handlereq, fs/xfs/libxfs/xfs_fs.h.
type handleRequest struct {
	fd         uint32
	path       unsafe.Pointer
	flags      uint32
	handle     unsafe.Pointer
	handleSize uint32
	out        unsafe.Pointer
	outSize    *uint32
}

// An attrOperation is struct xfs_attr_multiop.
type attrOperation struct {
	code   uint32
	err    int32
	name   *byte
	value  *byte
	length uint32
	flags  uint32
}

// An attrRequest is struct xfs_fsop_attrmulti_handlereq.
type attrRequest struct {
	file  handleRequest
	count uint32
	ops   *attrOperation
}

// xfsCapability makes a handle of the file, by which xfs gives attributes as they
// are.
func xfsCapability(f File) (int, error) {
	const get, secure = 1, 8 // ATTR_OP_GET, XFS_IOC_ATTR_SECURE
	var handle [64]byte
	size := uint32(len(handle))
	dir, err := openDirectory(f)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	request := handleRequest{fd: uint32(f.Fd()), out: unsafe.Pointer(&handle), outSize: &size}
	toHandle := writes | reads | unsafe.Sizeof(request)<<16 | 'X'<<8 | 106 // XFS_IOC_FD_TO_HANDLE
	if err := ioctl(dir, toHandle, unsafe.Pointer(&request)); err != nil {
		return 0, err
	}
	name, value := append([]byte(attrCapability), 0), make([]byte, 1<<16)
	op := attrOperation{code: get, name: &name[0], value: &value[0], length: uint32(len(value)), flags: secure}
	ask := attrRequest{file: handleRequest{handle: unsafe.Pointer(&handle), handleSize: size}, count: 1, ops: &op}
	byHandle := writes | unsafe.Sizeof(ask)<<16 | 'X'<<8 | 123 // XFS_IOC_ATTRMULTI_BY_HANDLE
	err = ioctl(dir, byHandle, unsafe.Pointer(&ask))
	runtime.KeepAlive(&op)
	switch {
	case err != nil:
		return 0, err
	case op.err != 0:
		return 0, unix.Errno(-op.err)
	}
	return int(op.length), nil
}

// openDirectory opens a directory of the file system that a file is on, which is all
// that requests by handle want of it.
func openDirectory(f File) (*os.File, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	var file, its unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &file), unix.Fstat(int(dir.Fd()), &its)); err != nil || file.Dev != its.Dev {
		dir.Close()
		return nil, errors.Join(err, errGone)
	}
	return dir, nil
}

// btrfsCapability looks for the item in the tree of the file's subvolume.
func btrfsCapability(f File) (int, error) {
	const xattrItem, keySize, headerSize, dirItemSize = 24, 104, 32, 30
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	var args [4096]byte // struct btrfs_ioctl_search_args, include/uapi/linux/btrfs.h
	native := binary.NativeEndian
	for next := uint64(0); ; {
		for i, v := range []uint64{0, st.Ino, st.Ino, next, ^uint64(0), 0, ^uint64(0)} { // tree, inode, offset, transaction
			native.PutUint64(args[8*i:], v)
		}
		for i, v := range []uint32{xattrItem, xattrItem, 64, 0} { // type, number of items
			native.PutUint32(args[56+4*i:], v)
		}
		search := writes | reads | uintptr(len(args))<<16 | 0x94<<8 | 17 // BTRFS_IOC_TREE_SEARCH
		if err := ioctl(f, search, unsafe.Pointer(&args)); err != nil {
			return 0, err
		}
		found := native.Uint32(args[64:])
		if found == 0 {
			return 0, errGone
		}
		buf := args[keySize:]
		for range found {
			next = native.Uint64(buf[16:]) + 1
			item := buf[headerSize : headerSize+native.Uint32(buf[28:])]
			buf = buf[headerSize+len(item):]
			for len(item) >= dirItemSize { // struct btrfs_dir_item, include/uapi/linux/btrfs_tree.h
				data, name := int(binary.LittleEndian.Uint16(item[25:])), int(binary.LittleEndian.Uint16(item[27:]))
				if len(item) < dirItemSize+name+data {
					return 0, errDamaged
				}
				if string(item[dirItemSize:dirItemSize+name]) == "security."+attrCapability {
					return data, nil
				}
				item = item[dirItemSize+name+data:]
			}
		}
		if next == 0 {
			return 0, errGone
		}
	}
}
