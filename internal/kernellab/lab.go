package kernellab

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// tools are the programs the lab calls, and the Debian packages they come from.
var tools = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"busybox":            "busybox-static",
	"mmdebstrap":         "mmdebstrap",
	"mkfs.ext4":          "e2fsprogs",
	"tune2fs":            "e2fsprogs",
	"debugfs":            "e2fsprogs",
	"mkfs.xfs":           "xfsprogs",
	"xfs_admin":          "xfsprogs",
	"mount":              "mount",
	"umount":             "mount",
	"tar":                "tar",
	"xz":                 "xz-utils",
	"cp":                 "coreutils",
	"mksquashfs":         "squashfs-tools",
	"tar2sqfs":           "squashfs-tools-ng",
	"dpkg":               "dpkg",
	"apt-get":            "apt",
	"apt-cache":          "apt",
}

// A Lab is what the tests of one test function share: the cache of kernels and
// trees, and a directory for images that goes away with the test. Its methods are
// safe for concurrent use, by parallel subtests.
type Lab struct {
	cache string
	run   string // images, initramfs files, mount points
	probe []byte // the guest program

	imaseal func() (string, error) // builds the program under test, once
}

// Open prepares the lab, or skips the test if IMASEAL_TEST does not contain the
// word kernel, or root or a tool is missing. With CI=true the latter fail.
func Open(t testing.TB) *Lab {
	t.Helper()
	words := strings.FieldsFunc(os.Getenv("IMASEAL_TEST"), func(r rune) bool { return r == ' ' || r == ',' })
	if !slices.Contains(words, "kernel") {
		t.Skip("set IMASEAL_TEST=kernel to boot kernels")
	}
	if err := equipped(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := open(t)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// equipped says what this machine lacks.
func equipped() error {
	if os.Geteuid() != 0 {
		return errors.New("the kernel lab needs root, to mount images")
	}
	var missing []string
	for program, pkg := range tools {
		if lookPath(program) == "" {
			missing = append(missing, program+"="+pkg)
		}
	}
	if p := lookPath("busybox"); p != "" && !isStatic(p) {
		missing = append(missing, p+"=busybox-static") // that of package busybox wants libraries
	}
	if missing == nil {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("the kernel lab needs programs=packages %s", strings.Join(missing, " "))
}

// isStatic says whether a program runs without a dynamic loader.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// lookPath finds a program also where only root's path leads, "" if nowhere.
func lookPath(program string) string {
	for _, dir := range filepath.SplitList(searchPath()) {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p
		}
	}
	return ""
}

func open(t testing.TB) (*Lab, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(cache, "run")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, fmt.Errorf("making cache directory: %w", err)
	}
	if err := sweep(runs); err != nil {
		t.Logf("sweeping leftovers: %v", err)
	}
	run, err := os.MkdirTemp(runs, "lab-*")
	if err != nil {
		return nil, fmt.Errorf("making run directory: %w", err)
	}
	unlock, err := lock(filepath.Join(run, "lock"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := remove(run); err != nil {
			t.Errorf("removing run directory: %v", err)
		}
		unlock()
	})
	l := &Lab{cache: cache, run: run}
	l.imaseal = sync.OnceValues(func() (string, error) { return l.build("imaseal") })
	program, err := l.build("imaseal/internal/kernellab/probe")
	if err != nil {
		return nil, err
	}
	if l.probe, err = os.ReadFile(program); err != nil {
		return nil, fmt.Errorf("reading guest program: %w", err)
	}
	return l, nil
}

// Imaseal returns the path of the program under test.
func (l *Lab) Imaseal(t testing.TB) string {
	t.Helper()
	program, err := l.imaseal()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// build makes a static program of one of this module's packages.
func (l *Lab) build(pkg string) (string, error) {
	program := filepath.Join(l.run, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", pkg, err, out)
	}
	return program, nil
}

// sweep removes what killed test processes left: their locks are free.
func sweep(runs string) error {
	dirs, err := os.ReadDir(runs)
	if err != nil {
		return fmt.Errorf("listing %s: %w", runs, err)
	}
	var errs []error
	for _, d := range dirs {
		dir := filepath.Join(runs, d.Name())
		f, err := os.Open(filepath.Join(dir, "lock"))
		if err != nil {
			continue // another process is just making it
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			errs = append(errs, remove(dir))
		}
		f.Close()
	}
	return errors.Join(errs...)
}

// remove unmounts what is mounted below dir, which frees the loop devices, and
// deletes it.
func remove(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	for _, p := range slices.Backward(points) {
		if err := unix.Unmount(p, 0); err != nil {
			return fmt.Errorf("unmounting %s: %w", p, err)
		}
	}
	return os.RemoveAll(dir)
}
