package ext4

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attached returns the loop device that a file is attached to, "" for none: by the
// name that each device says it has, and, as far as one may open it, by the inode.
// Kernel: Documentation/ABI/testing/sysfs-block-loop; drivers/block/loop.c.
func attached(st *unix.Stat_t) string {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return ""
	}
	for _, file := range files {
		device := "/dev/" + strings.Split(file, "/")[3]
		name, err := os.ReadFile(file)
		if err != nil {
			continue // detached meanwhile
		}
		if isSame(strings.TrimSuffix(string(name), "\n"), st) || backs(device, st) {
			return device
		}
	}
	return ""
}

func isSame(name string, st *unix.Stat_t) bool {
	info, err := os.Stat(name)
	if err != nil {
		return false
	}
	is, ok := info.Sys().(*syscall.Stat_t)
	return ok && uint64(is.Dev) == uint64(st.Dev) && is.Ino == st.Ino
}

// backs asks a loop device for its file.
func backs(device string, st *unix.Stat_t) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	return err == nil && info.Device == kernelDevice(uint64(st.Dev)) && info.Inode == st.Ino
}

// kernelDevice is a device number as a loop device tells it (huge_encode_dev() in
// include/linux/kdev_t.h, which is that of stat(2) for what there is).
func kernelDevice(dev uint64) uint64 {
	major, minor := uint64(unix.Major(dev)), uint64(unix.Minor(dev))
	return minor&0xff | major<<8 | minor&^0xff<<12
}
