package kernellab

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"imaseal/internal/imaevm"
)

// A userKey is a key for signatures of version 1: in a kernel's keyring a key of
// type "user", for imaseal a file with the public key.
type userKey struct {
	public string
	key    Key // in no keyring
}

// newUserKey makes one, as evmctl import --rsa does.
func newUserKey(t *testing.T, public *rsa.PublicKey) userKey {
	t.Helper()
	v1 := imaevm.KeyV1{N: public.N, E: big.NewInt(int64(public.E))}
	payload, err := v1.AppendBinary(nil)
	check(t, err)
	id, err := v1.ID()
	check(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	check(t, err)
	file := filepath.Join(t.TempDir(), "public.pem")
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return userKey{public: file, key: Key{Type: "user", Desc: id.Description(), Payload: payload}}
}

// in is the key in a keyring.
func (u userKey) in(ring string) Key {
	k := u.key
	k.Ring = ring
	return k
}

// plantVersion1 makes signatures of version 1 with evmctl, below portable ones of
// EVM. Kernels compare them with their default digest, which is SHA-256 here,
// whatever the label says.
func plantVersion1(t *testing.T, tr *trial, keys map[string]signingKey) {
	t.Helper()
	sign := func(dir string, key signingKey, algo string) {
		tr.plant(t, dir, signed, few()...)
		for _, v := range few() {
			out, err := exec.Command(lookPath("evmctl"), "ima_sign", "--rsa", "-a", algo, "-k", key.private, filepath.Join(tr.dir, dir, v.name)).CombinedOutput()
			if err != nil {
				t.Fatalf("evmctl: %v: %s", err, out)
			}
		}
		tr.over(t, dir, keys["rsa2048"], "--evm", "portable")
	}
	sign("v1", keys["rsa2048"], "sha256")
	sign("v1-sha1", keys["rsa2048"], "sha1")
	tr.kernelOnly = append(tr.kernelOnly, "v1-sha1")
	sign("v1-certificate", keys["rsa4096"], "sha256") // whose public key the kernel has, but not as a user key
	tr.kernelOnly = append(tr.kernelOnly, "v1-certificate")
	for _, dir := range []string{"v1-sha1", "v1-certificate"} {
		tr.denied(dir, "invalid-signature")
		tr.causes[dir+"/mode-changed"] = "invalid-fail-immutable"
	}
}
