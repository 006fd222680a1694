package host

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

func TestEVM(t *testing.T) {
	tests := []struct {
		spec   string
		want   EVMState
		ok     bool
		active bool
	}{
		{"", 0, false, false},
		{`file sys/kernel/security/evm content="0\n"`, 0, true, false},
		{`file sys/kernel/security/evm content="1"`, EVMHMAC, true, true},
		{`file sys/kernel/security/integrity/evm/evm content="2\n"`, EVMX509, true, true},
		{`file sys/kernel/security/integrity/evm/evm content=6`, EVMX509 | EVMMetadataWrites, true, true},
		{`file sys/kernel/security/evm content=4`, EVMMetadataWrites, true, false},
		{`file sys/kernel/security/evm content=2147483649`, 1<<31 | EVMHMAC, true, true}, // set up for good
		{`file sys/kernel/security/evm content=yes`, 0, false, false},
		{`file sys/kernel/security/evm`, 0, false, false},
	}
	for _, tt := range tests {
		h := Host{Root: treetest.Make(t, tt.spec)}
		state, ok := h.EVM()
		if state != tt.want || ok != tt.ok || state.Active() != tt.active {
			t.Errorf("%q: %d, %v, active %v", tt.spec, state, ok, state.Active())
		}
		if got, want := h.HMACRefused(), ok && state&EVMMetadataWrites == 0; got != want {
			t.Errorf("%q: HMACs refused %v", tt.spec, got)
		}
	}
}

func TestHasIMA(t *testing.T) {
	if (Host{Root: t.TempDir()}).HasIMA() || !(Host{Root: treetest.Make(t, "dir sys/kernel/security/ima")}).HasIMA() {
		t.Error("IMA is where it is not, or not where it is")
	}
}

func TestOption(t *testing.T) {
	h := Host{Root: treetest.Make(t, `file proc/cmdline content="quiet ima_appraise=fix ima_policy=tcb ima_appraise=enforce xima_appraise=off ima_policy\n"`)}
	for name, want := range map[string]string{"ima_appraise": "enforce", "ima_policy": "tcb", "appraise": "", "quiet": ""} {
		if got, ok := h.Option(name); got != want || ok != (want != "") {
			t.Errorf("%s=%q, %v; want %q", name, got, ok, want)
		}
	}
	if v, ok := (Host{Root: t.TempDir()}).Option("quiet"); v != "" || ok {
		t.Errorf("%q, %v", v, ok)
	}
}

func TestMayWriteSecurity(t *testing.T) {
	treetest.Root(t)
	tests := []struct {
		name, spec string
		namespaced bool
	}{
		{"initial", `file proc/self/uid_map content="0 0 4294967295\n"`, false},
		{"no user namespaces", "", false},
		{"rootless", `file proc/self/uid_map content="0 1000 1\n1 100000 65536\n"`, true},
		{"container", `file proc/self/uid_map content="0 100000 65536\n"`, true},
		{"odd", `file proc/self/uid_map`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Host{Root: treetest.Make(t, tt.spec)}.MayWriteSecurity()
			var privilege *PrivilegeError
			if got := errors.As(err, &privilege); got != tt.namespaced || got && !privilege.Namespaced {
				t.Errorf("%v", err)
			}
			err = Host{Root: treetest.Make(t, tt.spec)}.MayLoadKeys()
			var other *KeyringError
			if got := errors.As(err, &other); got != tt.namespaced || got && !other.Namespaced {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMayWriteSecurityAsUser(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	var privilege *PrivilegeError
	if err := (Host{}).MayWriteSecurity(); !errors.As(err, &privilege) || privilege.Namespaced {
		t.Errorf("%v", err)
	}
	var other *KeyringError
	if err := (Host{}).MayLoadKeys(); !errors.As(err, &other) || other.Namespaced {
		t.Errorf("%v", err)
	}
}

func TestPseudo(t *testing.T) {
	for magic, want := range map[uint32]string{0x01021994: "tmpfs", 0x63677270: "cgroup2", 0xf97cff8c: "selinuxfs", 0xef53: "", 0x58465342: ""} {
		if name, ok := Pseudo(magic); name != want || ok != (want != "") {
			t.Errorf("%x is %q, %v", magic, name, ok)
		}
	}
	if !InMemory(0x01021994) || !InMemory(0x858458f6) || InMemory(0x9fa0) || InMemory(0xef53) {
		t.Error("file systems in memory")
	}
}

func TestConfig(t *testing.T) {
	const text = "# a comment\nCONFIG_EVM=y\nCONFIG_IMA=m\n# CONFIG_X is not set\nCONFIG_NAME=\"a=b\"\nother=1\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(text))
	z.Close()
	root := treetest.Make(t, "file proc/sys/kernel/osrelease content=\"6.1.0-test\\n\"\ndir boot\nfile lib/modules/6.1.0-test/config content=CONFIG_A=y\n")
	h := Host{Root: root}
	if _, from, err := h.Config(); err != nil || from != "/lib/modules/6.1.0-test/config" {
		t.Errorf("%s, %v", from, err)
	}
	if err := os.WriteFile(filepath.Join(root, "boot/config-6.1.0-test"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, from, err := h.Config(); err != nil || from != "/boot/config-6.1.0-test" {
		t.Errorf("%s, %v", from, err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/config.gz"), packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	c, from, err := h.Config()
	if err != nil || from != "/proc/config.gz" || len(c) != 4 || c["CONFIG_X"] != "n" || !c.Enabled("CONFIG_EVM") || c.Enabled("CONFIG_IMA") || c.Enabled("CONFIG_X") || c["CONFIG_NAME"] != `"a=b"` {
		t.Errorf("%v from %s, %v", c, from, err)
	}
	if _, _, err := (Host{Root: t.TempDir()}).Config(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, bad := range []string{"", "no configuration\n", "\x1f\x8b", "\x1f\x8bx"} {
		if c, err := readConfig(bytes.NewReader([]byte(bad))); err == nil {
			t.Errorf("%q is %v", bad, c)
		}
	}
}

func TestEVMXattrs(t *testing.T) {
	h := Host{Root: treetest.Make(t, `file sys/kernel/security/integrity/evm/evm_xattrs content="security.selinux\nsecurity.ima\n"`)}
	if names, ok := h.EVMXattrs(); !ok || len(names) != 2 || names[0] != "security.selinux" {
		t.Errorf("%q, %v", names, ok)
	}
	if names, ok := (Host{Root: t.TempDir()}).EVMXattrs(); ok || names != nil {
		t.Errorf("%q, %v", names, ok)
	}
}

func TestEVMWords(t *testing.T) {
	for state, want := range map[EVMState]string{
		0: "", EVMHMAC | EVMX509: "HMACs are verified and renewed, signatures are verified", EVMMetadataWrites: "EVM labels may be written",
		EVMComplete | EVMX509 | EVMSigV3: "signatures are verified, only signatures of version 3 count, nobody can change that any more",
	} {
		if got := strings.Join(state.Words(), ", "); got != want {
			t.Errorf("%x: %q", uint32(state), got)
		}
	}
}

// TestEVMHidden: what an ordinary user may not read is not taken for what is not there.
func TestEVMHidden(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	h := Host{Root: treetest.Make(t, `file sys/kernel/security/evm content="1"`)}
	if h.EVMHidden() {
		t.Error("it can be read")
	}
	if err := os.Chmod(filepath.Join(h.Root, "sys/kernel/security/evm"), 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.EVM(); ok || !h.EVMHidden() || (Host{Root: t.TempDir()}).EVMHidden() {
		t.Error("it cannot be read")
	}
}

func TestKernels(t *testing.T) {
	h := Host{Root: treetest.Make(t, "file boot/config-6.1.0-amd64 content=CONFIG_A=y\nfile boot/vmlinuz-6.1.0-amd64\nfile boot/vmlinuz-6.12\nfile boot/vmlinuz\n"+
		"file lib/modules/7.2/config content=CONFIG_B=y\nfile lib/modules/7.2/vmlinuz\nfile lib/modules/6.5/modules.dep\nfile boot/config-other\n")}
	if got := strings.Join(h.Kernels(), " "); got != "6.1.0-amd64 6.12 7.2" {
		t.Error(got)
	}
	for release, want := range map[string]string{"6.1.0-amd64": "/boot/config-6.1.0-amd64", "7.2": "/lib/modules/7.2/config", "6.12": ""} {
		c, from, err := h.ConfigOf(release)
		if want != from && want != "" || (want == "") != errors.Is(err, fs.ErrNotExist) || want != "" && len(c) != 1 {
			t.Errorf("%s: %v from %s, %v", release, c, from, err)
		}
	}
	if got := (Host{Root: t.TempDir()}).Kernels(); got != nil {
		t.Errorf("%q", got)
	}
}
