package kernellab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Series are the kernels a label is shown to, oldest first.
var Series = []string{"6.1", "6.12", "7.x"}

// suites are the Debian releases the series come from. A moving one may be
// missing, and then its tests are skipped.
var suites = map[string]struct {
	name   string
	moving bool
}{
	"6.1":  {name: "bookworm"},
	"6.12": {name: "trixie"},
	"7.x":  {name: "sid", moving: true},
}

// checkEvery is how long a kernel counts as the newest of its suite.
const checkEvery = 36 * time.Hour

// retryAfter is how long a suite that cannot be reached is left alone.
const retryAfter = time.Hour

// kernelPackages are those that hold one version's files. Newer releases split
// what was linux-image before.
var kernelPackages = regexp.MustCompile(`(?m)^linux-(?:base|image|binary|modules)-[0-9].*-cloud-amd64$`)

// A Kernel is one unpacked Debian cloud kernel.
type Kernel struct {
	Series  string // one of Series
	Version string // of the package, such as 6.12.117+deb13-cloud-amd64
	dir     string
}

// Image is the path of the bootable kernel.
func (k Kernel) Image() string { return filepath.Join(k.dir, "vmlinuz") }

// Config is the path of the configuration the kernel was built with.
func (k Kernel) Config() string { return filepath.Join(k.dir, "config") }

// Kernel returns the newest kernel of a series, downloading it if need be.
// Without network the newest one in the cache serves.
func (l *Lab) Kernel(t testing.TB, series string) Kernel {
	t.Helper()
	k, stale, err := l.kernel(series)
	if stale != nil {
		t.Logf("%s is not the newest perhaps: %v", k.Version, stale)
	}
	if err == nil {
		return k
	}
	if suites[series].moving {
		t.Skipf("no kernel %s: %v", series, err)
	}
	t.Fatalf("no kernel %s: %v", series, err)
	return Kernel{}
}

// kernel finds a kernel, or the second best: stale says why it is not the newest.
func (l *Lab) kernel(series string) (k Kernel, stale, err error) {
	if _, ok := suites[series]; !ok {
		return Kernel{}, nil, fmt.Errorf("unknown series %q", series)
	}
	dir := filepath.Join(l.cache, "kernels", series)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Kernel{}, nil, fmt.Errorf("making cache directory: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return Kernel{}, nil, err
	}
	defer unlock()
	k, age, err := current(dir, series)
	if err == nil && age < checkEvery {
		return k, nil, nil
	}
	fresh, freshErr := newest(dir, series)
	if freshErr == nil {
		return fresh, nil, nil
	}
	if err != nil {
		return Kernel{}, nil, freshErr
	}
	again := time.Now().Add(retryAfter - checkEvery)
	return k, freshErr, os.Chtimes(filepath.Join(dir, "current"), again, again)
}

// current is the kernel found when the suite was last looked at, and how long
// that is ago.
func current(dir, series string) (Kernel, time.Duration, error) {
	name := filepath.Join(dir, "current")
	version, err := os.ReadFile(name)
	if err != nil {
		return Kernel{}, 0, fmt.Errorf("reading current kernel: %w", err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return Kernel{}, 0, fmt.Errorf("reading current kernel: %w", err)
	}
	k := Kernel{Series: series, Version: string(version), dir: filepath.Join(dir, string(version))}
	if !exists(k.Image()) {
		return Kernel{}, 0, fmt.Errorf("no %s in the cache", k.Version)
	}
	return k, time.Since(info.ModTime()), nil
}

// newest asks the archive for the newest kernel of a series and gets it.
func newest(dir, series string) (k Kernel, err error) {
	tmp, err := os.MkdirTemp(dir, ".apt-*")
	if err != nil {
		return Kernel{}, fmt.Errorf("making apt directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	apt, err := openArchive(tmp, suites[series].name)
	if err != nil {
		return Kernel{}, err
	}
	all, err := apt.needed([]string{"linux-image-cloud-amd64"})
	if err != nil {
		return Kernel{}, err
	}
	packages := slices.DeleteFunc(all, func(name string) bool { return !kernelPackages.MatchString(name) })
	version := ""
	for _, p := range packages {
		if v, ok := strings.CutPrefix(p, "linux-image-"); ok {
			version = v
		}
	}
	if version == "" {
		return Kernel{}, fmt.Errorf("no kernel among the dependencies of linux-image-cloud-amd64: %q", all)
	}
	k = Kernel{Series: series, Version: version, dir: filepath.Join(dir, version)}
	err = cached(k.dir, func(dir string) error { return apt.unpack(dir, packages) })
	if err != nil {
		return Kernel{}, err
	}
	return k, writeFile(filepath.Join(dir, "current"), version)
}

// unpack downloads packages and moves what a boot needs into dir.
func (a *archive) unpack(dir string, packages []string) error {
	if _, err := a.run("apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	root := filepath.Join(a.dir, "root")
	if err := a.extract(root); err != nil {
		return err
	}
	for _, want := range []struct{ name, old, split string }{
		{"vmlinuz", "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"},
		{"config", "boot/config-*", "usr/lib/modules/*/config"},
		{"modules", "lib/modules/*/kernel", "usr/lib/modules/*/kernel"},
	} {
		if err := moveOne(filepath.Join(dir, want.name), root, want.old, want.split); err != nil {
			return err
		}
	}
	return nil
}

// moveOne moves the first match of any of the patterns in root to path.
func moveOne(path, root string, patterns ...string) error {
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			return fmt.Errorf("looking for %s: %w", p, err)
		}
		if len(found) > 0 {
			return os.Rename(found[0], path)
		}
	}
	return fmt.Errorf("no %s in the kernel packages", strings.Join(patterns, ", "))
}

// writeFile replaces a small file in one step.
func writeFile(path, content string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}
