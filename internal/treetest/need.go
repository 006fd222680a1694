package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Root skips the test unless it may act as root: IMASEAL_TEST holds the word
// root, and it is root.
func Root(t testing.TB) {
	t.Helper()
	if !slices.Contains(strings.FieldsFunc(os.Getenv("IMASEAL_TEST"), notLetter), "root") {
		t.Skip("needs IMASEAL_TEST=root (make test-root)")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func notLetter(r rune) bool { return r < 'a' || r > 'z' }

// Tool returns the path of a program. One that is missing skips the test,
// but fails it where CI is true, for there everything is installed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		missing(t, "the program "+name)
	}
	return path
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s, which is missing", what)
	}
	t.Skipf("needs %s", what)
}

// UserAttrs skips the test unless files of the directory can have attributes
// whose names begin with "user.": a tmpfs has them since Linux 6.6.
func UserAttrs(t testing.TB, dir string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "attr")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := unix.Fsetxattr(int(f.Fd()), "user.imaseal", nil, 0); err != nil {
		t.Skipf("needs user attributes on %s: %v", dir, err)
	}
}

// nobody is a user that owns nothing.
const nobody = 65534

// AsUser reports whether the test goes on in this process, which is then not
// root's. For root it runs the test again, as a user without privilege, and
// returns false.
func AsUser(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	name := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	// The program's directory may be closed to others, the process is not.
	cmd := exec.Command("/proc/self/exe", "-test.run="+name, "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", nobody, err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("as user %d:\n%s", nobody, out)
	}
	return false
}
