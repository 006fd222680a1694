package keytest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
)

// An HSM is a SoftHSM of the test's own, with tokens in its own directory. All
// user PINs are PIN.
type HSM struct {
	t testing.TB
	// Module is the path of SoftHSM's module.
	Module string
}

// PIN is the user PIN of the tokens of an HSM.
const PIN = "1234"

// NewHSM makes tokens with the labels. A test that uses it cannot run in
// parallel with others.
func NewHSM(t testing.TB, tokens ...string) *HSM {
	t.Helper()
	treetest.Tool(t, "softhsm2-util")
	treetest.Tool(t, "p11-kit")
	h := &HSM{t: t}
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			h.Module = path
		}
	}
	dir := t.TempDir()
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir)
	t.Setenv("SOFTHSM2_CONF", File(t, []byte(conf)))
	for _, label := range tokens {
		Run(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678")
	}
	return h
}

// Put writes a private key of the vectors into a token, with its public half.
func (h *HSM) Put(token, name, label, id string) {
	h.t.Helper()
	pkcs8 := filepath.Join(h.t.TempDir(), name)
	Run(h.t, "openssl", "pkcs8", "-topk8", "-nocrypt", "-in", vectors.Path(h.t, "keys/"+name+".key.pem"), "-out", pkcs8)
	Run(h.t, "softhsm2-util", "--import", pkcs8, "--token", token, "--label", label, "--id", id, "--pin", PIN, "--force")
}

// Tool runs pkcs11-tool, logged in.
func (h *HSM) Tool(token string, args ...string) {
	h.t.Helper()
	Run(h.t, "pkcs11-tool", append([]string{"--module", h.Module, "--token-label", token, "--login", "--pin", PIN}, args...)...)
}

// URI returns a PKCS#11 URI with the module's path.
func (h *HSM) URI(path string) string { return "pkcs11:" + path + "?module-path=" + h.Module }
