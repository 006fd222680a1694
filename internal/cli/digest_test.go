package cli

import (
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// Of the running kernel nobody has said that it is the target: what it cannot
// check is refused where the tree looks like its own.
func TestDigestsOfRunningKernel(t *testing.T) {
	dir := treetest.Make(t, "file tree/f content=x\nfile root/bin/sh content=x\n")
	treetest.UserAttrs(t, dir)
	files := map[string]string{
		"proc/sys/kernel/osrelease": "6.12.9\n",
		"proc/self/uid_map":         "0 0 4294967295\n",
		"boot/config-6.12.9":        "CONFIG_IMA=y\nCONFIG_CRYPTO_HASH_INFO=y\nCONFIG_CRYPTO_SHA256=y\nCONFIG_CRYPTO_SHA512=m\n",
	}
	const module, absent = "sha512 is a module in the running kernel 6.12", "the running kernel 6.12 has no sm3"
	for _, c := range []struct {
		args   string
		status int
		stderr string // its beginning; empty for none at all
	}{
		{"hash --algo sha256 DIR/root", exitOK, ""},
		{"hash --algo sha512 DIR/root", exitFailure, "imaseal: error: " + module},
		{"hash --algo sha512 --force DIR/root", exitOK, "imaseal: warning: " + module},
		{"hash --algo sha512 DIR/tree", exitOK, "imaseal: warning: " + module},
		{"hash --algo sha512 --kernel-version 6.12 DIR/root", exitOK, ""},
		{"hash --algo sha512 --namespace user DIR/tree", exitOK, ""},
		{"hash --algo sm3 DIR/root", exitFailure, "imaseal: error: " + absent},
		{"hash --algo sm3 --force DIR/root", exitFailure, "imaseal: error: " + absent},
		{"hash --algo sm3 DIR/tree", exitOK, "imaseal: warning: " + absent},
		{"hash --algo sm3 --namespace user DIR/tree", exitOK, ""},
		{"relabel --algo sm3 --namespace user DIR/tree", exitFailure, "imaseal: error: " + absent},
		{"relabel --algo sha512 --namespace user --target-fs ext4 DIR/tree", exitOK, ""},
	} {
		args := append(strings.Fields(strings.ReplaceAll(c.args, "DIR", dir)), "--dry-run")
		if args[0] == "hash" {
			args = append(args, "--owner=any")
		}
		status, _, stderr := onHost(t, files, args...)
		stderr = strings.TrimPrefix(stderr, "imaseal: warning: no file was selected")
		if status != c.status || !strings.HasPrefix(stderr, c.stderr) || c.stderr == "" && stderr != "" {
			t.Errorf("%s: status %d, want %d: %s", c.args, status, c.status, stderr)
		}
	}
}
