package pkcs11

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

func certificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	der, err := os.ReadFile(vectors.Path(t, "keys/"+name+".cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// withPIN returns options with the PIN.
func withPIN() Options { return Options{PIN: []byte(keytest.PIN)} }

// fault has a program of the same name stand before p11-kit. It does what the
// variable says, see faulty_test.go, and writes the names of the calls that it
// saw to the file whose path is returned.
func fault(t *testing.T, what string) (calls string) {
	t.Helper()
	real, err := exec.LookPath("p11-kit")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "p11-kit")); err != nil {
		t.Fatal(err)
	}
	calls = filepath.Join(dir, "calls")
	t.Setenv("REAL_P11_KIT", real)
	t.Setenv("P11_KIT_FAULT", what)
	t.Setenv("P11_KIT_CALLS", calls)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}
