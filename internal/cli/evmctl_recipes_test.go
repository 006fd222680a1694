package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// An evmctlRecipe is a command line of somebody's script, in the words of a shell, and
// what the script looks at: the status, and all that is printed, together.
type evmctlRecipe struct {
	of     string // whose it is
	line   string
	status int
	prints string // a regular expression
	// alone says that evmctl 1.4 fails at it.
	alone bool
}

// evmctlRecipes are run one after the other in a directory of the tree root, with the
// RSA key key.pem, which the passphrase secret locks in locked.pem, its certificate
// cert.der, its public key pub.pem, and the list of a kernel.
var evmctlRecipes = []evmctlRecipe{
	// Yocto's class ima-evm-rootfs, for targets of 64 and of 32 bits.
	{of: "yocto", line: `EVMCTL_KEY_PASSWORD=secret evmctl sign --imasig --portable -a sha256 --key "$PWD/locked.pem" -r root`, prints: `(?s)evm/ima signature: 264 bytes`},
	{of: "yocto", line: `evmctl ima_verify --key "cert.der" "root/lib/libc.so.6" || exit 1`, prints: `root/lib/libc\.so\.6: verification is OK\n$`},
	{of: "yocto", line: `evmctl verify     --key "cert.der" "root/lib/libc.so.6" || exit 1`, prints: `root/lib/libc\.so\.6: verification is OK\n$`},
	{of: "yocto", line: `evmctl sign --imasig --m32 --portable -a sha256 --key key.pem --keyid-from-cert cert.der root/etc/policy && evmctl verify --m32 --key cert.der root/etc/policy`, prints: `root/etc/policy: verification is OK\n$`},
	{of: "yocto", line: `evmctl verify --key cert.der root/etc/policy`, status: 1, prints: `verification failed`},
	{of: "yocto", line: `evmctl -r sign --imahash -o -k "$PWD/key.pem" root`, prints: `0404[0-9a-f]{64}\n`},
	{of: "yocto", line: `getfattr -R -m security.ima --e hex --dump ./root 2>/dev/null | grep -c 0x0404`, prints: `^3\n$`},

	// openQA's tests of openSUSE.
	{of: "openqa", line: `evmctl -a sha256 ima_sign -psecret -k $PWD/locked.pem -r root && getfattr -m . -d root/bin/tool`, prints: `security\.ima=[0-9a-zA-Z+/]{355}`},
	{of: "openqa", line: `evmctl -a sha256 ima_sign -psecret -k locked.pem -f root/bin/tool && test -e root/bin/tool.sig`, prints: `evm/ima`},
	{of: "openqa", line: `evmctl ima_verify -k cert.der root/bin/tool`, prints: `verification is OK`},
	{of: "openqa", line: `setfattr -x security.ima root/bin/tool; evmctl ima_verify -k cert.der root/bin/tool || true`, prints: `(?s)getxattr\sfailed.*root/bin/tool.*No\sdata\savailable`},
	{of: "openqa", line: `find root -type f -uid 0 -exec evmctl -a sha256 ima_hash {} \;`, prints: `^(hash\(sha256\): 0404[0-9a-f]{64}\n){4}$`},
	{of: "openqa", line: `evmctl sign -psecret -k locked.pem root/bin/tool && getfattr -m security.evm -d root/bin/tool`, prints: `security\.evm=[0-9a-zA-Z+/]{355}`, alone: true}, // blkid knows no UUID of a loop device without udev
	{of: "openqa", line: `evmctl verify -k cert.der root/bin/tool`, prints: `verification is OK`, alone: true},
	{of: "openqa", line: `setfattr -x security.evm root/bin/tool; evmctl verify -k cert.der root/bin/tool || true`, prints: `No data available`},

	// LTP's ima_setup.sh and ima_tpm.sh.
	{of: "ltp", line: `v="$(evmctl --version | cut -d' ' -f2)"; echo $v | cut -d. -f1; echo $v | cut -d. -f2`, prints: `^1\n[4-9]\n$`},
	{of: "rhel", line: `evmctl --version | awk '{print $NF}'`, prints: `^1\.[4-9][0-9.]*\n$`},
	{of: "ltp", line: `evmctl -vv ima_measurement list --ignore-violations --pcrs pcrs >hash.txt 2>&1; grep -E "^(sha1: )*PCRAgg(.*10)*:" hash.txt | tail -1 | awk '{print $NF}'`, prints: `^6a5d32a64926d5a9d5e93e2a7071623cedafff24\n$`},
	{of: "ltp", line: `evmctl ima_boot_aggregate -v --pcrs pcrs | grep "sha1:" | cut -d':' -f2`, prints: `^9797edf8d0eed36b1cf92547816051c8af4e45ee\n$`},
	{of: "ltp", line: `evmctl -r ima_fix root`},

	// Kernel documentation, ima-doc, tests of namespaces.
	{of: "kernel", line: `find root -name '*.so*' -type f -uid 0 -exec evmctl sign --imasig -o -k key.pem '{}' \; && find root ! -name '*.so*' -type f -uid 0 -exec evmctl sign --imahash -o -k key.pem '{}' \;`, prints: `evm/ima signature`},
	{of: "kernel", line: `evmctl sign --imasig --portable --key key.pem --uuid -a sha256 root/bin/tool >/dev/null 2>&1; getfattr -m ^security -e hex --dump root/bin/tool`, prints: `security\.evm=0x0502(.|\n)*security\.ima=0x0302`},
	{of: "kernel", line: `evmctl verify -o -a sha256 --imahash -k cert.der root/bin/tool`, prints: `verification is OK`},
	{of: "kernel", line: `evmctl ima_sign root/bin/tool -k key.pem && evmctl -a sha512 ima_hash root/bin/tool`, prints: `hash\(sha512\): 0406`},

	{of: "rhel", line: `find root -type f -uid 0 | while read i; do getfattr -m security.ima -d -e hex "$i" 2>/dev/null | grep -qs security.ima=0x03 && ! evmctl ima_verify -k cert.der "$i" 2>/dev/null && echo "$i"; done | wc -l`, prints: `^0\n$`},

	// Detached signatures: buckos, dnf.
	{of: "sigfile", line: `evmctl ima_sign --sigfile --key key.pem root/bin/tool >/dev/null && setfattr -x security.ima root/bin/tool && evmctl ima_setxattr --sigfile root/bin/tool.sig root/bin/tool && rm root/bin/tool.sig && evmctl ima_verify -k cert.der root/bin/tool`, prints: `root/bin/tool: verification is OK\n$`},

	// Digests.
	{of: "digests", line: `sha256sum root/bin/tool | evmctl sign_hash --key key.pem 2>/dev/null | cut -d' ' -f4`, prints: `^030204dd65a4eb0100[0-9a-f]{512}\n$`},
	{of: "fsverity", line: `sig=$(echo sha256:5161c5386613f74a6fdfa5e9debfeae6bc22a817cf10caef11bf9adb62407191 root/bin/tool | evmctl sign_hash --veritysig --key key.pem | cut -d' ' -f3 2> /dev/null); echo 0x$sig`, prints: `0x060304dd65a4eb0100`, alone: true}, // not in 1.4
}

// TestEvmctlRecipes runs the recipes by imaseal under evmctl's name, and those of which
// evmctl itself is capable by that too.
func TestEvmctlRecipes(t *testing.T) {
	treetest.Root(t)
	for _, tool := range []string{"evmctl", "getfattr", "setfattr"} {
		treetest.Tool(t, tool)
	}
	theirs, err := exec.LookPath("evmctl")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string]string{"imaseal": self, "evmctl": theirs} {
		t.Run(name, func(t *testing.T) {
			bin, dir := t.TempDir(), evmctlRecipeDir(t)
			if err := os.Symlink(program, filepath.Join(bin, "evmctl")); err != nil {
				t.Fatal(err)
			}
			for _, r := range evmctlRecipes {
				if r.alone && name == "evmctl" {
					continue
				}
				cmd := exec.Command("bash", "-c", r.line)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TPM2TOOLS_TCTI=device:/nonexistent")
				out, err := cmd.CombinedOutput()
				if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
					t.Fatal(err)
				}
				if status := cmd.ProcessState.ExitCode(); status != r.status || !regexp.MustCompile(r.prints).Match(out) {
					t.Errorf("%s: %s: status %d, want %d\n%s", r.of, r.line, status, r.status, out)
				}
			}
		})
	}
}

// evmctlRecipeDir is a directory on ext4 with what the recipes need.
func evmctlRecipeDir(t *testing.T) string {
	t.Helper()
	dir := treetest.Mount(t, "ext4", 64, "-b 4096")
	for name, content := range map[string]string{"root/lib/libc.so.6": "ELF", "root/bin/tool": "#!/bin/sh\n", "root/etc/policy": "measure\n"} {
		write(t, filepath.Join(dir, name), content)
	}
	write(t, filepath.Join(dir, "pcrs"), string(evmctlPCRs("6a5d32a64926d5a9d5e93e2a7071623cedafff24")))
	list, err := os.ReadFile(kernelList)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"list": list, "key.pem": vectors.Read(t, "keys/rsa2048.key.pem"), "cert.der": vectors.Read(t, "keys/rsa2048.cert.der")} {
		write(t, filepath.Join(dir, name), string(b))
	}
	keytest.Run(t, "openssl", "pkey", "-in", filepath.Join(dir, "key.pem"), "-aes256", "-passout", "pass:secret", "-out", filepath.Join(dir, "locked.pem"))
	return dir
}
