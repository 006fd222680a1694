package kernellab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
)

// guestFiles puts imaseal and other files of this machine into the initramfs.
func guestFiles(t *testing.T, l *Lab, files map[string]string) map[string][]byte {
	t.Helper()
	content := make(map[string][]byte)
	files["/bin/imaseal"] = l.Imaseal(t)
	for name, path := range files {
		b, err := os.ReadFile(path)
		check(t, err)
		content[name] = b
	}
	return content
}

// smallImage has a few files that nobody has labelled.
func smallImage(t *testing.T, l *Lab, fs FS, names ...string) Image {
	t.Helper()
	img := l.NewImage(t, fs, 0, "")
	dir := img.Mount(t)
	for _, name := range names {
		place(t, dir, map[string]string{name: "content of " + name})
	}
	img.Unmount(t)
	return img
}

// expectOutput wants words in what a script wrote.
func expectOutput(t *testing.T, res Result, name, errno string, words ...string) {
	t.Helper()
	v := res.Verdict(t, name)
	if v.Errno != errno {
		t.Errorf("%s: %+v, want %q", name, v, errno)
	}
	for _, w := range words {
		if !strings.Contains(v.Output, w) {
			t.Errorf("%s: the output does not contain %q: %s", name, w, v.Output)
		}
	}
}

// TestLiveHMACRefused runs imaseal where the kernel has the HMAC key: it takes no
// HMAC from anybody else, and that is said before anything is written.
func TestLiveHMACRefused(t *testing.T) {
	l := Open(t)
	key := generateHMAC(t, l)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			img := smallImage(t, l, Ext4, "file")
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Keep: true, Keys: key.keys(t), EVM: []string{"1"},
				Files: guestFiles(t, l, map[string]string{"/evm.key": key.plain}),
				Probes: []Probe{
					{Name: "hash", Op: Sh, Script: "imaseal hash --evm hmac --evm-key /evm.key /newroot"},
					{Name: "dry run", Op: Sh, Script: "imaseal hash -n --evm hmac --evm-key /evm.key /newroot"},
					{Name: "without EVM", Op: Sh, Script: "imaseal hash /newroot"},
				},
			})
			expectOutput(t, res, "hash", "exit 1", "takes no EVM HMACs from user space", "hint: ", "echo 4 >/sys/kernel/security/evm")
			expectOutput(t, res, "dry run", "", "1 labelled", "dry run: nothing was written")
			expectOutput(t, res, "without EVM", "exit 3", "warning: EVM is active", "file: ", "operation not permitted")
			path := filepath.Join(img.Mount(t), "file")
			for _, name := range []string{imaevm.AttrIMA, imaevm.AttrEVM} {
				if _, err := unix.Getxattr(path, name, nil); err != unix.ENODATA {
					t.Errorf("reading %s: %v, want it not to be there", name, err)
				}
			}
		})
	}
}

// TestLiveHMAC goes the way out: metadata writes are allowed, the tree is
// labelled by the running kernel's own configuration, and then the key is loaded.
func TestLiveHMAC(t *testing.T) {
	l := Open(t)
	key := generateHMAC(t, l)
	rules := ""
	for _, r := range appraise("") {
		rules += "echo " + r + "; "
	}
	for _, series := range Series {
		for _, fs := range Filesystems { // each tells its UUID in its own way before 6.9
			t.Run(series+"/"+string(fs), func(t *testing.T) {
				t.Parallel()
				k := l.Kernel(t, series)
				res := l.Boot(t, Case{
					Kernel: k, Image: smallImage(t, l, fs, "good", "changed"), Append: "ima_appraise=enforce",
					Keys: key.keys(t), EVM: []string{"4"},
					Files: guestFiles(t, l, map[string]string{"/evm.key": key.plain, "/boot/config-" + k.Version: k.Config()}),
					Probes: []Probe{
						{Name: "label", Op: Sh, Script: "imaseal hash --evm hmac --evm-key /evm.key /newroot"},
						{Name: "verify", Op: Sh, Script: "imaseal verify --evm-key /evm.key /newroot"},
						{Name: "change", Op: Sh, Script: "busybox chmod 700 /newroot/changed"},
						{Name: "enable", Op: Sh, Script: "echo 1 >/sys/kernel/security/evm && { " + rules + "} >/sys/kernel/security/ima/policy"},
						{Name: "good", Op: Read, Path: "good"},
						{Name: "changed", Op: Read, Path: "changed"},
						{Name: "host", Op: Sh, Script: hostScript},
					},
				})
				expectOutput(t, res, "host", "", `"why":"EVM is active (`, `): HMACs are verified and renewed`, `"hmac":true,"x509":false,"metadata_writes":false,`)
				expectOutput(t, res, "label", "", "2 labelled", "EVM as in the running kernel "+k.Version)
				expectOutput(t, res, "verify", "", "2 valid")
				for _, name := range []string{"change", "enable", "good"} {
					expectAllowed(t, res, name)
				}
				expectDenied(t, res, "changed", "EACCES", "invalid-HMAC")
			})
		}
	}
}

// hostScript asks about the host, whose status is not what is of interest.
const hostScript = "imaseal check --host --json || true"

// TestImport adds certificates to the keyrings of a kernel that enforces
// signatures already.
func TestImport(t *testing.T) {
	l := Open(t)
	rsa, p256 := generate(t, l, "rsa2048"), generate(t, l, "p256")
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			img := smallImage(t, l, Ext4, "rsa", "p256")
			dir := img.Mount(t)
			for name, key := range map[string]signingKey{"rsa": rsa, "p256": p256} {
				imaseal(t, l, append([]string{"sign", "--evm", "portable", filepath.Join(dir, name)}, key.args()...)...)
			}
			img.Unmount(t)
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Append: "ima_appraise=enforce init=/newroot/rsa", // whose signer check --host looks for
				Policy: appraise("appraise_type=imasig"), EVM: []string{"2"},
				Files: guestFiles(t, l, map[string]string{"/rsa.der": rsa.cert, "/p256.der": p256.cert}),
				Probes: []Probe{
					{Name: "no key", Op: Read, Path: "rsa"},
					{Name: "import for EVM", Op: Sh, Script: "imaseal keys import --keyring evm /rsa.der"},
					{Name: "no IMA key", Op: Read, Path: "rsa"},
					{Name: "import", Op: Sh, Script: "imaseal keys import /rsa.der"},
					{Name: "both keys", Op: Read, Path: "rsa"},
					{Name: "signers", Op: Sh, Script: hostScript},
					{Name: "import P-256", Op: Sh, Script: "imaseal keys import --keyring ima --keyring evm /p256.der"},
					{Name: "P-256", Op: Read, Path: "p256"},
					{Name: "remove", Op: Sh, Script: "imaseal keys remove $(imaseal keys id /rsa.der | cut -d' ' -f1)"},
					{Name: "no signer", Op: Sh, Script: hostScript},
				},
			})
			expectOutput(t, res, "signers", "", `{"status":"pass","check":"signers",`, `"keyring":"_evm","files":1,"present":true,"first":"/newroot/rsa"`,
				`"keyring":"_ima","files":1,"present":true,"first":"/newroot/rsa"`, `"why":"EVM is active (2): signatures are verified"`)
			expectAllowed(t, res, "remove")
			expectOutput(t, res, "no signer", "", `{"status":"fail","check":"signers",`, ` is not in _ima (1 file, such as /newroot/rsa)"`,
				`"keyring":"_evm","files":1,"present":true`, `"keyring":"_ima","files":1,"present":false`)
			expectDenied(t, res, "no key", "EACCES", "invalid-fail-immutable")
			expectOutput(t, res, "import for EVM", "", "_evm: key ")
			expectDenied(t, res, "no IMA key", "EACCES", "invalid-signature")
			expectOutput(t, res, "import", "", "_ima: key ")
			expectAllowed(t, res, "both keys")
			if !hasECDSA(series) {
				expectOutput(t, res, "import P-256", "exit 1", "this kernel lacks an algorithm")
				expectDenied(t, res, "P-256", "EACCES", "invalid-fail-immutable")
				return
			}
			expectOutput(t, res, "import P-256", "", "_ima: key ", "_evm: key ")
			expectAllowed(t, res, "P-256")
		})
	}
}
