// Package keytest runs the tools that tests of keys and signatures compare
// with. Only tests import it.
package keytest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Run runs a tool and returns its standard output. The test fails if the tool
// does, and is skipped where there is no such tool, but not in CI.
func Run(t testing.TB, tool string, args ...string) []byte {
	t.Helper()
	out, err := Try(t, tool, args...)
	if err != nil {
		t.Fatalf("%s %q: %v", tool, args, err)
	}
	return out
}

// Try is Run for a tool that may fail. The error holds what it said.
func Try(t testing.TB, tool string, args ...string) ([]byte, error) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s in CI", tool)
		}
		t.Skipf("no %s", tool)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(nil)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = &Error{err, stderr.String()}
	}
	return out, err
}

// An Error is a tool's failure.
type Error struct {
	Err    error
	Stderr string
}

func (e *Error) Error() string { return e.Err.Error() + ": " + e.Stderr }

// File writes a file of mode 0600 into the test's own directory and returns
// its path.
func File(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
