package readiness

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/active"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
)

// TestSigners: whose signatures are on the files that run is compared with the keyrings.
func TestSigners(t *testing.T) {
	treetest.Root(t)
	label := vectors.Read(t, "keys/rsa2048.cert.der")[:16]
	sig, err := imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: 4, KeyID: 0x01234567, Raw: label}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	root := treetest.Make(t, "file sbin/init content=x\nfile usr/bin/d content=y\nfile sys/kernel/security/ima/policy content=\"appraise fowner=0 \\n\"\n"+
		"file proc/keys content=\"0000000a I------ 1 perm 1f0f0000 0 0 keyring   _ima: 1\\n\"\n")
	if err := os.MkdirAll(filepath.Join(root, "proc/7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "usr/bin/d"), filepath.Join(root, "proc/7/exe")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sbin/init", "usr/bin/d"} {
		if err := unix.Setxattr(filepath.Join(root, name), imaevm.AttrIMA, sig, 0); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{
		"":         "fail signers: keys that signed files which a boot needs or that run: 01234567 is not in _ima (2 files, such as /sbin/init)",
		"01234567": "pass signers: keys that signed files which a boot needs or that run: 01234567 in _ima (2 files)",
		"76543210": "fail signers: keys that signed files which a boot needs or that run: 01234567 is not in _ima (2 files, such as /sbin/init)",
	} {
		count := "1"
		if id == "" {
			count = "empty"
		}
		if err := os.WriteFile(filepath.Join(root, "proc/keys"), []byte("0000000a I------ 1 perm 1f0f0000 0 0 keyring   _ima: "+count+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		q := Question{Host: host.Host{Root: root}, Running: true, Keys: func(string) []active.Key { return []active.Key{{ID: id, Description: "key"}} }}
		q.Policy, _ = builtin.Policy(q.Kernel, "appraise_tcb")
		q.Policy.Rules = q.Policy.Rules[14:] // tests may run in a tmpfs
		found := false
		for _, f := range Ask(q).Findings {
			found = found || string(f.Level)+" "+f.Topic+": "+f.Why == want
		}
		if !found {
			t.Errorf("%s: no line %q in %v", id, want, Ask(q).Findings)
		}
	}
}
