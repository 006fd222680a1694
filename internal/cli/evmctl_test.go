package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// evmctlTree makes a tree on a new file system: what EVM covers in many ways,
// and names that programs stumble over.
func evmctlTree(t *testing.T, fstype string) string {
	t.Helper()
	options := []string{}
	if fstype == "ext4" {
		options = append(options, "-b 4096") // room for two signatures
	}
	root := filepath.Join(treetest.Mount(t, fstype, 320, options...), "tree")
	for _, f := range []struct {
		name     string
		size     int
		mode     uint32
		uid, gid int
		attrs    map[string]string
	}{
		{name: "empty", mode: 0o600},
		{name: "plain", size: 11, mode: 0o644},
		{name: "large", size: 1<<20 + 1, mode: 0o444},
		{name: "a/b/c/deep", size: 1, mode: 0o755},
		{name: "with blank\nand newline", size: 2, mode: 0o644},
		{name: "gr\xfc\xdfe", size: 3, mode: 0o644},
		{name: "-n", size: 4, mode: 0o640},
		{name: "setuid", size: 5, mode: 0o6755, uid: 1000, gid: 1001},
		{name: "capable", size: 6, mode: 0o755, attrs: map[string]string{
			"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
			"security.selinux":    "system_u:object_r:bin_t:s0\x00",
			"security.apparmor":   "unconfined",
		}},
	} {
		path := filepath.Join(root, f.name)
		content := bytes.Repeat([]byte("imaseal"), f.size/7+1)[:f.size]
		for _, err := range []error{
			os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o600),
			os.Chown(path, f.uid, f.gid), unix.Chmod(path, f.mode),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, value := range f.attrs {
			if err := unix.Setxattr(path, name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Link(filepath.Join(root, "plain"), filepath.Join(root, "a/hard")); err != nil {
		t.Fatal(err)
	}
	return root
}

// treeFiles are the paths of all files.
func treeFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// treeLabels are both labels of all files in hexadecimal.
func treeLabels(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	value := make([]byte, 4096)
	for _, path := range treeFiles(t, root) {
		for _, name := range []string{imaevm.AttrIMA, imaevm.AttrEVM} {
			if n, err := unix.Getxattr(path, name, value); err == nil {
				all[strings.TrimPrefix(path, root+"/")+" "+name] = hex.EncodeToString(value[:n])
			}
		}
	}
	return all
}

func sameLabels(t *testing.T, what string, ours, theirs map[string]string) {
	t.Helper()
	if len(ours) == 0 {
		t.Errorf("%s: no labels", what)
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if ours[name] != theirs[name] {
			t.Errorf("%s: %q\nours   %s\nevmctl's %s", what, name, ours[name], theirs[name])
		}
	}
	if len(theirs) != len(ours) {
		t.Errorf("%s: %d labels, evmctl makes %d", what, len(ours), len(theirs))
	}
}

// imaseal runs the program, which must end with the status.
func imaseal(t *testing.T, want int, args ...string) {
	t.Helper()
	var out bytes.Buffer
	p := Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	if status := Main(context.Background(), p); status != want {
		t.Errorf("imaseal %q: status %d, want %d\n%s", args, status, want, &out)
	}
}

func clearTree(t *testing.T, root string) {
	t.Helper()
	imaseal(t, 0, "clear", "--owner", "any", root)
	if left := treeLabels(t, root); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestEvmctlHashesTrees(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	for _, algo := range []string{"md5", "sha1", "rmd160", "sha224", "sha256", "sha384", "sha512", "sm3"} {
		imaseal(t, 0, "hash", "--owner", "any", "--algo", algo, root)
		ours := treeLabels(t, root)
		clearTree(t, root)
		keytest.Run(t, "evmctl", "ima_hash", "-r", "-a", algo, root)
		sameLabels(t, algo, ours, treeLabels(t, root))
		imaseal(t, 0, "verify", "--owner", "any", root)
		clearTree(t, root)
	}
}

// evmctlKeys are the names of keys that evmctl knows by the id that we know.
var evmctlKeys = []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"}

// evmctlKinds are what evmctl and we call kinds of EVM labels. evmctl finds no
// UUID of a loop device where there is no udev.
func evmctlKinds(t *testing.T, root string) map[string][]string {
	t.Helper()
	return map[string][]string{"portable": {"-o"}, "signature": {"--uuid=" + fileSystemUUID(t, root)}}
}

func fileSystemUUID(t *testing.T, root string) string {
	t.Helper()
	device := strings.TrimSpace(string(keytest.Run(t, "findmnt", "-n", "-o", "SOURCE", "--target", root)))
	return strings.TrimSpace(string(keytest.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", device)))
}

// TestEvmctlSignsTrees signs a tree by both programs: each verifies what the
// other made and finds a change, and RSA labels are the same bytes.
func TestEvmctlSignsTrees(t *testing.T) {
	treetest.Root(t)
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			root := evmctlTree(t, fstype)
			for kind, options := range evmctlKinds(t, root) {
				for _, name := range evmctlKeys {
					for _, algo := range []string{"sha1", "sha256", "sha384", "sha512"} {
						if fstype == "xfs" && algo != "sha256" {
							continue
						}
						signBoth(t, root, name, algo, kind, options)
					}
				}
			}
		})
	}
}

func signBoth(t *testing.T, root, name, algo, kind string, options []string) {
	t.Helper()
	private, crt := vectors.Path(t, "keys/"+name+".key.pem"), vectors.Path(t, "keys/"+name+".cert.der")
	what := strings.Join([]string{name, algo, kind}, " ")
	imaseal(t, 0, "sign", "--owner", "any", "--key", private, "--cert", crt, "--algo", algo, "--evm", kind, root)
	ours := treeLabels(t, root)
	files := treeFiles(t, root)
	keytest.Run(t, "evmctl", slices.Concat([]string{"ima_verify", "--key", crt, "--"}, files)...)
	for _, path := range files {
		keytest.Run(t, "evmctl", slices.Concat([]string{"verify"}, options, []string{"--key", crt, "--", path})...)
	}
	expectEvmctlRefuses(t, root, crt, options)
	clearTree(t, root)

	keytest.Run(t, "evmctl", slices.Concat([]string{"sign", "-r", "--imasig", "-a", algo, "--key", private}, options, []string{root})...)
	imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", root)
	imaseal(t, 4, "verify", "--owner", "any", "--key", vectors.Path(t, "keys/"+otherKey(name)+".cert.der"), root)
	if strings.HasPrefix(name, "rsa") {
		sameLabels(t, what, ours, treeLabels(t, root))
	}
	imaseal(t, 0, "sign", "--owner", "any", "--key", private, "--cert", crt, "--algo", algo, "--evm", kind, root)
	if t.Failed() {
		t.Fatal(what)
	}
	clearTree(t, root)
}

// TestEvmctlUserNamespace has both programs keep labels in user attributes: portable
// signatures cover what the files really have besides, and are the same bytes.
func TestEvmctlUserNamespace(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	private, crt := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	labels := func() map[string]string {
		all := make(map[string]string)
		for _, path := range treeFiles(t, root) {
			for _, name := range []string{"user.ima", "user.evm"} {
				value := make([]byte, 1024)
				n, err := unix.Lgetxattr(path, name, value)
				if err != nil {
					t.Fatalf("%s: %s: %v", path, name, err)
				}
				all[strings.TrimPrefix(path, root+"/")+" "+name] = hex.EncodeToString(value[:n])
			}
		}
		return all
	}
	imaseal(t, 0, "sign", "--namespace", "user", "--owner", "any", "--key", private, "--cert", crt, "--evm", "portable", root)
	ours := labels()
	for _, path := range treeFiles(t, root) {
		keytest.Run(t, "evmctl", "verify", "--xattr-user", "-o", "--key", crt, "--", path)
	}
	if real := treeLabels(t, root); len(real) > 0 {
		t.Errorf("labels of security.*: %v", real)
	}
	imaseal(t, 0, "clear", "--namespace", "user", "--owner", "any", root)
	keytest.Run(t, "evmctl", "sign", "-r", "--xattr-user", "--imasig", "-o", "-a", "sha256", "--key", private, root)
	sameLabels(t, "user", ours, labels())
	imaseal(t, 0, "verify", "--namespace", "user", "--owner", "any", "--key", crt, "--require", "imasig,evm", root)
	// Moved to where kernels look, the labels are what they should be.
	moved := make(map[string]string)
	for at, label := range ours {
		moved[strings.Replace(at, " user.", " security.", 1)] = label
	}
	imaseal(t, 0, "sign", "--owner", "any", "--key", private, "--cert", crt, "--evm", "portable", root)
	sameLabels(t, "moved to security", moved, treeLabels(t, root))
}

// TestEvmctl32 signs a tree for 32-bit kernels, as evmctl --m32 does: the same
// bytes, and other ones than for 64 bits.
func TestEvmctl32(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	config := filepath.Join(t.TempDir(), "config")
	err := os.WriteFile(config, []byte("CONFIG_X86_32=y\n# CONFIG_64BIT is not set\nCONFIG_SECURITY_SELINUX=y\nCONFIG_SECURITY_APPARMOR=y\n"+
		"CONFIG_IMA=y\nCONFIG_IMA_APPRAISE=y\nCONFIG_CRYPTO_SHA256=y\nCONFIG_INTEGRITY_ASYMMETRIC_KEYS=y\nCONFIG_EVM=y\nCONFIG_EVM_ATTR_FSUUID=y\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	private, crt := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048.cert.der")
	for kind, options := range evmctlKinds(t, root) {
		sign := []string{"sign", "--owner", "any", "--key", private, "--cert", crt, "--evm", kind, root}
		for _, target := range [][]string{{"--target-arch", "arm"}, {"--target-arch=i686"}, {"--kernel-config", config}} {
			imaseal(t, 0, sign...)
			wide := treeLabels(t, root)
			imaseal(t, 0, append(slices.Clone(sign), target...)...)
			ours := treeLabels(t, root)
			if maps.Equal(ours, wide) {
				t.Errorf("%s, %q: the labels are those for 64 bits", kind, target)
			}
			clearTree(t, root)
			keytest.Run(t, "evmctl", slices.Concat([]string{"sign", "-r", "--imasig", "--m32", "-a", "sha256", "--key", private}, options, []string{root})...)
			sameLabels(t, kind, ours, treeLabels(t, root))
			verify := []string{"verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", root}
			imaseal(t, 0, append(slices.Clone(verify), target...)...)
			imaseal(t, 4, verify...)
			check := []string{"check", "--key", crt, "--evm-state", "x509", "--kernel-version", "6.12", root}
			imaseal(t, 0, append(slices.Clone(check), "--kernel-config", config)...)
			if kind == "portable" { // of others it is not known without a configuration what they cover
				imaseal(t, 0, append(slices.Clone(check), "--target-arch", "arm")...)
				imaseal(t, 4, append(slices.Clone(check), "--target-arch", "amd64")...)
			}
			imaseal(t, 2, append(slices.Clone(check), "--kernel-config", config, "--target-arch", "amd64")...)
			clearTree(t, root)
		}
	}
}

func otherKey(name string) string {
	if name == "rsa2048" {
		return "rsa4096"
	}
	return "rsa2048"
}

// expectEvmctlRefuses changes a file's mode for a while.
func expectEvmctlRefuses(t *testing.T, root, crt string, options []string) {
	t.Helper()
	path := filepath.Join(root, "plain")
	for _, mode := range []os.FileMode{0o600, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keytest.Try(t, "evmctl", slices.Concat([]string{"verify"}, options, []string{"--key", crt, path})...)
		if (err == nil) != (mode == 0o644) {
			t.Errorf("evmctl, mode %o: %v", mode, err)
		}
	}
}

// TestEvmctlSigFiles has both programs write signatures to files beside the
// tree's. Of several names of an inode we sign one.
func TestEvmctlSigFiles(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	if err := os.Remove(filepath.Join(root, "a/hard")); err != nil {
		t.Fatal(err)
	}
	for _, name := range evmctlKeys {
		private, crt := vectors.Path(t, "keys/"+name+".key.pem"), vectors.Path(t, "keys/"+name+".cert.der")
		files := treeFiles(t, root)
		imaseal(t, 0, "sign", "--owner", "any", "--key", private, "--cert", crt, "--sigfile", root)
		keytest.Run(t, "evmctl", slices.Concat([]string{"ima_verify", "--sigfile", "--key", crt, "--"}, files)...)
		ours := sigFiles(t, files)
		for _, path := range files {
			keytest.Run(t, "evmctl", "ima_sign", "--sigfile", "--key", private, "--", path)
		}
		imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--sigfile", root)
		if strings.HasPrefix(name, "rsa") {
			sameLabels(t, name, ours, sigFiles(t, files))
		}
		for _, path := range files {
			if err := os.Remove(path + ".sig"); err != nil {
				t.Fatal(err)
			}
		}
		imaseal(t, 4, "verify", "--owner", "any", "--key", crt, "--sigfile", root)
	}
}

// sigFiles are the detached signatures of files in hexadecimal.
func sigFiles(t *testing.T, files []string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, path := range files {
		b, err := os.ReadFile(path + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		all[path] = hex.EncodeToString(b)
	}
	return all
}

// TestEvmctlCustomKeyID has both programs take the key id from a certificate
// whose subject key identifier is not the SHA-1 of the key.
func TestEvmctlCustomKeyID(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	private, crt := vectors.Path(t, "keys/rsa2048.key.pem"), vectors.Path(t, "keys/rsa2048-customskid.cert.der")
	imaseal(t, 0, "sign", "--owner", "any", "--key", private, "--cert", crt, "--evm", "portable", root)
	ours := treeLabels(t, root)
	clearTree(t, root)
	keytest.Run(t, "evmctl", "sign", "-r", "-o", "--imasig", "-a", "sha256", "--keyid-from-cert", crt, "--key", private, root)
	sameLabels(t, "custom key id", ours, treeLabels(t, root))
	imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", root)
	imaseal(t, 4, "verify", "--owner", "any", "--key", vectors.Path(t, "keys/rsa2048.cert.der"), root)
}
