package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// TestEvmctlReplaces: evmctl replaces whatever is there, and no other label is kept.
func TestEvmctlReplaces(t *testing.T) {
	evmctlFiles(t)
	for _, old := range []string{"77", "0302", "0404ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73", ""} {
		b, _ := hex.DecodeString(old)
		if err := unix.Setxattr("f", "user.ima", b, 0); err != nil {
			t.Fatal(err)
		}
		for _, args := range []string{"ima_sign --xattr-user -k p256.key f", "ima_hash --xattr-user f"} {
			if out, errs, status := (evmctlLine{args: args}).ours(); status != 0 || len(out) < 34 {
				t.Errorf("%s over %q: %d %s%s", args, old, status, out, errs)
			}
		}
	}
}

// Under pseudo, as in a build of Yocto, a static program sees other files.
func TestEvmctlPreload(t *testing.T) {
	for preload, want := range map[string]int{"/usr/lib/libpseudo.so": 125, "libfakeroot-sysv.so": 125, "libother.so": 0, "": 0} {
		var out bytes.Buffer
		p := Program{Args: []string{"evmctl", "ima_fix", "evmctl_test.go"}, Stdout: &out, Stderr: &out, Getenv: func(name string) string {
			if name == "LD_PRELOAD" {
				return preload
			}
			return ""
		}}
		if status := Main(context.Background(), p); status != want || (status != 0) != strings.Contains(out.String(), "is preloaded") {
			t.Errorf("%q: %d %s", preload, status, &out)
		}
	}
}

// TestEvmctlItself signs directories, links and devices themselves, as evmctl does, and
// each program verifies what the other has made.
func TestEvmctlItself(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	private, crt := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	t.Chdir(root)
	if err := errors.Join(os.Symlink("plain", "link"), unix.Mknod("null", unix.S_IFCHR|0o666, 1<<8|3), os.Mkdir("dir", 0o750)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "link", "null", "plain"} {
		if err := unix.Lsetxattr(name, imaevm.AttrSELinux, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		sign := evmctlLine{args: "sign --uuid -k " + private + " " + name}
		ours, errs, status := sign.ours()
		theirs, _, _ := sign.theirs(t)
		if status != 0 || ours != theirs {
			t.Errorf("%s: %d %s\nours     %sevmctl's %s", name, status, errs, ours, theirs)
		}
		sign.ours()
		verify := evmctlLine{args: "verify --uuid -k " + crt + " " + name, err: "verification is OK"}
		out, errs, status := verify.ours()
		verify.check(t, "imaseal", out, errs, status)
		out, errs, status = verify.theirs(t)
		verify.check(t, "evmctl", out, errs, status)
		out, errs, status = evmctlLine{args: "ima_clear " + name}.ours()
		if status != 0 {
			t.Errorf("ima_clear %s: %d %s%s", name, status, out, errs)
		}
		if _, err := unix.Lgetxattr(name, imaevm.AttrEVM, nil); err != unix.ENODATA {
			t.Errorf("ima_clear %s: %v", name, err)
		}
	}
}

// TestEvmctlHMACs compares HMACs of 20 bytes with what our own command makes, which
// kernels have accepted: of a file, and of a directory against evmctl.
func TestEvmctlHMACs(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	t.Chdir(root)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcde\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	imaseal(t, 0, "hash", "--owner", "any", "--evm", "hmac", "--evm-key", key, "capable")
	want := treeLabels(t, root)["capable security.evm"]
	imaseal(t, 0, "clear", "--owner", "any", "--label", "evm", "capable")
	for _, uuid := range []string{"", " --uuid=" + fileSystemUUID(t, root)} {
		_, errs, status := evmctlLine{args: "hmac" + uuid + " --hmackey " + key + " capable"}.ours()
		if got := treeLabels(t, root)["capable security.evm"]; status != 0 || got != want || !strings.Contains(errs, "hmac: "+want[2:]+"\n") {
			t.Errorf("%s: %d %s\nhave %s\nwant %s", uuid, status, errs, got, want)
		}
	}
	_, errs, status := evmctlLine{args: "hmac --uuid --smack -v -n --hmackey " + key + " a"}.ours()
	if status != 0 || !regexp.MustCompile(`(?m)^hmac: [0-9a-f]{40}$`).MatchString(errs) {
		t.Errorf("of a directory: %d %s", status, errs)
	}
}

// TestEvmctlToken signs with a key in a token, named as openssl and p11tool name it.
func TestEvmctlToken(t *testing.T) {
	hsm := keytest.NewHSM(t, "signing")
	hsm.Put("signing", "rsa2048", "rsa", "01")
	evmctlFiles(t)
	want, _, _ := evmctlLine{args: "ima_sign -n --xattr-user -k rsa2048.key f"}.ours()
	for _, args := range []string{
		"--engine pkcs11 --keyid=dd65a4eb --key " + hsm.URI("token=signing;object=rsa;type=public") + "&pin-value=1234",
		"--provider pkcs11 --key " + hsm.URI("token=signing;object=rsa;type=private") + "&pin-value=1234",
		"-p1234 --key " + hsm.URI("token=signing;object=rsa"),
	} {
		out, errs, status := evmctlLine{args: "ima_sign -n --xattr-user f " + args}.ours()
		if status != 0 || out != want || want == "" {
			t.Errorf("%s: %d %s\n%s", args, status, errs, out)
		}
	}
}

// TestEvmctlTrees labels trees of files of all owners, and counts what fails.
func TestEvmctlTrees(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	private, crt := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	line := evmctlLine{args: "sign -r --imasig -o -k " + private + " " + root}
	_, errs, status := line.ours()
	ours := treeLabels(t, root)
	if status != 0 {
		t.Fatalf("%d %s", status, errs)
	}
	imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", root)
	clearTree(t, root)
	line.theirs(t)
	sameLabels(t, "tree", ours, treeLabels(t, root))
	if _, errs, status := (evmctlLine{args: "ima_clear -r " + root}).ours(); status != 0 || len(treeLabels(t, root)) > 0 {
		t.Errorf("ima_clear: %d %s", status, errs)
	}
	keytest.Run(t, "chattr", "+i", filepath.Join(root, "plain"))
	defer keytest.Run(t, "chattr", "-i", filepath.Join(root, "plain"))
	if _, errs, status := (evmctlLine{args: "ima_hash -r " + root}).ours(); status != 125 || !strings.Contains(errs, "immutable") {
		t.Errorf("a file that cannot be labelled: %d %s", status, errs)
	}
	// Labels are printed, and signatures in files written, before attributes are set.
	plain := filepath.Join(root, "plain")
	for args, want := range map[string]string{
		"ima_hash ":                                "^0404[0-9a-f]{64}\n$",
		"ima_sign -k " + private + " -f ":          "^0302[0-9a-f]{526}\n$",
		"sign -o --imasig -f -k " + private + " ":  "^0302[0-9a-f]{526}\n$",
		"sign -o --imahash -k " + private + " -f ": "^0404[0-9a-f]{64}\n$",
	} {
		os.Remove(plain + ".sig")
		out, errs, status := evmctlLine{args: args + plain}.ours()
		if status != 125 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: %d %s%s", args, status, out, errs)
		}
		b, err := os.ReadFile(plain + ".sig")
		if strings.HasPrefix(out, "03") && (err != nil || hex.EncodeToString(b)+"\n" != out) {
			t.Errorf("%s: the signature in a file is %x, %v", args, b, err)
		}
	}
}
