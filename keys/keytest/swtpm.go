package keytest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"imaseal/internal/treetest"
)

// A TPM is a simulated one of the test's own.
type TPM struct {
	t     testing.TB
	dir   string
	cmd   *exec.Cmd
	TCTI  string // its name for tpm2-tools
	Files string // a directory for files of the tools
}

// NewTPM starts a TPM, names it in the environment as tpm2-tools and tpm2-openssl
// want it, and stops it when the test ends. A test that uses it cannot run in
// parallel with others.
func NewTPM(t testing.TB) *TPM {
	t.Helper()
	treetest.Tool(t, "swtpm")
	treetest.Tool(t, "tpm2_createprimary")
	dir, err := os.MkdirTemp("", "tpm") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &TPM{t: t, dir: dir, TCTI: "swtpm:path=" + filepath.Join(dir, "tpm"), Files: t.TempDir()}
	t.Setenv("TPM2TOOLS_TCTI", m.TCTI)
	t.Setenv("TPM2OPENSSL_TCTI", m.TCTI)
	m.Start()
	t.Cleanup(m.Stop)
	return m
}

// Start starts the TPM again after Stop. What was not persistent is gone.
func (m *TPM) Start() {
	m.t.Helper()
	socket := filepath.Join(m.dir, "tpm")
	m.start(socket, "--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
}

// Restart starts the TPM again for a machine of qemu's, and returns its control
// socket. Tools cannot use it any more.
func (m *TPM) Restart() string {
	m.t.Helper()
	m.Stop()
	control := filepath.Join(m.dir, "tpm.ctrl")
	m.start(control, "--ctrl", "type=unixio,path="+control)
	return control
}

// start starts swtpm and waits for a socket.
func (m *TPM) start(socket string, args ...string) {
	m.t.Helper()
	m.cmd = exec.Command("swtpm", append([]string{"socket", "--tpm2", "--tpmstate", "dir=" + m.dir}, args...)...)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("swtpm does not begin")
		}
	}
}

// Stop stops the TPM, if it runs.
func (m *TPM) Stop() {
	if m.cmd == nil {
		return
	}
	m.cmd.Process.Kill()
	m.cmd.Wait()
	m.cmd = nil
	for _, name := range []string{"tpm", "tpm.ctrl"} {
		os.Remove(filepath.Join(m.dir, name))
	}
}

// Tool runs one of tpm2-tools, and flushes what it left in the TPM.
func (m *TPM) Tool(tool string, args ...string) {
	m.t.Helper()
	Run(m.t, tool, append([]string{"-Q"}, args...)...)
	Run(m.t, "tpm2_flushcontext", "-t")
}

// Primary makes the storage root key, and returns its file for the tools.
func (m *TPM) Primary() string {
	m.t.Helper()
	file := filepath.Join(m.Files, "primary.ctx")
	m.Tool("tpm2_createprimary", "-C", "o", "-G", "ecc256:null:aes128cfb", "-g", "sha256", "-c", file,
		"-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt")
	return file
}

// Make makes a key with tpm2_create, under the primary key, and leaves it at a
// persistent handle.
func (m *TPM) Make(handle string, args ...string) {
	m.t.Helper()
	primary, name := m.Primary(), filepath.Join(m.Files, handle)
	m.Tool("tpm2_create", append([]string{"-C", primary, "-u", name + ".pub", "-r", name + ".priv"}, args...)...)
	m.Tool("tpm2_load", "-C", primary, "-u", name+".pub", "-r", name+".priv", "-c", name+".ctx")
	m.Tool("tpm2_evictcontrol", "-C", "o", "-c", name+".ctx", handle)
}

// Generate makes a key file with tpm2-openssl.
func (m *TPM) Generate(args ...string) string {
	m.t.Helper()
	if _, err := Try(m.t, "openssl", "list", "-providers", "-provider", "tpm2"); err != nil {
		if os.Getenv("CI") == "true" {
			m.t.Fatalf("no tpm2-openssl in CI: %v", err)
		}
		m.t.Skipf("no tpm2-openssl: %v", err)
	}
	file := filepath.Join(m.t.TempDir(), "key.pem")
	Run(m.t, "openssl", append([]string{"genpkey", "-provider", "tpm2", "-provider", "default", "-out", file}, args...)...)
	if err := os.Chmod(file, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}

// Import writes a private key into the TPM, at a persistent handle, and returns a
// file with it that only this TPM opens.
func (m *TPM) Import(key, handle string) (file string) {
	m.t.Helper()
	kind := "ecc"
	if bytes.Contains(Run(m.t, "openssl", "pkey", "-in", key, "-noout", "-text"), []byte("modulus")) {
		kind = "rsa"
	}
	primary, name := m.Primary(), filepath.Join(m.Files, handle)
	m.Tool("tpm2_import", "-C", primary, "-G", kind, "-i", key, "-u", name+".pub", "-r", name+".priv", "-a", "userwithauth|sign")
	m.Tool("tpm2_load", "-C", primary, "-u", name+".pub", "-r", name+".priv", "-c", name+".ctx")
	m.Tool("tpm2_evictcontrol", "-C", "o", "-c", name+".ctx", handle)
	m.Tool("tpm2_encodeobject", "-C", primary, "-u", name+".pub", "-r", name+".priv", "-o", name+".pem")
	if err := os.Chmod(name+".pem", 0o600); err != nil {
		m.t.Fatal(err)
	}
	return name + ".pem"
}
