package kernellab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/vectors"
)

// few files show that a key or a digest is taken.
func few() []victim {
	var files []victim
	for _, v := range slices.Concat(untouched(), attacks()) {
		if slices.Contains([]string{"plain", "empty", "lsms", "content-changed", "mode-changed"}, v.name) {
			files = append(files, v)
		}
	}
	return files
}

// signingKeys are keys made by imaseal keys generate, and one with a subject key
// identifier that is not the SHA-1 of the key.
func signingKeys(t *testing.T, l *Lab) map[string]signingKey {
	t.Helper()
	keys := map[string]signingKey{
		"custom-skid": {private: vectors.Path(t, "keys/rsa2048.key.pem"), cert: vectors.Path(t, "keys/rsa2048-customskid.cert.der")},
		"stranger":    generate(t, l, "rsa2048"),
	}
	for _, kind := range []string{"rsa2048", "rsa4096", "p256", "p384", "p521"} {
		keys[kind] = generate(t, l, kind)
	}
	for _, kind := range []string{"rsa3072", "p256"} {
		keys[kind+"-by-ca"] = generate(t, l, kind, "--new-ca", filepath.Join(t.TempDir(), "ca"))
	}
	return keys
}

// TestSigned has kernels judge signatures of all keys and digests, below portable
// and inode-bound EVM signatures, where signatures are demanded.
func TestSigned(t *testing.T) {
	l := Open(t)
	keys := signingKeys(t, l)
	for _, series := range Series {
		for _, fs := range Filesystems {
			t.Run(series+"/"+string(fs), func(t *testing.T) {
				t.Parallel()
				judgeSigned(t, l, series, fs, keys)
			})
		}
	}
}

func judgeSigned(t *testing.T, l *Lab, series string, fs FS, keys map[string]signingKey) {
	tr := newTrial(t, l, series, fs)
	plantKinds(t, tr, keys)
	plantStrangers(t, tr, keys)
	plantVersion1(t, tr, keys)
	plantVersion3(t, tr, keys["rsa2048"])
	plantECDSA(t, tr, keys)
	plantPrograms(t, tr, keys["rsa2048"])
	tr.spoil()
	c := Case{Policy: appraise("appraise_type=imasig"), EVM: []string{"2"}, Probes: []Probe{
		{Name: "programs run", Op: Tree, Script: "/portable/script && cat /portable/plain"},
		{Name: "executed", Op: Exec, Path: "/bin/busybox"},
		{Name: "mapped", Op: MapExec, Path: "/bin/busybox"},
		{Name: "changed, executed", Op: Exec, Path: "/bin/changed"},
		{Name: "changed script", Op: Tree, Script: "/portable/capability-changed"},
		{Name: "for writing", Op: Write, Path: "/portable/plain"},
	}}
	var args []string
	for name, key := range keys {
		if name != "stranger" && (hasECDSA(series) || !strings.HasPrefix(name, "p")) {
			c.Keys = append(c.Keys, IMAKey(key.der(t)), EVMKey(key.der(t)))
			args = append(args, "--key", key.cert)
		}
	}
	user := newUserKey(t, keys["rsa2048"].rsa(t))
	c.Keys = append(c.Keys, user.in("_ima"))
	args = append(args, "--key", user.public)
	res := tr.judge(t, c, []string{"--require", "imasig,evm"}, args)
	expectAllowed(t, res, "programs run")
	expectAllowed(t, res, "executed")
	expectAllowed(t, res, "mapped")
	expectDenied(t, res, "changed, executed", "EACCES", "invalid-signature")
	expectDenied(t, res, "changed script", "exit 126", "invalid-fail-immutable")
	expectDenied(t, res, "for writing", "EACCES", "") // signed files do not change, which is not audited
}

// hasECDSA reports whether a series' kernels verify ECDSA signatures. Without,
// they do not even take the certificate.
func hasECDSA(series string) bool { return series != "6.1" }

// plantKinds makes signatures of each kind, digest and RSA key.
func plantKinds(t *testing.T, tr *trial, keys map[string]signingKey) {
	t.Helper()
	rsa, all := keys["rsa2048"], slices.Concat(untouched(), attacks())
	tr.sign(t, "portable", signed, all, rsa, "--evm", "portable")
	tr.sign(t, "bound", signedBound, all, rsa, "--evm", "signature", "--kernel-config", tr.kernel.Config())
	for _, algo := range []string{"sha1", "sha384", "sha512"} {
		tr.sign(t, "rsa2048-"+algo, signed, few(), rsa, "--evm", "portable", "--algo", algo)
	}
	for _, name := range []string{"rsa4096", "rsa3072-by-ca", "custom-skid"} {
		tr.sign(t, name, signed, few(), keys[name], "--evm", "portable")
	}

	// Contexts are there before EVM labels cover them.
	contexts := filepath.Join(t.TempDir(), "file_contexts")
	check(t, os.WriteFile(contexts, []byte("/contexts(-bound)?/.* -- system_u:object_r:lib_t:s0\n/contexts/setuid <<none>>\n"), 0o600))
	root := []string{"--file-contexts", contexts, "--contexts-root", tr.dir}
	tr.sign(t, "contexts", signed, all, rsa, append(root, "--evm", "portable")...)
	tr.sign(t, "contexts-bound", signedBound, all, rsa, append(root, "--evm", "signature", "--kernel-config", tr.kernel.Config())...)
	if got := getAttr(t, filepath.Join(tr.dir, "contexts/plain"), attrSELinux); string(got) != "system_u:object_r:lib_t:s0\x00" {
		t.Errorf("the context is %q", got)
	}

	// A portable signature makes a hash as good as a signature, a bound one does not.
	tr.plant(t, "hash-portable", hashedSigned, all...)
	tr.over(t, "hash-portable", rsa, "--evm", "portable")
	tr.plant(t, "hash-bound", hashedBound, few()...)
	tr.over(t, "hash-bound", rsa, "--evm", "signature")
	tr.denied("hash-bound", "IMA-signature-required")
	tr.causes["hash-bound/mode-changed"] = "invalid-HMAC"
}

// plantStrangers makes labels by an unknown key, for another file system, and
// none where there should be one.
func plantStrangers(t *testing.T, tr *trial, keys map[string]signingKey) {
	t.Helper()
	rsa, stranger := keys["rsa2048"], keys["stranger"]
	tr.sign(t, "bound-elsewhere", signedBound, untouched(), rsa, "--evm", "signature", "--evm-uuid", vectorUUID)
	tr.denied("bound-elsewhere", "invalid-HMAC")
	tr.sign(t, "stranger", signed, few(), stranger, "--evm", "portable")
	tr.denied("stranger", "invalid-fail-immutable")
	tr.sign(t, "stranger-bound", signed, few(), stranger, "--evm", "signature")
	tr.denied("stranger-bound", "invalid-HMAC")
	tr.sign(t, "stranger-ima", signed, untouched(), stranger)
	tr.over(t, "stranger-ima", rsa, "--evm", "portable")
	tr.denied("stranger-ima", "invalid-signature")
	tr.sign(t, "no-evm", signed, untouched(), rsa)
	tr.denied("no-evm", "missing-HMAC")
	tr.plant(t, "no-label", signed, untouched()...)
	tr.denied("no-label", "IMA-signature-required")
}

// plantVersion3 makes signatures of version 3, which older kernels refuse or
// take for version 2. That their kernel is old, imaseal verify cannot know.
func plantVersion3(t *testing.T, tr *trial, rsa signingKey) {
	t.Helper()
	tr.sign(t, "v3", signed, few(), rsa, "--evm", "portable", "--sig-version", "3")
	tr.sign(t, "v3-bound", signedBound, few(), rsa, "--evm", "signature", "--sig-version", "3")
	tr.sign(t, "v3-ima", signed, few(), rsa, "--sig-version", "3")
	tr.over(t, "v3-ima", rsa, "--evm", "portable")
	if tr.kernel.Series == "7.x" {
		return
	}
	tr.denied("v3", "invalid-fail-immutable")
	tr.denied("v3-bound", "invalid-HMAC")
	tr.denied("v3-ima", "invalid-signature-version")
	tr.causes["v3-ima/mode-changed"] = "invalid-fail-immutable"
	tr.kernelOnly = append(tr.kernelOnly, "v3", "v3-bound", "v3-ima")
}

// plantECDSA makes signatures of each curve.
func plantECDSA(t *testing.T, tr *trial, keys map[string]signingKey) {
	t.Helper()
	var portable, bound []string
	for _, name := range []string{"p256", "p384", "p521", "p256-by-ca"} {
		tr.sign(t, name, signed, few(), keys[name], "--evm", "portable")
		tr.sign(t, name+"-bound", signedBound, few(), keys[name], "--evm", "signature")
		portable, bound = append(portable, name), append(bound, name+"-bound")
	}
	for _, algo := range []string{"sha1", "sha384", "sha512"} {
		tr.sign(t, "p256-"+algo, signed, few(), keys["p256"], "--evm", "portable", "--algo", algo)
		portable = append(portable, "p256-"+algo)
	}
	tr.sign(t, "p256-ima", signed, few(), keys["p256"])
	tr.over(t, "p256-ima", keys["rsa2048"], "--evm", "portable")
	if hasECDSA(tr.kernel.Series) {
		return
	}
	for _, dir := range portable {
		tr.denied(dir, "invalid-fail-immutable")
	}
	for _, dir := range bound {
		tr.denied(dir, "invalid-HMAC")
	}
	tr.denied("p256-ima", "invalid-signature")
	tr.causes["p256-ima/mode-changed"] = "invalid-fail-immutable"
}

// plantPrograms makes a shell for the tree, and one that was changed.
func plantPrograms(t *testing.T, tr *trial, rsa signingKey) {
	t.Helper()
	program, err := os.ReadFile(lookPath("busybox"))
	check(t, err)
	tr.sign(t, "bin", signed, []victim{
		{name: "busybox", content: string(program), mode: 0o755},
		{name: "changed", content: string(program), mode: 0o755, cause: byIMA, spoil: func(t *testing.T, path string) {
			check(t, os.WriteFile(path, append(program, 0), 0))
		}},
	}, rsa, "--evm", "portable")
	for _, name := range []string{"sh", "cat"} {
		check(t, os.Symlink("busybox", filepath.Join(tr.dir, "bin", name)))
	}
}

// TestSignedTree signs the Debian tree and has every file of it tried where
// signatures and EVM labels are demanded of whatever root owns.
func TestSignedTree(t *testing.T) {
	l := Open(t)
	key := generate(t, l, "rsa2048")
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			img := l.TreeImage(t, Ext4)
			dir := img.Mount(t)
			place(t, dir, map[string]string{"lab/changed": "before"})
			imaseal(t, l, slices.Concat([]string{"sign", "--quiet", "--evm", "portable"}, key.args(), []string{dir})...)
			imaseal(t, l, "verify", "--quiet", "--key", key.cert, "--require", "imasig,evm", dir)
			place(t, dir, map[string]string{"lab/changed": "after!"})
			probes := []Probe{
				{Name: "programs run", Op: Tree, Script: "set -e; cat /etc/os-release; python3 -c 'import sys, os'"},
				{Name: "changed, by cat", Op: Tree, Script: "cat /lab/changed"},
			}
			own := len(probes)
			probes = append(probes, wholeTree(t, dir)...)
			img.Unmount(t)
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Append: "ima_appraise=enforce", Timeout: 8 * time.Minute,
				Keys:   []Key{IMAKey(key.der(t)), EVMKey(key.der(t))},
				Policy: append(slices.Clone(unjudged), "appraise fowner=0 appraise_type=imasig"), EVM: []string{"2"},
				Probes: probes,
			})
			expectAllowed(t, res, "programs run")
			expectDenied(t, res, "changed, by cat", "exit 1", "invalid-signature")
			for i := own; i < len(probes); i++ {
				if v := res.Verdicts[i]; !v.Allowed() || v.Records != nil {
					t.Errorf("%s %s: %s at %s, %s", probes[i].Op, probes[i].Path, v.Errno, v.Step, v.Records)
				}
			}
		})
	}
}
