package mounted

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// idmapped mounts a directory on another one, with its owners mapped by base.
func idmapped(t *testing.T, from, to string, base int) {
	t.Helper()
	// A process in a user namespace lends that to the mount.
	sleeper := exec.Command("sleep", "60")
	sleeper.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 1000}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 1000}},
	}
	if err := sleeper.Start(); err != nil {
		t.Skip("needs user namespaces: ", err)
	}
	defer func() { sleeper.Process.Kill(); sleeper.Wait() }()
	namespace, err := os.Open("/proc/" + strconv.Itoa(sleeper.Process.Pid) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		t.Skip("needs idmapped mounts: ", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, unix.UMOUNT_NOFOLLOW); err != nil {
			t.Error(err)
		}
	})
}

// A mount that maps owners is told from one that does not, also if both show the
// same file.
func TestOwnersMapped(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Mount(t, "ext4", 8)
	treetest.Add(t, dir, "file f content=x")
	to := t.TempDir()
	idmapped(t, dir, to, 100000)
	for path, want := range map[string]bool{dir + "/f": false, to + "/f": true} {
		tr, err := Open([]string{path}, Config{Config: walk.Config{}})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		f, err := tr.OpenPath(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		mapped, err := f.(*File).OwnersMapped()
		if err != nil || mapped != want {
			t.Errorf("%s: %v, %v", path, mapped, err)
		}
		if owner := f.Meta().UID; (owner == 100000) != want {
			t.Errorf("%s has owner %d", path, owner)
		}
	}
}

// A mount that is nowhere in /proc/self/mountinfo, as that of a chroot's files may
// be, fails no file, and is told of.
func TestUnseenMount(t *testing.T) {
	dir := treetest.Mount(t, "tmpfs", 1)
	treetest.Add(t, dir, "file f content=x")
	detached, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(detached)
	tr, err := Open([]string{"/proc/self/fd/" + strconv.Itoa(detached)}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for range 2 {
		f, err := tr.OpenPath(tr.roots[0].Path() + "/f")
		if err != nil {
			t.Fatal(err)
		}
		if mapped, err := f.(*File).OwnersMapped(); mapped || err != nil {
			t.Errorf("%v, %v", mapped, err)
		}
		f.Close()
	}
	if notes := tr.Notes(); len(notes) != 1 || notes[0].Code != reason.UnseenMount {
		t.Errorf("%+v", notes)
	}
}
