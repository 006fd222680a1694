package kernellab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

const (
	// laterSuite is the Debian release after the one that the tests are for.
	laterSuite = "trixie"
	// loader runs a program with libraries of its own release.
	loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
)

// laterPackages have programs that make images of archives and are newer than the
// machine's. Another list must get another number in later.
var laterPackages = []string{"erofs-utils", "e2fsprogs", "libarchive13t64"}

// packageName begins a line of apt-cache depends that is no dependency.
var packageName = regexp.MustCompile(`(?m)^[a-z0-9][a-z0-9+.:-]*$`)

// later returns the directory of the programs of laterPackages and all that they
// need, extracted and not installed.
func (l *Lab) later(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(l.cache, "programs", laterSuite+"-2")
	err := cached(dir, func(dir string) (err error) {
		tmp := filepath.Join(dir, "apt")
		defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
		apt, err := openArchive(tmp, laterSuite)
		if err != nil {
			return err
		}
		names, err := apt.needed(laterPackages)
		if err != nil {
			return err
		}
		if _, err := apt.run("apt-get", append([]string{"download"}, names...)...); err != nil {
			return err
		}
		return apt.extract(dir)
	})
	if err != nil {
		t.Fatalf("no programs of %s: %v", laterSuite, err)
	}
	return dir
}

// needed returns the names of packages, with those that they depend on.
func (a *archive) needed(packages []string) ([]string, error) {
	tree, err := a.run("apt-cache", append([]string{"depends", "--recurse", "--no-recommends",
		"--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, packages...)...)
	names := packageName.FindAllString(tree, -1)
	slices.Sort(names)
	return slices.Compact(names), err
}

// extract unpacks what was downloaded.
func (a *archive) extract(dir string) error {
	debs, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return fmt.Errorf("listing packages: %w", err)
	}
	for _, deb := range debs {
		if _, err := command("", "dpkg", "-x", deb, dir); err != nil {
			return err
		}
	}
	return nil
}
