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
)

// laterSuite is the Debian release after the one that the tests are for.
const laterSuite = "trixie"

// Where a later release has its libraries, and what runs a program with them.
const (
	laterLibraries = "usr/lib/x86_64-linux-gnu"
	laterLoader    = laterLibraries + "/ld-linux-x86-64.so.2"
)

// packageName begins a line of apt-cache depends that is no dependency.
var packageName = regexp.MustCompile(`(?m)^[a-z0-9][a-z0-9+.:-]*$`)

// later returns a directory with packages of the later release and all that they
// need, extracted and not installed. Without network one in the cache serves.
func (l *Lab) later(t testing.TB, packages ...string) string {
	t.Helper()
	dir := filepath.Join(l.cache, "programs", laterSuite+"-"+strings.Join(packages, "-"))
	err := cached(dir, func(dir string) (err error) {
		tmp := filepath.Join(dir, "apt")
		defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
		apt, err := openArchive(tmp, laterSuite)
		if err != nil {
			return err
		}
		names, err := apt.needed(packages)
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

// laterProgram returns what runs a program of a directory that later made, or nil
// if it has none of this name.
func laterProgram(dir, program string) []string {
	for _, bin := range []string{"usr/bin", "usr/sbin"} {
		if path := filepath.Join(dir, bin, program); exists(path) {
			return []string{filepath.Join(dir, laterLoader), "--library-path", filepath.Join(dir, laterLibraries), path}
		}
	}
	return nil
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
