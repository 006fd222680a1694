package extfs

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// mount mounts an image, and returns the directory.
func mount(t *testing.T, image string, options string) string {
	t.Helper()
	treetest.Root(t)
	dir := filepath.Join(filepath.Dir(image), "mounted")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop,"+options, image, dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func command(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(treetest.Tool(t, program), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// TestReadsKernel reads what the kernel has written: attributes of all kinds, in
// inodes, in blocks that several files share, and in inodes of their own; large
// directories, holes, and blocks that were never written.
func TestReadsKernel(t *testing.T) {
	treetest.Root(t)
	for name, options := range map[string][]string{
		"default": {"-b", "4096"}, "1k": {"-b", "1024"}, "ea_inode": {"-O", "ea_inode", "-b", "1024"}, "inline": {"-O", "inline_data"},
		"old": {"-O", "^extents,^64bit,^metadata_csum,^flex_bg", "-I", "128"}, "casefold": {"-O", "casefold"},
	} {
		t.Run(name, func(t *testing.T) {
			image := treetest.Ext4(t, treetest.Make(t, ""), 64, options...)
			if _, err := os.Stat("/sys/fs/ext4/features/casefold"); name == "casefold" && err != nil {
				t.Skip("needs a kernel with CONFIG_UNICODE")
			}
			dir := mount(t, image, "rw")
			fill(t, dir)
			fillByKernel(t, dir, name)
			want := dumpTree(t, dir)
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			got := dump(t, open(t, image))
			compare(t, got, want)
		})
	}
}

func fillByKernel(t *testing.T, dir, name string) {
	t.Helper()
	for i, file := range []string{"many/0", "size/1", "size/4097", "size/70000", "size/61"} {
		path := filepath.Join(dir, file)
		set := func(name string, value string) {
			if err := xattr.Set(path, name, []byte(value)); err != nil {
				t.Fatalf("%s: %s: %v", file, name, err)
			}
		}
		set("trusted.x", text(i*10))
		set("security.selinux", "system_u:object_r:bin_t:s0\x00")
		set("user.same", text(100)) // a block that they may share
		if name == "ea_inode" {
			set("user.large", text(3000+i*1000))
		}
	}
	command(t, "setfacl", "-m", "u:7:r,g:8:rx", filepath.Join(dir, "size/100"))
	command(t, "setcap", "cap_net_raw+ep", filepath.Join(dir, "bin/set-id"))
	for i := range 3 {
		path := filepath.Join(dir, "shared"+strings.Repeat("x", i))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := xattr.Set(path, "user.shared", []byte(text(500))); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "allocated"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 300000); err != nil && name != "old" {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text(5000)), 100001); err != nil {
		t.Fatal(err)
	}
	if name == "casefold" {
		fold(t, filepath.Join(dir, "fold"))
	}
}

// fold makes a directory in which names differ by more than their case.
func fold(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "chattr", "+F", dir)
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(dir, "Name"+strings.Repeat("Y", i%70)+string(rune('a'+i%26))+text(i)[:min(i, 5)]), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadsVerity compares the fs-verity digest with the kernel's.
func TestReadsVerity(t *testing.T) {
	treetest.Root(t)
	image := treetest.Ext4(t, treetest.Make(t, ""), 16, "-O", "verity", "-b", "4096")
	dir := mount(t, image, "rw")
	want := make(map[string]string)
	for _, size := range []int{0, 1, 4096, 600000} {
		for _, algorithm := range []string{"sha256", "sha512"} {
			name := algorithm + "-" + strings.Repeat("x", size%97)
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text(size)), 0o644); err != nil {
				t.Fatal(err)
			}
			tool := treetest.Tool(t, "fsverity")
			if out, err := exec.Command(tool, "enable", "--hash-alg="+algorithm, "--salt=c0ffee", path).CombinedOutput(); err != nil {
				t.Skipf("needs fs-verity: %v %s", err, out)
			}
			out, err := exec.Command(tool, "measure", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			_, digest, _ := strings.Cut(strings.Fields(string(out))[0], ":")
			want[name] = digest
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	fs := open(t, image)
	for name, digest := range want {
		in, err := fs.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := fs.Content(in)
		if err != nil {
			t.Fatal(err)
		}
		algorithm, got, err := c.VerityDigest()
		if wantAlgorithm := map[string]uint16{"sha256": 1, "sha512": 2}[name[:6]]; err != nil || algorithm != wantAlgorithm || hex.EncodeToString(got) != digest {
			t.Errorf("%s: %d %x, %v, want %s", name, algorithm, got, err, digest)
		}
	}
}
