package kernellab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An FS is a filesystem type the lab can make.
type FS string

// The filesystem types.
const (
	Ext4 FS = "ext4"
	XFS  FS = "xfs"
)

// Filesystems are the types a label is tried on.
var Filesystems = []FS{Ext4, XFS}

// An Image is a filesystem in a file.
type Image struct {
	FS   FS
	Path string
	dir  string // where to mount it
}

// NewImage makes an empty filesystem. A size of 0 is the least that both types
// take, an empty uuid a random one.
func (l *Lab) NewImage(t testing.TB, fs FS, size int64, uuid string) Image {
	t.Helper()
	img := l.newImage(t, fs)
	if err := img.format(max(size, 320<<20), uuid); err != nil {
		t.Fatal(err)
	}
	return img
}

// TreeImage makes an image with the Debian tree, unlabelled, ready to mount or
// to boot. It is a copy of one in the cache, filesystem UUID included.
func (l *Lab) TreeImage(t testing.TB, fs FS) Image {
	t.Helper()
	base, err := l.baseImage(fs)
	if err != nil {
		t.Fatal(err)
	}
	img := l.newImage(t, fs)
	if err := copySparse(base, img.Path); err != nil {
		t.Fatal(err)
	}
	return img
}

// Copy makes a second image with the same content. The image is not mounted.
func (l *Lab) Copy(t testing.TB, img Image) Image {
	t.Helper()
	dup := l.newImage(t, img.FS)
	if err := copySparse(img.Path, dup.Path); err != nil {
		t.Fatal(err)
	}
	return dup
}

// newImage reserves a name; the file goes when the test ends.
func (l *Lab) newImage(t testing.TB, fs FS) Image {
	t.Helper()
	dir, err := os.MkdirTemp(l.run, string(fs)+"-*")
	if err != nil {
		t.Fatalf("making image directory: %v", err)
	}
	t.Cleanup(func() {
		if err := remove(dir); err != nil {
			t.Errorf("removing image: %v", err)
		}
	})
	return Image{FS: fs, Path: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mnt")}
}

func copySparse(from, to string) error {
	_, err := command("", "cp", "--sparse=always", "--reflink=auto", from, to)
	return err
}

// format makes the filesystem.
func (i Image) format(size int64, uuid string) error {
	f, err := os.OpenFile(i.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("making image: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return fmt.Errorf("sizing image: %w", err)
	}
	args := []string{"-q"}
	switch {
	case i.FS == Ext4:
		// Whole inode tables: nothing is left for the guest to do behind our back.
		args = append(args, "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")
		if uuid != "" {
			args = append(args, "-U", uuid)
		}
	case uuid != "":
		args = append(args, "-m", "uuid="+uuid)
	}
	_, err = command("", "mkfs."+string(i.FS), append(args, i.Path)...)
	return err
}

// Mount mounts the image on this machine and returns the mount point. It is
// unmounted at the latest when the test ends.
func (i Image) Mount(t testing.TB) string {
	t.Helper()
	if err := i.mount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.unmount(); err != nil {
			t.Error(err)
		}
	})
	return i.dir
}

// Unmount writes everything into the image, which can be booted then.
func (i Image) Unmount(t testing.TB) {
	t.Helper()
	if err := i.unmount(); err != nil {
		t.Fatal(err)
	}
}

// SetUUID gives an image that is not mounted another filesystem UUID.
func (i Image) SetUUID(t testing.TB, uuid string) {
	t.Helper()
	// Once mounted, a file system would have to be checked first.
	program, args := "tune2fs", []string{"-f", "-T", "now", "-U", uuid}
	if i.FS == XFS {
		program, args = "xfs_admin", []string{"-U", uuid}
	}
	if _, err := command("", program, append(args, i.Path)...); err != nil {
		t.Fatal(err)
	}
}

// Debugfs runs debugfs commands, one a line, on an ext4 image that is not
// mounted. It writes what no kernel lets anybody write: inode generations,
// HMACs.
func (i Image) Debugfs(t testing.TB, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatalf("writing debugfs script: %v", err)
	}
	// It exits with 0 whatever happens, and complains line by line.
	out, err := exec.Command(lookPath("debugfs"), "-w", "-f", file, i.Path).CombinedOutput()
	if err != nil {
		t.Fatalf("running debugfs: %v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "debugfs") {
			t.Fatalf("debugfs: %s", line)
		}
	}
}

func (i Image) mount() error {
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		return fmt.Errorf("making mount point: %w", err)
	}
	opts := []string{"loop"}
	if i.FS == XFS {
		opts = append(opts, "nouuid") // copies of one image have the same
	}
	_, err := command("", "mount", "-t", string(i.FS), "-o", strings.Join(opts, ","), i.Path, i.dir)
	return err
}

// unmount does nothing if the image is not mounted.
func (i Image) unmount() error {
	err := unix.Unmount(i.dir, 0)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmounting %s: %w", i.dir, err)
}
