package target

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/treetest"
	"imaseal/keys/kernelcert"
	"imaseal/sign"
)

// world is a host with a kernel that has IMA and EVM, and the names of
// configurations of other kernels.
func world(t *testing.T) (h host.Host, config func(name string) string) {
	t.Helper()
	root := treetest.Make(t, `file proc/sys/kernel/osrelease content="6.12.9-host\n"
file proc/sys/kernel/arch content="x86_64\n"
file proc/cmdline content="ima_hash=sha512 ima_template_fmt=d-ng|n-ng"
file boot/config-6.12.9-host content="CONFIG_X86_64=y\nCONFIG_64BIT=y\nCONFIG_IMA=y\nCONFIG_IMA_APPRAISE=y\nCONFIG_EVM=y\nCONFIG_SECURITY_SELINUX=y\nCONFIG_CRYPTO_HASH_INFO=y\nCONFIG_CRYPTO_SHA256=y\nCONFIG_CRYPTO_SHA512=m\n"
file sys/kernel/security/integrity/evm/evm content="3\n"
file sys/kernel/security/integrity/evm/evm_xattrs content="security.selinux\nsecurity.ima\nsecurity.capability\nsecurity.mine\n"
file configs/arm content="# Linux/arm 6.1.50 Kernel Configuration\nCONFIG_ARM=y\nCONFIG_CPU_LITTLE_ENDIAN=y\nCONFIG_CC_VERSION_TEXT=\"gcc\"\nCONFIG_IMA=y\nCONFIG_EVM=y\nCONFIG_EVM_ATTR_FSUUID=y\nCONFIG_SECURITY_SMACK=y\nCONFIG_CRYPTO_HASH_INFO=y\nCONFIG_CRYPTO_SHA256=y\n"
file configs/s390 content="CONFIG_S390=y\nCONFIG_64BIT=y\nCONFIG_CPU_BIG_ENDIAN=y\nCONFIG_EVM=y\n"
file configs/no-evm content="CONFIG_IMA=y\nCONFIG_CRYPTO_SHA3=m\n"
file configs/none content=text
`)
	return host.Host{Root: root}, func(name string) string { return filepath.Join(root, "configs", name) }
}

func open(t *testing.T, o Options, h host.Host) *Target {
	t.Helper()
	target, err := Open(o, h)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return target
}

// Without options the running kernel is meant, and the host is asked.
func TestRunning(t *testing.T) {
	h, _ := world(t)
	k := open(t, Options{}, h)
	if !k.Running || k.String() != "6.12" || k.DefaultHash != hash.SHA512 || k.TemplateFormat != "d-ng|n-ng" || k.Word32 || k.BigEndian {
		t.Errorf("%+v", k)
	}
	if k.State() != (State{HMAC: true, X509: true}) {
		t.Errorf("state %+v", k.State())
	}
	e, err := k.EVM()
	if err != nil || !slices.Equal(e.Counted(), []string{"security.selinux", "security.ima", "security.capability"}) ||
		!slices.Equal(e.Added, []string{"security.mine"}) || !e.NoUUID() || e.UUID != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if want := "in the running kernel 6.12.9-host: selinux ima capability mine, without file system UUID"; e.String() != want {
		t.Errorf("%s", e)
	}
}

// What is known of the running kernel does not count for another.
func TestAnother(t *testing.T) {
	h, config := world(t)
	for name, o := range map[string]Options{
		"version":      {Version: "6.12"},
		"architecture": {Arch: "s390x"},
	} {
		k := open(t, o, h)
		if k.Running || k.Configuration != nil || k.DefaultHash != 0 || k.State().IsActive() || k.Digest(hash.SHA512) != policy.UnknownPresence {
			t.Errorf("%s: %+v", name, k)
		}
		e, err := k.EVM()
		if err != nil || e.CountsUUID != policy.Unknown || e.NoUUID() || e.Added != nil ||
			!slices.Equal(e.Counted(), []string{"security.selinux", "security.apparmor", "security.ima", "security.capability"}) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		for attribute, want := range map[string]policy.Truth{
			"security.selinux": policy.Unknown, "security.capability": policy.True, "security.x": policy.False,
		} {
			if got := e.Counts(attribute); got != want {
				t.Errorf("%s: %s counts: %s", name, attribute, got)
			}
		}
	}
	if k := open(t, Options{Arch: "x86_64"}, h); !k.Running {
		t.Errorf("the running kernel's own architecture is another's: %+v", k)
	}
	k := open(t, Options{ConfigFile: config("arm"), Attrs: []string{"security.mine", "security.ima", "security.mine"}}, h)
	if k.Running || k.String() != "6.1" || !k.Word32 || k.BigEndian {
		t.Errorf("%+v", k)
	}
	e, err := k.EVM()
	if err != nil || !slices.Equal(e.Counted(), []string{"security.SMACK64", "security.capability"}) || e.CountsUUID != policy.True ||
		!slices.Equal(e.Added, []string{"security.mine"}) || e.Layout != (imaevm.Target{Word32: true, NoSHA3: true}) {
		t.Errorf("%+v, %v", e, err)
	}
	if !strings.HasSuffix(e.String(), "arm: SMACK64 capability mine, with file system UUID, 32-bit") {
		t.Errorf("%s", e)
	}
}

func TestLayouts(t *testing.T) {
	h, config := world(t)
	for _, c := range []struct {
		o                 Options
		word32, bigEndian bool
		err               string
	}{
		{o: Options{Arch: "arm"}, word32: true},
		{o: Options{Arch: "armhf"}, word32: true},
		{o: Options{Arch: "mips"}, word32: true, bigEndian: true},
		{o: Options{Arch: "mips64el"}},
		{o: Options{Arch: "ppc64"}, bigEndian: true},
		{o: Options{Arch: "ppc64le"}},
		{o: Options{Arch: "s390x"}, bigEndian: true},
		{o: Options{ConfigFile: config("s390"), Version: "6.12"}, bigEndian: true},
		{o: Options{ConfigFile: config("s390"), Version: "6.12", Arch: "s390x"}, bigEndian: true},
		{o: Options{ConfigFile: config("arm"), Arch: "armv7l"}, word32: true},
		{o: Options{ConfigFile: config("no-evm"), Arch: "ppc"}, word32: true, bigEndian: true},
		{o: Options{ConfigFile: config("arm"), Arch: "arm64"}, err: "is that of a kernel for arm"},
		{o: Options{ConfigFile: config("arm"), Arch: "armbe"}, err: "is that of a kernel for arm"},
		{o: Options{ConfigFile: config("arm"), Arch: "386"}, err: "is that of a kernel for arm"},
		{o: Options{ConfigFile: config("s390"), Arch: "amd64"}, err: "is that of a kernel for s390x"},
	} {
		k, err := Open(c.o, h)
		var option *OptionError
		if c.err != "" {
			if !errors.As(err, &option) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c.o, err)
			}
		} else if err != nil || k.Word32 != c.word32 || k.BigEndian != c.bigEndian {
			t.Errorf("%+v: %+v, %v", c.o, k, err)
		}
	}
}

func TestLayoutOf(t *testing.T) {
	const whole = " CC_VERSION_TEXT=gcc"
	for config, want := range map[string]string{
		"X86_64=y 64BIT=y" + whole:                 "a kernel for amd64",
		"X86_64=y":                                 "a kernel for amd64",
		"X86_32=y 64BIT=n" + whole:                 "a kernel for 386",
		"ARM64=y 64BIT=y" + whole:                  "a kernel for arm64",
		"ARM64=y 64BIT=y CPU_BIG_ENDIAN=y" + whole: "a kernel for arm64be",
		"ARM=y CPU_BIG_ENDIAN=y" + whole:           "a kernel for armbe",
		"ARM=y":                                    "a 32-bit kernel",
		"RISCV=y 64BIT=y" + whole:                  "a kernel for riscv64",
		"RISCV=y 32BIT=y" + whole:                  "a kernel for riscv32",
		"S390=y 64BIT=y CPU_BIG_ENDIAN=y" + whole:  "a kernel for s390x",
		"S390=y": "a kernel for s390x",
		"PPC64=y 64BIT=y CPU_LITTLE_ENDIAN=y" + whole: "a kernel for ppc64le",
		"PPC64=y 64BIT=y CPU_BIG_ENDIAN=y" + whole:    "a kernel for ppc64",
		"PPC64=y": "a 64-bit kernel",
		"PPC32=y 32BIT=y CPU_BIG_ENDIAN=y" + whole:        "a kernel for ppc",
		"MIPS=y 32BIT=y 64BIT=n CPU_BIG_ENDIAN=y" + whole: "a kernel for mips",
		"MIPS=y 64BIT=y CPU_LITTLE_ENDIAN=y" + whole:      "a kernel for mips64le",
		"MIPS=y":                              "a kernel",
		"LOONGARCH=y 64BIT=y" + whole:         "a kernel for loong64",
		"XTENSA=y" + whole:                    "a 32-bit little endian kernel",
		"OPENRISC=y CPU_BIG_ENDIAN=y" + whole: "a 32-bit big endian kernel",
		"64BIT=n":                             "a 32-bit kernel",
		"64BIT=y":                             "a 64-bit kernel",
		"CPU_BIG_ENDIAN=y":                    "a big endian kernel",
		"EVM=y":                               "a kernel",
	} {
		c := make(host.Config)
		for _, option := range strings.Fields(config) {
			name, value, _ := strings.Cut(option, "=")
			c["CONFIG_"+name] = value
		}
		if got := fmt.Sprint(layoutOf(c)); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

// Every name means one architecture.
func TestArches(t *testing.T) {
	seen := make(map[string]bool)
	for _, a := range arches {
		for _, name := range append([]string{a.name}, a.also...) {
			if seen[name] {
				t.Errorf("%s means two", name)
			}
			seen[name] = true
		}
	}
	if !isArch("x86_64", "amd64") || isArch("arm", "arm64") || isArch("x", "x") {
		t.Error("names are compared wrongly")
	}
}

func TestVersions(t *testing.T) {
	h, _ := world(t)
	for version, want := range map[string]reason.Code{
		"5.4": reason.OldKernel, "6.0.9": reason.OldKernel, "6.1": "", "6.13": "", "7.2.13": "", "7.3": reason.NewKernel, "9.9": reason.NewKernel,
	} {
		k := open(t, Options{Version: version}, h)
		if want == "" && k.Warnings != nil || want != "" && (len(k.Warnings) != 1 || k.Warnings[0].Code != want) {
			t.Errorf("%s: %+v", version, k.Warnings)
		}
	}
}

func TestDigest(t *testing.T) {
	h, config := world(t)
	for _, c := range []struct {
		o    Options
		a    hash.Algorithm
		want policy.Presence
	}{
		{Options{}, hash.SHA256, policy.BuiltIn},
		{Options{}, hash.SHA512, policy.Module},
		{Options{}, hash.SHA384, policy.Module},
		{Options{}, hash.SM3, policy.Absent},
		{Options{}, hash.SHA3_256, policy.Absent},
		{Options{Version: "6.1"}, hash.SHA3_256, policy.Absent}, // the label cannot be read
		{Options{Version: "6.6"}, hash.SHA3_256, policy.Absent},
		{Options{Version: "6.7"}, hash.SHA3_256, policy.UnknownPresence},
		{Options{Version: "6.12"}, hash.SHA512, policy.UnknownPresence},
		{Options{ConfigFile: config("no-evm")}, hash.SHA256, policy.UnknownPresence}, // a part of one, which says nothing of it
		{Options{ConfigFile: config("no-evm")}, hash.SHA3_512, policy.Module},
		{Options{ConfigFile: config("arm")}, hash.SHA512, policy.Absent},
	} {
		if got := open(t, c.o, h).Digest(c.a); got != c.want {
			t.Errorf("%+v, %s: %s, want %s", c.o, c.a, got, c.want)
		}
	}
	for version, want := range map[string]bool{"6.1": false, "6.6.9": false, "6.7": true, "7.2": true, "": true} {
		if err := (Options{Version: version}).CheckDigest(hash.SHA3_256); (err == nil) != want {
			t.Errorf("%s: %v", version, err)
		}
		if err := (Options{Version: version}).CheckDigest(hash.SM3); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	// A kernel without IMA that happens to run is not what labels are for.
	h = host.Host{Root: treetest.Make(t, "file proc/sys/kernel/osrelease content=6.12.9\nfile boot/config-6.12.9 content=\"CONFIG_CRYPTO_SHA256=m\\nCONFIG_CRYPTO_HASH_INFO=y\\n\"")}
	if k := open(t, Options{}, h); k.Configuration == nil || k.Digest(hash.SHA256) != policy.UnknownPresence || k.Digest(hash.SM3) != policy.UnknownPresence {
		t.Errorf("%+v: %s", k, k.Digest(hash.SHA256))
	}
}

func TestCheck(t *testing.T) {
	uuid := new([16]byte)
	for _, c := range []struct {
		o    Options
		want string // the beginning; empty for none
	}{
		{Options{}, ""},
		{Options{Version: "six"}, `kernel version "six" is not of the form 6.12`},
		{Options{Arch: "vax"}, `--target-arch "vax"`},
		{Options{UUID: uuid}, ""},
		{Options{UUID: uuid, NoUUID: true}, "--evm-uuid and --evm-no-uuid"},
		{Options{Attrs: []string{"security.x", "user.x"}}, `--evm-xattr "user.x"`},
		{Options{Attrs: []string{"security.evm"}}, `--evm-xattr "security.evm"`},
		{Options{EVM: &State{SigV3: true}}, "--evm-state sigv3 alone"},
		{Options{EVM: &State{X509: true, SigV3: true}}, ""}, // the running kernel may know it
		{Options{EVM: &State{X509: true, SigV3: true}, Version: "6.12"}, "--evm-state sigv3 is of kernels since 7.2"},
		{Options{EVM: &State{X509: true, SigV3: true}, Version: "7.2"}, ""},
		{Options{EVM: &State{X509: true}, HasHMACKey: true}, "--evm-key is given, and EVM has no HMAC key with --evm-state x509"},
		{Options{EVM: &State{}, HasHMACKey: true}, "--evm-key is given, and EVM has no HMAC key with --evm-state none"},
	} {
		err := c.o.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
	h, config := world(t)
	if _, err := Open(Options{EVM: &State{X509: true, SigV3: true}}, h); err == nil {
		t.Error("6.12 is taken to know sigv3")
	}
	k := open(t, Options{ConfigFile: config("s390"), UUID: uuid}, h)
	var option *OptionError
	if _, err := k.EVM(); !errors.As(err, &option) {
		t.Errorf("a UUID that does not count: %v", err)
	}
	if _, err := open(t, Options{ConfigFile: config("no-evm")}, h).EVM(); !errors.Is(err, ErrNoEVM) {
		t.Errorf("no EVM: %v", err)
	}
	if _, err := Open(Options{ConfigFile: config("none")}, h); !errors.Is(err, host.ErrNoConfig) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestStates(t *testing.T) {
	h, _ := world(t)
	for _, text := range []string{"none", "hmac", "x509", "hmac,x509", "x509,sigv3", "hmac,x509,sigv3"} {
		s, err := ParseState(text)
		if err != nil || s.String() != text {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
	for _, text := range []string{"", ",", "on", "hmac,", "hmac,hmac", "none,hmac", "hmac,none"} {
		if s, err := ParseState(text); err == nil || s != (State{}) {
			t.Errorf("%q: %s", text, s)
		}
	}
	if s := open(t, Options{Version: "6.12", HasHMACKey: true}, h).State(); s != (State{HMAC: true}) {
		t.Errorf("who has the key has EVM: %s", s)
	}
	if s := open(t, Options{EVM: &State{}}, h).State(); s.IsActive() {
		t.Errorf("none is %s", s)
	}
}

func TestOpenPolicy(t *testing.T) {
	dir := treetest.Make(t, `file good content="appraise fowner=0\n"
file bad content="appraise func=NEW\n"
file tcb content="measure\n"`)
	h, _ := world(t)
	k := open(t, Options{Version: "6.12"}, h)
	for name, want := range map[string]struct {
		rules  int
		isFile bool
	}{
		filepath.Join(dir, "good"): {1, true}, filepath.Join(dir, "tcb"): {1, true}, "secure_boot": {4, false},
	} {
		p, err := k.OpenPolicy(name)
		if err != nil || len(p.Rules) != want.rules || p.IsFile != want.isFile || IsPolicyFile(name) != want.isFile || want.isFile && len(p.Own.Rules) != 1 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	var path *fs.PathError
	if _, err := k.OpenPolicy(filepath.Join(dir, "bad")); !errors.As(err, &path) || !strings.Contains(err.Error(), "unknown hook") {
		t.Errorf("bad: %v", err)
	}
	if _, err := k.OpenPolicy(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := k.OpenPolicy("/dev/zero"); !errors.Is(err, errLongPolicy) {
		t.Errorf("endless: %v", err)
	}
	if _, err := k.OpenPolicy(RunningPolicy); !errors.Is(err, host.ErrNoIMA) {
		t.Errorf("running: %v", err)
	}
}

func TestKeys(t *testing.T) {
	h, _ := world(t)
	named := listedKeys{7: true}
	var asked kernelcert.Kernel
	k := open(t, Options{Version: "6.12", Keys: func(k kernelcert.Kernel) sign.Verifiers {
		asked = k
		return named
	}}, h).Keys()
	if !asked.AtLeast(6, 12) || asked.AtLeast(6, 13) || asked.Option != nil {
		t.Errorf("the keys of %s are asked for", asked)
	}
	for _, ring := range []interface{}{k.IMA, k.EVM} {
		if got, ok := ring.(listedKeys); !ok || !got[7] {
			t.Errorf("%v", ring)
		}
	}
	if _, err := k.Platform.Verifier(7); err == nil {
		t.Error("a key of .platform is known")
	}
	if k := open(t, Options{Version: "6.12"}, h).Keys(); k.IMA != nil || k.EVM != nil {
		t.Errorf("keys of another kernel: %+v", k)
	}
}
