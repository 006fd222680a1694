package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/host"
	"imaseal/internal/treetest"
)

// What the running kernel refuses is refused first, and what it protects counts.
func TestEVMOfRunningKernel(t *testing.T) {
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	treetest.Add(t, dir, `file tree/f content=x
file evm.key content=0123456789abcdef0123456789abcdeg mode=0600
file root/proc/sys/kernel/osrelease content="6.12.1\n"
file root/boot/config-6.12.1 content="CONFIG_EVM=y\nCONFIG_IMA_APPRAISE=y\nCONFIG_SECURITY_SMACK=y\n"
file root/sys/kernel/security/integrity/evm/evm content="0\n"
file root/sys/kernel/security/integrity/evm/evm_xattrs content="security.SMACK64\nsecurity.ima\nsecurity.capability\nsecurity.mine\n"`)
	root := filepath.Join(dir, "root")
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		args = append(args, "--owner=any", "--evm-key="+filepath.Join(dir, "evm.key"), filepath.Join(dir, "tree"))
		status := Main(context.Background(), Program{
			Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Host: host.Host{Root: root},
		})
		return status, out.String()
	}
	status, out := run("hash", "--evm=hmac", "--namespace=security")
	if status != exitFailure || !strings.Contains(out, "error: the running kernel takes no EVM HMACs from user space\n") || !strings.Contains(out, "hint: before the EVM key is loaded") {
		t.Errorf("%d, %s", status, out)
	}
	const said = "imaseal: EVM as in the running kernel 6.12.1: SMACK64 ima capability mine, without file system UUID\n"
	if _, out := run("hash", "--evm=hmac", "--namespace=user", "--dry-run"); !strings.Contains(out, said) {
		t.Errorf("%s", out)
	}
	if _, out := run("verify", "--namespace=user", "--evm-xattr=security.other"); !strings.Contains(out, "ima capability mine other, without") {
		t.Errorf("%s", out)
	}
	if _, out := run("verify", "--namespace=user", "--kernel-config="+filepath.Join(root, "boot/config-6.12.1")); strings.Contains(out, "mine") {
		t.Errorf("another kernel's list counted: %s", out)
	}
	for _, quiet := range []string{"--quiet", "--json"} {
		if _, out := run("hash", "--evm=hmac", "--namespace=user", "--dry-run", quiet); strings.Contains(out, "EVM as") {
			t.Errorf("%s: %s", quiet, out)
		}
	}
	// With metadata writes allowed, HMACs are.
	if err := os.WriteFile(filepath.Join(root, "sys/kernel/security/integrity/evm/evm"), []byte("4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, out := run("hash", "--evm=hmac", "--namespace=security", "--dry-run"); strings.Contains(out, "takes no EVM HMACs") {
		t.Errorf("%d, %s", status, out)
	}
}
