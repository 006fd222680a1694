package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// TestEvmctlArchives signs the same tree in an archive and on a file system: what
// is unpacked has the same labels, and evmctl verifies them.
func TestEvmctlArchives(t *testing.T) {
	treetest.Root(t)
	root := evmctlTree(t, "ext4")
	dir := t.TempDir()
	for _, pack := range [][]string{
		{"tar", "--format=posix", "--xattrs", "--xattrs-include=*"},
		{"bsdtar", "--format=pax", "--xattrs"},
	} {
		archive, signed := filepath.Join(dir, "t.tar"), filepath.Join(dir, "signed.tar")
		clearTree(t, root)
		keytest.Run(t, pack[0], slices.Concat(pack[1:], []string{"-C", root, "-cf", archive, "."})...)
		for _, name := range []string{"rsa2048", "p256", "p521"} {
			private, crt := vectors.Path(t, "keys/"+name+".key.pem"), vectors.Path(t, "keys/"+name+".cert.der")
			sign := []string{"sign", "--owner", "any", "--key", private, "--cert", crt, "--evm", "portable", "--force"}
			imaseal(t, 0, append(sign, "tar:"+archive, "--output", signed)...)
			imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", "tar:"+signed)
			imaseal(t, 0, append(sign, root)...)
			want := treeLabels(t, root)
			for _, unpack := range [][]string{{"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"}, {"bsdtar", "--numeric-owner", "--xattrs", "-xpf"}} {
				to := filepath.Join(filepath.Dir(root), "unpacked")
				if err := os.Mkdir(to, 0o755); err != nil {
					t.Fatal(err)
				}
				if _, err := keytest.Try(t, unpack[0], slices.Concat(unpack[1:], []string{signed, "-C", to})...); err != nil && unpack[0] != "bsdtar" {
					t.Fatal(err) // bsdtar unpacks names that are not UTF-8, and complains
				}
				sameLabels(t, pack[0]+", "+unpack[0]+", "+name, want, treeLabels(t, to))
				files := treeFiles(t, to)
				keytest.Run(t, "evmctl", slices.Concat([]string{"ima_verify", "--key", crt, "--"}, files)...)
				for _, path := range files {
					keytest.Run(t, "evmctl", "verify", "-o", "--key", crt, "--", path)
				}
				imaseal(t, 0, "verify", "--owner", "any", "--key", crt, "--require", "imasig,evm", to)
				if err := os.RemoveAll(to); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
