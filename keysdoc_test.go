package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/keys/keytest"
)

// TestKeysDocument runs the commands of doc/keys.md, in their order, with a
// simulated token and TPM.
func TestKeysDocument(t *testing.T) {
	hsm, tpm := keytest.NewHSM(t), keytest.NewTPM(t)
	for _, tool := range []string{"openssl", "pkcs11-tool"} {
		treetest.Tool(t, tool)
	}
	script, left := keyCommands(t, hsm.Module)
	dir := filepath.Join(xattrDir(t), "keys")
	if err := os.MkdirAll(filepath.Join(dir, "tree"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, "tree", name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	examples, err := filepath.Abs("doc/examples")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-eux")
	cmd.Stdin = strings.NewReader(script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+wrappers(t, tpm)+":"+examples+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left > 0 {
		t.Logf("%d blocks are not run: openssl has no ML-DSA", left)
	}
}

// keyCommands returns the commands of doc/keys.md, and how many blocks it leaves out
// because they cannot be run here.
func keyCommands(t *testing.T, module string) (script string, left int) {
	t.Helper()
	hasMLDSA := exec.Command("openssl", "genpkey", "-algorithm", "ML-DSA-65", "-out", os.DevNull).Run() == nil
	var all strings.Builder
	for _, b := range docBlocks(t, "doc/keys.md", 12) {
		if b.has("needs-ml-dsa") && !hasMLDSA {
			left++
			continue
		}
		fmt.Fprintln(&all, strings.ReplaceAll(b.text, "/usr/lib/softhsm/libsofthsm2.so", module))
	}
	return all.String(), left
}

// wrappers is a directory with imaseal, which labels as a user without privilege can,
// and tpm2-tools, which flush what they leave in a TPM without a resource manager.
func wrappers(t *testing.T, tpm *keytest.TPM) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "real", "imaseal")); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("imaseal", `case $1 in sign|verify) set -- "$@" --namespace user --owner any ;; apply) set -- "$@" --namespace user ;; esac
exec `+dir+`/real/imaseal "$@"
`)
	flush := treetest.Tool(t, "tpm2_flushcontext")
	for _, tool := range []string{"tpm2_createprimary", "tpm2_create", "tpm2_load", "tpm2_evictcontrol"} {
		write(tool, treetest.Tool(t, tool)+` "$@" && exec `+flush+" -t\n")
	}
	return dir
}
