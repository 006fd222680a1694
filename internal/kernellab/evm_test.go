package kernellab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/host"
)

// An evmKey is an HMAC key in files that imaseal made.
type evmKey struct {
	plain, master, blob string
}

// generateHMAC makes a key with imaseal keys evm-key, or skips the test where
// nobody can write HMACs.
func generateHMAC(t *testing.T, l *Lab, args ...string) evmKey {
	t.Helper()
	if (host.Host{}).HMACRefused() {
		t.Skip("this machine's kernel has EVM and takes no HMACs from user space")
	}
	dir := t.TempDir()
	k := evmKey{plain: filepath.Join(dir, "evm.key"), master: filepath.Join(dir, "kmk"), blob: filepath.Join(dir, "evm.blob")}
	args = append([]string{"keys", "evm-key", "--out", k.plain, "--new-master", k.master, "--blob", k.blob}, args...)
	imaseal(t, l, args...)
	return k
}

// keys are the key and its master as the kernel loads them.
func (k evmKey) keys(t *testing.T) []Key {
	t.Helper()
	master, err := os.ReadFile(k.master)
	check(t, err)
	blob, err := os.ReadFile(k.blob)
	check(t, err)
	return HMACKeys(master, strings.TrimSpace(string(blob)))
}

// hmacKeys are keys of both formats and of several sizes.
func hmacKeys(t *testing.T, l *Lab) map[FS]evmKey {
	return map[FS]evmKey{
		Ext4: generateHMAC(t, l, "--format", "enc32"),
		XFS:  generateHMAC(t, l, "--size", "128"),
	}
}

// TestHMACTrees has kernels judge HMACs made here, under a key that they get as
// a blob made here, on a file system whose UUID is changed after labelling.
func TestHMACTrees(t *testing.T) {
	l := Open(t)
	keys := hmacKeys(t, l)
	rsa := generate(t, l, "rsa2048")
	for _, series := range Series {
		for _, fs := range Filesystems {
			t.Run(series+"/"+string(fs), func(t *testing.T) {
				t.Parallel()
				judgeHMACs(t, l, series, fs, keys, rsa)
			})
		}
	}
}

func judgeHMACs(t *testing.T, l *Lab, series string, fs FS, keys map[FS]evmKey, rsa signingKey) {
	tr := newTrial(t, l, series, fs)
	key, other := keys[fs], keys[XFS]
	if fs == XFS {
		other = keys[Ext4]
	}
	hmac := []string{"--evm", "hmac", "--kernel-config", tr.kernel.Config(), "--evm-key"}
	later := append(hmac, key.plain, "--evm-uuid", vectorUUID)
	all := slices.Concat(untouched(), attacks())
	tr.plant(t, "hash", hashedHMAC, all...)
	tr.plant(t, "sign", signedHMAC, all...)
	tr.plant(t, "sha512", hashedHMAC, few()...)
	tr.plant(t, "elsewhere", hashedHMAC, untouched()...)
	tr.plant(t, "other-key", hashedHMAC, untouched()...)
	tr.plant(t, "no-uuid", hashedHMAC, untouched()...)
	tr.plant(t, "portable", signed, few()...)
	for _, dir := range []string{"elsewhere", "other-key", "no-uuid"} {
		tr.denied(dir, "invalid-HMAC")
	}
	if fs == Ext4 { // inode generations have 32 bits
		tr.img.Unmount(t)
		tr.img.Debugfs(t, "set_inode_field /hash/plain generation 0xffffffff\nset_inode_field /sign/plain generation 0\n")
		tr.img.Mount(t)
	}
	tr.label(t, "hash", append([]string{"hash"}, later...)...)
	tr.label(t, "sha512", append([]string{"hash", "--algo", "sha512"}, later...)...)
	tr.label(t, "sign", slices.Concat([]string{"sign"}, rsa.args(), later)...)
	tr.label(t, "elsewhere", slices.Concat([]string{"hash"}, hmac, []string{key.plain})...)
	tr.label(t, "other-key", slices.Concat([]string{"hash"}, hmac, []string{other.plain, "--evm-uuid", vectorUUID})...)
	tr.label(t, "no-uuid", slices.Concat([]string{"hash"}, hmac, []string{key.plain, "--evm-no-uuid"})...)
	tr.label(t, "portable", slices.Concat([]string{"sign", "--evm", "portable"}, rsa.args())...)
	tr.img.Unmount(t)
	tr.img.SetUUID(t, vectorUUID)
	tr.img.Mount(t)
	tr.spoil()

	res := tr.judge(t, Case{
		Keys:   append(key.keys(t), IMAKey(rsa.der(t)), EVMKey(rsa.der(t))),
		Policy: appraise(""), EVM: []string{"1"},
		Probes: []Probe{
			{Name: "renewed by chmod", Op: Sh, Script: "busybox chmod 640 /newroot/hash/plain && cat /newroot/hash/plain"},
			{Name: "renewed by writing", Op: Sh, Script: "echo new >/newroot/hash/script && cat /newroot/hash/script"},
			{Name: "signed, for writing", Op: Write, Path: "/sign/plain"},
			{Name: "portable, chmod", Op: Sh, Script: "busybox chmod 640 /newroot/portable/plain"},
		},
	}, "--evm-key", key.plain, "--key", rsa.cert, "--kernel-config", tr.kernel.Config())
	expectAllowed(t, res, "renewed by chmod")
	expectAllowed(t, res, "renewed by writing")
	expectDenied(t, res, "signed, for writing", "EACCES", "")
	if v := res.Verdict(t, "portable, chmod"); v.Allowed() {
		t.Errorf("chmod of a file with a portable signature: %+v, want it refused", v)
	}
}

// TestMixedTrees has kernels with both bits of EVM set judge trees with labels by
// class, and of one kind beside another.
func TestMixedTrees(t *testing.T) {
	l := Open(t)
	keys := hmacKeys(t, l)
	rsa := generate(t, l, "rsa2048")
	for _, series := range Series {
		for _, fs := range Filesystems {
			t.Run(series+"/"+string(fs), func(t *testing.T) {
				t.Parallel()
				judgeMixed(t, l, series, fs, keys[fs], rsa)
			})
		}
	}
}

func judgeMixed(t *testing.T, l *Lab, series string, fs FS, key evmKey, rsa signingKey) {
	tr := newTrial(t, l, series, fs)
	rules := filepath.Join(t.TempDir(), "rules")
	check(t, os.WriteFile(rules, []byte("sign @executable\nhash @any\n"), 0o600))
	hmac := []string{"--evm-key", key.plain, "--kernel-config", tr.kernel.Config()}
	all := slices.Concat(untouched(), attacks())
	for _, dir := range []string{"portable-hmac", "signature-hmac"} {
		for _, v := range all {
			k := hashedHMAC
			switch {
			case v.mode&0o111 != 0 && dir == "portable-hmac":
				k = signed
			case v.mode&0o111 != 0:
				k = signedBound
			}
			tr.plant(t, dir, k, v)
		}
		kinds := strings.Replace(dir, "-", ",", 1)
		tr.label(t, dir, slices.Concat([]string{"sign", "--rules", rules, "--evm", kinds}, rsa.args(), hmac)...)
	}
	tr.plant(t, "hash-portable", hashedSigned, all...)
	tr.label(t, "hash-portable", slices.Concat([]string{"hash", "--evm", "portable"}, rsa.args())...)
	tr.plant(t, "hash-bound", hashedBound, all...)
	tr.label(t, "hash-bound", slices.Concat([]string{"hash", "--evm", "signature", "--kernel-config", tr.kernel.Config()}, rsa.args())...)
	tr.spoil()

	res := tr.judge(t, Case{
		Keys:   append(key.keys(t), IMAKey(rsa.der(t)), EVMKey(rsa.der(t))),
		Policy: appraise(""), EVM: []string{"3"},
		Probes: []Probe{
			{Name: "bound, again", Op: Read, Path: "/signature-hmac/capable"}, // the kernel has made an HMAC of it
			{Name: "bound, chmod", Op: Sh, Script: "busybox chmod 700 /newroot/signature-hmac/capable"},
			{Name: "bound, afterwards", Op: Read, Path: "/signature-hmac/capable"},
			{Name: "hash, for writing", Op: Write, Path: "/portable-hmac/plain"},
			{Name: "portable, for writing", Op: Write, Path: "/hash-portable/plain"},
		},
	}, "--evm-key", key.plain, "--key", rsa.cert, "--kernel-config", tr.kernel.Config())
	for _, name := range []string{"bound, again", "bound, chmod", "bound, afterwards", "hash, for writing"} {
		expectAllowed(t, res, name)
	}
	expectDenied(t, res, "portable, for writing", "EACCES", "")
}
