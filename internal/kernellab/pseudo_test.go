package kernellab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/vectors"
)

// TestPseudoFiles has mksquashfs read what --labels-to writes for it, whatever the
// names, and verifies the files of the image.
func TestPseudoFiles(t *testing.T) {
	l := Open(t)
	mksquashfs := laterProgram(l.later(t, "squashfs-tools"), "mksquashfs")
	dir := t.TempDir()
	in := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	names := []string{
		"a", "dir/b", `back\slash`, `end\`, `"quoted"`, " blanks ", "tab\t", "cr\r", "x y=z", "#comment", "star*[a-z]?", "\u00fc", "\xff\x01", `\134`,
		strings.Repeat("long", 60),
	}
	for _, name := range names {
		check(t, os.MkdirAll(filepath.Dir(in("tree", name)), 0o755))
		check(t, os.WriteFile(in("tree", name), []byte(name), 0o644))
	}
	check(t, os.Chmod(in("tree", "a"), 0o4755))
	check(t, os.Link(in("tree", "a"), in("tree", "hard")))
	check(t, os.Chown(in("tree", "a"), nobody, nobody)) // mksquashfs gives all to root
	check(t, os.Chmod(in("tree", "a"), 0o4755))
	key, cert := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	run(l.Imaseal(t), "sign", "--key", key, "--cert", cert, "--evm", "portable", "--as", "0:0", "--labels-to", "labels", "--labels-format", "squashfs", "tree")
	run(append(mksquashfs, "tree", "image", "-noappend", "-quiet", "-no-progress", "-all-root", "-pf", "labels")...)
	check(t, os.Mkdir(in("mnt"), 0o755))
	run("mount", "-o", "loop,ro", in("image"), in("mnt"))
	defer run("umount", in("mnt"))
	run(l.Imaseal(t), "verify", "--key", cert, "--require", "imasig,evm", "mnt")
	found := 0
	check(t, filepath.WalkDir(in("mnt"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found++
		}
		return err
	}))
	if found != len(names)+1 {
		t.Errorf("%d files in the image, want %d", found, len(names)+1)
	}
}
