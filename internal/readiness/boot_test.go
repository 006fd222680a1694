package readiness

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/active"
	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/treetest"
)

// TestCommandLines: what each command line means for the next boot.
func TestCommandLines(t *testing.T) {
	secure := func(q *Question) { q.Kernel.SecureBoot = policy.True }
	for _, c := range []struct {
		line   string
		change func(*Question)
		want   string
	}{
		{"ima_policy=tcb", nil, "warn ima_policy=: is tcb, which appraises nothing"},
		{`ima_policy="tcb|appraise_tcb"`, nil, "pass ima_policy=: is tcb appraise_tcb"},
		{"ima_policy=appraise_tcb ima_policy=critical_data", nil, "pass ima_policy=: is appraise_tcb critical_data"},
		{"ima_appraise_tcb", nil, "pass ima_policy=: is ima_appraise_tcb"},
		{"ima_appraise_tcb", nil, "pass ima_appraise=: is not given, which means enforce"},
		{"ima_appraise=log", nil, "pass ima_appraise=: is log: denials"},
		{"ima_appraise=log", secure, "warn ima_appraise=: is log, and the kernel ignores it and enforces"},
		{"ima_appraise=log", func(q *Question) { q.Config = host.Config{"CONFIG_IMA": "y"} }, "warn ima_appraise=: is log, and the kernel ignores it"},
		{"ima_appraise=enforce", secure, "pass ima_appraise=: is enforce"},
		{"ima_appraise=off", nil, "warn ima_appraise=: is off, which enforces nothing"},
		{"ima_appraise=yes", nil, "warn ima_appraise=: is yes, which the kernel does not know: it enforces"},
		{"audit=0", nil, "warn audit=: is not 1"},
		{"evm=fix", nil, "warn evm=: is fix"},
		{"ima_hash=sha266", func(q *Question) { q.Kernel.DefaultHash = hash.SHA256 }, "warn ima_hash=: is sha266, which the kernel does not know"},
	} {
		got := tableOf(t, map[string]string{"proc/cmdline": c.line + "\n"}, "", c.change)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: no line %q in\n%s", c.line, c.want, got)
		}
	}
	got := tableOf(t, map[string]string{"proc/cmdline": "audit=1 ima_hash=sha256"}, "", func(q *Question) { q.Kernel.DefaultHash = hash.SHA256 })
	if strings.Contains(got, "audit=") || strings.Contains(got, "ima_hash=") {
		t.Errorf("got\n%s", got)
	}
}

// TestRules: what rules want of the kernel's build, and what it adds to them.
func TestRules(t *testing.T) {
	parse := func(q *Question, text string) {
		p, err := policy.Parse(text, q.Kernel)
		if err != nil {
			t.Fatal(err)
		}
		q.Policy = builtin.Custom(q.Kernel, p)
	}
	got := tableOf(t, nil, debian+" INTEGRITY_TRUSTED_KEYRING IMA_LOAD_X509", func(q *Question) {
		q.Kernel.Config = policy.Config{BuildPolicy: policy.True, RequireModule: policy.True, RequirePolicy: policy.True}
		q.Config["CONFIG_IMA_X509_PATH"] = `"/etc/keys/x509_ima.der"`
		parse(q, "appraise digest_type=verity appraise_type=sigv3 fowner=0\n")
	})
	for _, line := range []string{
		"warn kernel's rules: its build and secure boot demand signatures whatever policy is loaded: MODULE_CHECK, POLICY_CHECK",
		"warn later policies: a rule appraises policies: the kernel then takes no text, only a file with a signature",
		"fail fs-verity: rules compare fs-verity digests, and the kernel was built without CONFIG_FS_VERITY",
		"warn certificates: the keyrings .ima and .evm take only those that a key built into the kernel has signed",
		`pass initramfs: the kernel loads the certificate "/etc/keys/x509_ima.der" from it`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	got = tableOf(t, nil, debian+" IMA_LOAD_X509 EVM_LOAD_X509", func(q *Question) {
		q.Config["CONFIG_IMA_X509_PATH"], q.Config["CONFIG_EVM_X509_PATH"] = `"/etc/keys/x509_ima.der"`, `"/etc/keys/x509_evm.der"`
		q.Unloadable = func(path string) string { return map[string]string{"/etc/keys/x509_evm.der": "it is a CA"}[path] }
		parse(q, "appraise appraise_type=imasig\n")
	})
	for _, line := range []string{
		`pass initramfs: the kernel loads the certificate "/etc/keys/x509_ima.der" from it`,
		`fail initramfs: the kernel loads the certificate "/etc/keys/x509_evm.der" from it, and this one it would not: it is a CA`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	got = tableOf(t, nil, debian, func(q *Question) { parse(q, "appraise func=BPRM_CHECK appraise_type=imasig\n") })
	if !strings.Contains(got, "warn initramfs: the policy demands signatures: their keys must be loaded there") || strings.Contains(got, "certificates") {
		t.Errorf("got\n%s", got)
	}
}

// TestBootFiles: the first program's libraries count, and only where the
// policy appraises them.
func TestBootFiles(t *testing.T) {
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	files := map[string]string{
		"proc/cmdline": "init=/opt/first\n", "opt/first": string(program),
		"lib/libc.so.6": "library", "lib64/libc.so.6": "not found first", "etc/passwd": "", "bin/sh": "",
		"etc/adjtime": "", "var/lib/dhcp/dhclient.eth0.leases": "",
	}
	files["lib/x86_64-linux-gnu/libc.so.6"], files["lib/aarch64-linux-gnu/libc.so.6"] = "library", "library"
	everything := func(q *Question) { q.Policy.Rules = q.Policy.Rules[14:] }
	got := tableOf(t, files, debian, everything)
	for _, words := range []string{"fail init: no label: /opt/first, ", "/libc.so.6", "fail boot files: no label, and nobody could log in: /bin/sh, /etc/passwd\n",
		"warn boot's writes: files of root that boots and timers write, whose labels will be stale: /etc/adjtime, /var/lib/dhcp/dhclient.eth0.leases\n"} {
		if !strings.Contains(got, words) {
			t.Errorf("no %q in\n%s", words, got)
		}
	}
	got = tableOf(t, files, debian, func(q *Question) { q.Policy, _ = builtin.Policy(q.Kernel, "secure_boot") })
	if strings.Contains(got, " init: ") || strings.Contains(got, "boot files") || strings.Contains(got, "boot's writes") {
		t.Errorf("secure_boot does not appraise them:\n%s", got)
	}
	files["sys/kernel/security/ima/policy"] = "appraise fowner=0 \n"
	if got := tableOf(t, files, debian, everything); !strings.Contains(got, "pass boot's writes: ") {
		t.Errorf("labels are kept:\n%s", got)
	}
}

func TestBootFilesWithLabels(t *testing.T) {
	treetest.Root(t)
	root := t.TempDir()
	for _, name := range []string{"sbin/init", "etc/passwd"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(path, "security.ima", []byte{4, 4, 1}, 0); err != nil {
			t.Fatal(err)
		}
	}
	q := Question{Host: host.Host{Root: root}}
	q.Policy, _ = builtin.Policy(q.Kernel, "appraise_tcb")
	q.Policy.Rules = q.Policy.Rules[14:]
	findings := Ask(q).Findings
	for _, topic := range []string{"init", "boot files"} {
		if !slices.ContainsFunc(findings, func(f finding.Finding) bool { return f.Topic == topic && f.Level == finding.Pass }) {
			t.Errorf("%s: %v", topic, findings)
		}
	}
}

func TestDirectIO(t *testing.T) {
	files := map[string]string{
		"proc/17/fd/3": "-> data", "proc/17/fdinfo/3": "pos:\t0\nflags:\t0140000\nmnt_id:\t22\n", "data": "",
	}
	got := tableOf(t, files, "", func(q *Question) { q.Policy.Rules = q.Policy.Rules[14:] })
	if !strings.Contains(got, "warn direct I/O: files of root that are open with O_DIRECT, which is denied: /data\n") ||
		!strings.Contains(got, "pass open files: ") {
		t.Errorf("got\n%s", got)
	}
	got = tableOf(t, files, "", func(q *Question) {
		q.Policy.Rules = q.Policy.Rules[14:]
		q.Policy.Rules[0].DirectIO = true
	})
	if strings.Contains(got, "direct I/O") {
		t.Errorf("got\n%s", got)
	}
}

func TestHostFunctions(t *testing.T) {
	got := tableOf(t, map[string]string{
		"sys/kernel/security/ima/violations": "0\n",
		"proc/keys":                          "0000000a I------ 1 perm 1f0f0000 0 0 keyring   .ima: 2\n",
		"proc/self/mountinfo":                "1 0 8:1 / / rw - newfs /dev/vda rw\n2 1 8:2 / /old rw - otherfs /dev/vdb rw\n",
	}, "", func(q *Question) {
		q.Keys = func(name string) []active.Key {
			return []active.Key{{ID: "01234567", Description: "first of " + name}, {ID: "89abcdef", Description: "second"}}
		}
		q.Refuses = func(point string) bool { return point == "/old" }
	})
	for _, line := range []string{
		"pass keyring .ima: has 2 keys: 01234567 (first of .ima), 89abcdef (second)",
		"pass mounts: 1 mount holds labels",
		"warn mount otherfs: /old: takes no security attributes, and opens of files of root are denied",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// FuzzParseMounts: a mount that is found has what the text has.
func FuzzParseMounts(f *testing.F) {
	f.Add("1 0 8:1 / /a\\040b rw - ext4 /dev/vda rw,uid=7\n")
	f.Add("2 1 0:5 / /proc ro,nosuid shared:1 - proc proc rw\nx - y")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.point == "" || m.fstype == "" || !strings.Contains(text, m.fstype) || !strings.Contains(text, m.options) {
				t.Fatalf("%q has %+v", text, m)
			}
		}
	})
}

// FuzzOpenFlags: what is found is octal digits of the text.
func FuzzOpenFlags(f *testing.F) {
	f.Add("pos:\t0\nflags:\t0102001\nmnt_id:\t22\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n := openFlags(text); n != 0 && !strings.Contains(text, "flags:") {
			t.Fatalf("%q has %o", text, n)
		}
	})
}
