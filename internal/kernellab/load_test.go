package kernellab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLoad has imaseal load do what a host does at boot: with a policy that the
// kernel refuses, of which the line is told and the rest is done; with a good one;
// and again, when it takes no more.
func TestLoad(t *testing.T) {
	l := Open(t)
	key, hmac := generate(t, l, "rsa2048"), generateHMAC(t, l)
	dir := t.TempDir()
	for name, lines := range map[string][]string{
		"good": append([]string{"# comment", ""}, appraise("")...),
		"bad":  append([]string{"# comment", "", "appraise func=NO_CHECK"}, appraise("")...),
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")), 0o600))
	}
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			k := l.Kernel(t, series)
			img := smallImage(t, l, Ext4, "hmac", "chmod", "signed", "owner")
			mnt := img.Mount(t)
			evm := []string{"--kernel-config", k.Config(), "--evm-key", hmac.plain}
			imaseal(t, l, append([]string{"hash", "--evm", "hmac", filepath.Join(mnt, "hmac"), filepath.Join(mnt, "chmod")}, evm...)...)
			imaseal(t, l, append([]string{"sign", "--evm", "portable", filepath.Join(mnt, "signed"), filepath.Join(mnt, "owner")}, key.args()...)...)
			check(t, errors.Join(unix.Chmod(filepath.Join(mnt, "chmod"), 0o700), unix.Chown(filepath.Join(mnt, "owner"), 0, 7)))
			img.Unmount(t)
			files := map[string]string{
				"/set/etc/ima/ima-policy": filepath.Join(dir, "good"), "/bad/etc/ima/ima-policy": filepath.Join(dir, "bad"),
				"/bad/etc/keys/ima/a.der": key.cert, "/set/etc/keys/ima/a.der": key.cert, "/set/etc/keys/evm/a.der": key.cert,
				"/set/etc/keys/kmk-user.blob": hmac.master, "/set/etc/keys/evm-user.blob": hmac.blob,
			}
			res := l.Boot(t, Case{
				// With the LSM bpf, 6.1 dies of the HMAC key.
				Kernel: k, Image: img, Append: "ima_appraise=enforce lsm=landlock,lockdown,yama,integrity,apparmor", Files: guestFiles(t, l, files),
				Probes: []Probe{
					{Name: "bad", Op: Sh, Script: "imaseal load --root /bad"},
					{Name: "load", Op: Sh, Script: "imaseal load --root /set"},
					{Name: "hmac", Op: Read, Path: "hmac"},
					{Name: "chmod", Op: Read, Path: "chmod"},
					{Name: "signed", Op: Read, Path: "signed"},
					{Name: "owner", Op: Read, Path: "owner"},
					{Name: "again", Op: Sh, Script: "imaseal load --root /set"},
				},
			})
			expectOutput(t, res, "bad", "exit 3", "_ima: key ", "ima-policy: line 3: the kernel refuses", "imaseal policy lint FILE")
			expectOutput(t, res, "load", "", "_ima: key ", "_evm: key ", "EVM key: ", "ima-policy, 11 rules", "EVM: on, for HMACs and signatures")
			expectAllowed(t, res, "hmac")
			expectAllowed(t, res, "signed")
			expectDenied(t, res, "chmod", "EACCES", "invalid-HMAC")
			expectDenied(t, res, "owner", "EACCES", "invalid-fail-immutable")
			expectOutput(t, res, "again", "exit 3", "_ima: key ", "the kernel takes no policy", "EVM key: the kernel has one already")
		})
	}
}

// TestLoadRefusesHMACKey: the key that this kernel would die of is not loaded.
func TestLoadRefusesHMACKey(t *testing.T) {
	l := Open(t)
	hmac := generateHMAC(t, l)
	files := map[string]string{"/set/etc/keys/kmk-user.blob": hmac.master, "/set/etc/keys/evm-user.blob": hmac.blob}
	res := l.Boot(t, Case{
		Kernel: l.Kernel(t, "6.1"), Append: "lsm=integrity,bpf", Files: guestFiles(t, l, files),
		Probes: []Probe{{Name: "load", Op: Sh, Script: "imaseal load --root /set; echo status $?; cat /sys/kernel/security/evm; : >/tmp/new"}},
	})
	expectOutput(t, res, "load", "", "status 3\n0", "dies with such a key", "lsm=landlock")
}
