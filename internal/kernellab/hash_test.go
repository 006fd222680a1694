package kernellab

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// label gives every file of root's a hash label, with the program under test, for
// the kernel that will judge it and not for this machine's.
func label(t *testing.T, imaseal string, k Kernel, algo, dir string) {
	t.Helper()
	out, err := exec.Command(imaseal, "hash", "--quiet", "--progress", "never", "--kernel-version", k.Version, "--algo", algo, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("labelling: %v: %s", err, tail(string(out), 1000))
	}
}

func TestHashedTree(t *testing.T) {
	l := Open(t)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			k := l.Kernel(t, series)
			for _, fs := range Filesystems {
				t.Run(string(fs), func(t *testing.T) {
					t.Parallel()
					judgeHashedTree(t, l, k, fs, "sha256")
				})
			}
		})
	}
}

func TestHashAlgorithms(t *testing.T) {
	l := Open(t)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			k := l.Kernel(t, series)
			for _, algo := range []string{"sha1", "sha512"} {
				t.Run(algo, func(t *testing.T) {
					t.Parallel()
					judgeHashedTree(t, l, k, Ext4, algo)
				})
			}
		})
	}
}

// judgeHashedTree labels the Debian tree and has a kernel in enforce mode try
// every file of it, and some that were spoilt after labelling.
func judgeHashedTree(t *testing.T, l *Lab, k Kernel, fs FS, algo string) {
	img := l.TreeImage(t, fs)
	dir := img.Mount(t)
	place(t, dir, map[string]string{
		"lab/changed": "before", "lab/bare": "text", "lab/empty": "", "lab/good": "good",
		"lab/script": "#!/bin/sh\nexit 0\n", "lab/bad-script": "#!/bin/sh\nexit 0\n",
	})
	imaseal := l.Imaseal(t)
	label(t, imaseal, k, algo, dir)
	place(t, dir, map[string]string{"lab/changed": "after!", "lab/bad-script": "#!/bin/sh\nexit 1\n"})
	if err := unix.Removexattr(filepath.Join(dir, "lab/bare"), "security.ima"); err != nil {
		t.Fatal(err)
	}
	expectSpoilt(t, imaseal, dir, "lab/changed", "lab/bad-script", "lab/bare")
	probes := []Probe{
		{Name: "programs run", Op: Tree, Script: "set -e; cat /etc/os-release; /lab/script; python3 -c 'import sys, os'"},
		{Name: "changed", Op: Read, Path: "/lab/changed"},
		{Name: "changed, by cat", Op: Tree, Script: "cat /lab/changed"},
		{Name: "changed, for writing", Op: Write, Path: "/lab/changed"},
		{Name: "changed, executed", Op: Exec, Path: "/lab/bad-script"},
		{Name: "no label", Op: Read, Path: "/lab/bare"},
		{Name: "empty", Op: Read, Path: "/lab/empty"},
		{Name: "rewritten by root", Op: Tree, Script: "echo new >/lab/good && cat /lab/good"},
		{Name: "created by root", Op: Tree, Script: "echo new >/lab/new && cat /lab/new"},
	}
	spoilt := len(probes)
	probes = append(probes, wholeTree(t, dir)...)
	img.Unmount(t)
	res := l.Boot(t, Case{Kernel: k, Image: img, Append: EnforceTCB, Probes: probes})

	for _, name := range []string{"programs run", "empty", "rewritten by root", "created by root"} {
		expectAllowed(t, res, name)
	}
	expectDenied(t, res, "changed", "EACCES", "invalid-hash")
	expectDenied(t, res, "changed, by cat", "exit 1", "invalid-hash")
	expectDenied(t, res, "changed, for writing", "EACCES", "invalid-hash")
	expectDenied(t, res, "changed, executed", "EACCES", "invalid-hash")
	expectDenied(t, res, "no label", "EACCES", "missing-hash")
	for i := spoilt; i < len(probes); i++ {
		if v := res.Verdicts[i]; !v.Allowed() || v.Records != nil {
			t.Errorf("%s %s: %s at %s, %s", probes[i].Op, probes[i].Path, v.Errno, v.Step, v.Records)
		}
	}
}

// expectSpoilt runs imaseal verify, which must find these files and no others.
func expectSpoilt(t *testing.T, imaseal, dir string, names ...string) {
	t.Helper()
	out, err := exec.Command(imaseal, "verify", "--quiet", "--progress", "never", dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("verify: %v, want exit status 4: %s", err, out)
	}
	if n := strings.Count(string(out), "error: "); n != len(names) {
		t.Errorf("verify complains %d times, want %d: %s", n, len(names), out)
	}
	for _, name := range names {
		if !strings.Contains(string(out), name) {
			t.Errorf("verify does not name %s: %s", name, out)
		}
	}
}

// place writes files below dir.
func place(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// wholeTree reads every regular file, executes every program and maps every
// shared library. What lies in lab is the test's own.
func wholeTree(t *testing.T, dir string) []Probe {
	t.Helper()
	var probes []Probe
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, dir)
		if rel == "/lab" {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		probes = append(probes, Probe{Op: Read, Path: rel})
		magic, err := firstBytes(path, 4)
		if err != nil {
			return err
		}
		elf, script := magic == "\x7fELF", strings.HasPrefix(magic, "#!")
		switch {
		case info.Mode()&0o111 != 0 && (elf || script):
			probes = append(probes, Probe{Op: Exec, Path: rel})
		case elf:
			probes = append(probes, Probe{Op: MapExec, Path: rel})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

// firstBytes returns the first n bytes of a file, fewer if it is shorter.
func firstBytes(path string, n int) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, n)
	got, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return string(b[:got]), err
}

func expectAllowed(t *testing.T, res Result, name string) {
	t.Helper()
	if v := res.Verdict(t, name); !v.Allowed() {
		t.Errorf("%s: %+v, want it allowed", name, v)
	}
}

func expectDenied(t *testing.T, res Result, name, errno, cause string) {
	t.Helper()
	if v := res.Verdict(t, name); v.Errno != errno || v.Cause != cause {
		t.Errorf("%s: %+v, want %s and %s", name, v, errno, cause)
	}
}
