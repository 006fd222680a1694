package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Ext4 makes an image of an ext4 file system that holds a copy of a tree, and
// returns its path. It needs no privilege. Options are those of mke2fs, -t another
// type among them.
func Ext4(t testing.TB, root string, mebibytes int, options ...string) string {
	t.Helper()
	image := filepath.Join(tempDir(t), "image")
	Sparse(t, image, int64(mebibytes)<<20)
	kind := []string{"-t", "ext4"}
	if slices.Contains(options, "-t") {
		kind = nil
	}
	run(t, Tool(t, "mke2fs"), slices.Concat(kind, []string{"-q", "-F", "-d", root}, options, []string{image})...)
	return image
}

// Sparse makes a file that is a hole.
func Sparse(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Fsck fails the test if an ext4 file system is not in order.
func Fsck(t testing.TB, image string) {
	t.Helper()
	if out, err := exec.Command(Tool(t, "e2fsck"), "-f", "-n", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// Debugfs changes an ext4 file system by the commands of debugfs(8), which must
// say nothing.
func Debugfs(t testing.TB, image string, commands ...string) {
	t.Helper()
	c := exec.Command(Tool(t, "debugfs"), "-w", "-f", "-", image)
	c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := c.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if err == nil && !strings.HasPrefix(line, "debugfs") && !strings.HasPrefix(line, "Allocated inode:") {
			t.Fatalf("debugfs: %s", out)
		}
	}
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
}
