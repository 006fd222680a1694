package kernellab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// newerLibraries are what the programs of a later release need of it.
var newerLibraries = []string{"libc6", "liblz4-1", "liblzma5", "liblzo2-2", "libzstd1", "zlib1g"}

// Program returns the path of a program of another release of Debian than this
// machine's. Its package is unpacked beside that release's libraries, and nothing
// is installed. Without network one in the cache serves.
func (l *Lab) Program(t testing.TB, suite, program, pkg string) string {
	t.Helper()
	dir := filepath.Join(l.cache, "programs", suite+"-"+program)
	if err := cached(dir, func(dir string) error { return unpackProgram(dir, suite, program, pkg) }); err != nil {
		t.Fatalf("no %s of %s: %v", program, suite, err)
	}
	return filepath.Join(dir, program)
}

func unpackProgram(dir, suite, program, pkg string) error {
	tmp, err := os.MkdirTemp(dir, ".apt-*")
	if err != nil {
		return fmt.Errorf("making apt directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	apt, err := openArchive(tmp, suite)
	if err != nil {
		return err
	}
	if _, err := apt.run("apt-get", append([]string{"download", pkg}, newerLibraries...)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return fmt.Errorf("listing packages: %w", err)
	}
	for _, deb := range debs {
		if _, err := command("", "dpkg", "-x", deb, filepath.Join(dir, "root")); err != nil {
			return err
		}
	}
	script := fmt.Sprintf(`#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
for lib in "$root"/usr/lib/*-linux-gnu; do :; done
exec "$lib"/ld-linux-x86-64.so.2 --library-path "$lib" "$root"/usr/bin/%s "$@"
`, program)
	return os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755)
}
