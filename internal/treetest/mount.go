package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a new file system of the given type and size, and returns its
// directory, which belongs to root alone. Options that begin with a hyphen
// are for mkfs, the others for mount. A tmpfs needs no image. The test is
// skipped where it cannot be had; all is undone when the test ends.
func Mount(t testing.TB, fstype string, mebibytes int, options ...string) string {
	t.Helper()
	Root(t)
	dir := filepath.Join(tempDir(t), fstype)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	size := strconv.Itoa(mebibytes) + "M"
	source := "none"
	mountOptions := []string{"size=" + size}
	if fstype != "tmpfs" {
		source = dir + ".img"
		mkfs(t, fstype, source, mebibytes, options)
		mountOptions = []string{"loop"}
	}
	for _, o := range options {
		if !strings.HasPrefix(o, "-") {
			mountOptions = append(mountOptions, o)
		}
	}
	// The program sets up the loop device such that it goes with the mount.
	run(t, Tool(t, "mount"), "-t", fstype, "-o", strings.Join(mountOptions, ","), source, dir)
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

// Overlay mounts an overlay whose layers are below a directory, of which the lower
// one is empty, and returns its directory.
func Overlay(t testing.TB, below string) string {
	t.Helper()
	Root(t)
	var dirs [4]string
	for i, name := range []string{"lower", "upper", "work", "merged"} {
		dirs[i] = filepath.Join(below, name)
		if err := os.Mkdir(dirs[i], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, Tool(t, "mount"), "-t", "overlay", "-o", "lowerdir="+dirs[0]+",upperdir="+dirs[1]+",workdir="+dirs[2], "overlay", dirs[3])
	t.Cleanup(func() { unmount(t, dirs[3]) })
	return dirs[3]
}

func mkfs(t testing.TB, fstype, image string, mebibytes int, options []string) {
	t.Helper()
	program := Tool(t, "mkfs."+fstype)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		missing(t, "loop devices")
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(mebibytes)<<20); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q"}
	for _, o := range options {
		if strings.HasPrefix(o, "-") {
			args = append(args, strings.Fields(o)...)
		}
	}
	run(t, program, append(args, image)...)
}

// unmount takes the file system out of the tree whatever still uses it, but
// something that does is an error.
func unmount(t testing.TB, dir string) {
	t.Helper()
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == nil {
		return
	}
	t.Errorf("unmounting %s: %v", dir, err)
	if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
		t.Errorf("detaching %s: %v", dir, err)
	}
}

func run(t testing.TB, program string, args ...string) {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}
