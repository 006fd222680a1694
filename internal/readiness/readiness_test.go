package readiness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/treetest"
)

// table asks a host that is made of files, of a kernel whose configuration has
// the options.
func tableOf(t *testing.T, files map[string]string, options string, change func(*Question)) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(filepath.Join(root, target), path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k := policy.Kernel{Major: 6, Minor: 12, SecureBoot: policy.False}
	tcb, err := builtin.Policy(k, "appraise_tcb")
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Host: host.Host{Root: root}, Kernel: k, Running: true, Policy: tcb, Owner: uint32(os.Getuid())}
	if options != "" {
		q.Config = host.Config{"CONFIG_IMA_DEFAULT_HASH": `"sha256"`}
		for option := range strings.FieldsSeq(options) {
			q.Config["CONFIG_"+option] = "y"
		}
	}
	if change != nil {
		change(&q)
	}
	var b strings.Builder
	for _, f := range Ask(q).Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Topic, strings.ReplaceAll(f.Why, root, ""))
		if f.Level == finding.Fail && f.Do == "" {
			t.Errorf("%s fails, and nothing says what to do", f.Topic)
		}
	}
	return b.String()
}

const debian = "IMA IMA_APPRAISE IMA_APPRAISE_BOOTPARAM AUDIT INTEGRITY_AUDIT INTEGRITY_SIGNATURE INTEGRITY_ASYMMETRIC_KEYS " +
	"CRYPTO_SHA256 CRYPTO_RSA EVM EVM_ATTR_FSUUID EXT4_FS_SECURITY"

func TestReadyHost(t *testing.T) {
	got := tableOf(t, map[string]string{
		"proc/cmdline":                   "root=/dev/vda ima_policy=appraise_tcb ima_appraise=log audit=1\n",
		"proc/keys":                      "0000000a I------ 1 perm 1f0f0000 0 0 keyring   .ima: 1\n0000000b I------ 1 perm 1f0f0000 0 0 keyring   _evm: 2\n",
		"proc/self/mountinfo":            "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:5 / /proc rw - proc proc rw\n3 1 8:2 / /boot/efi rw - vfat /dev/vdb rw,uid=7\n",
		"proc/swaps":                     "Filename Type Size Used Priority\n/dev/vdc partition 1 0 -2\n",
		"sys/kernel/security/ima/policy": "dont_appraise fsmagic=0x9fa0 \nappraise fowner=0 \n",
		"sys/kernel/security/evm":        "0\n",
	}, debian, func(q *Question) { q.Mode = "log" })
	want := `pass IMA: appraisal is built in; the kernel writes sha256 labels
pass digests: CONFIG_CRYPTO_SHA256 is built in
pass signatures: by RSA keys; ECDSA (CONFIG_CRYPTO_ECDSA) is not built in
pass EVM: built in; HMACs cover the UUID of the file system
pass secure boot: it is off: a boot entry without ima_policy= is the way back; keep one
pass ima_policy=: is appraise_tcb
pass ima_appraise=: is log: denials are in the audit log; enforce when there are none
pass active policy: 2 rules, by the kernel's own list: neither those of ima_policy= nor of /etc/ima/ima-policy
pass mode: log: files that fail are recorded, and used all the same
pass labels kept: an appraise rule is active: the kernel labels again what root changes
pass EVM state: EVM is not active: security.ima alone counts
pass keyring .ima: has 1 key
pass keyring _evm: has 2 keys
pass mounts: 1 mount holds labels
warn init: there is no /sbin/init here
pass open files: no appraised file of root is open for writing
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

// What an ordinary user cannot see is not taken for what is not there.
func TestHiddenProcesses(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	for name, want := range map[string]string{
		"18": "warn open files: files of root that are open for writing, whose labels will be stale: /var/log/syslog; what other processes have open cannot be seen (run as root)",
		"17": "warn open files: what other processes have open cannot be seen",
	} {
		files := map[string]string{
			"proc/17/fd/3": "-> var/log/lastlog", "proc/" + name + "/fd/3": "-> var/log/syslog",
			"proc/" + name + "/fdinfo/3": "pos:\t0\nflags:\t0102001\nmnt_id:\t22\n", "var/log/syslog": "",
		}
		got := tableOf(t, files, debian, func(q *Question) {
			q.Policy.Rules = q.Policy.Rules[14:] // tests may run in a tmpfs
			dir := filepath.Join(q.Host.Root, "proc/17/fd")
			t.Cleanup(func() { os.Chmod(dir, 0o755) })
			if err := os.Chmod(dir, 0); err != nil {
				t.Fatal(err)
			}
		})
		if !strings.Contains(got, want+"\n") {
			t.Errorf("got\n%s\nwant the line\n%s", got, want)
		}
	}
}

func TestUnreadyHost(t *testing.T) {
	got := tableOf(t, map[string]string{
		"proc/cmdline": "ima_appraise=fix\n",
		"proc/keys":    "0000000a I------ 1 perm 1f0f0000 0 0 keyring   .ima: empty\n",
		"proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/vda rw\n3 1 8:2 / /boot/efi rw - vfat /dev/vdb rw\n" +
			"4 1 0:9 / /sys/kernel/tracing rw - tracefs tracefs rw\n5 1 0:10 / /mnt/n\\040fs rw - nfs4 h:/ rw\n6 1 0:11 / /c rw - overlay overlay rw\n" +
			"7 1 7:1 / /snap/a ro - squashfs /dev/loop1 ro\n8 1 0:12 / /s rw - fuse.sshfs h: rw\n",
		"proc/swaps":                         "Filename Type Size Used Priority\n/swapfile file 1 0 -2\n",
		"proc/17/fd/3":                       "-> var/log/syslog",
		"proc/17/fdinfo/3":                   "pos:\t0\nflags:\t0102001\nmnt_id:\t22\n",
		"proc/18/fd/3":                       "-> var/log/syslog",
		"proc/18/fdinfo/3":                   "pos:\t0\nflags:\t0100002\nmnt_id:\t22\n",
		"proc/19/fd/0":                       "-> etc/ima/ima-policy",
		"proc/19/fdinfo/0":                   "pos:\t0\nflags:\t0100000\n",
		"var/log/syslog":                     "",
		"etc/prelink.cache":                  "",
		"etc/ima/ima-policy":                 "appraise func=FOO\n",
		"sbin/init":                          "",
		"sys/kernel/security/evm":            "1\n",
		"sys/kernel/security/ima/violations": "0\n",
	}, "IMA IMA_APPRAISE IMA_APPRAISE_SIGNED_INIT", func(q *Question) {
		q.Kernel.SecureBoot = policy.True
		q.Policy.Rules = q.Policy.Rules[14:] // tests may run in a tmpfs
		q.Statfs = func(string) (Space, error) { return Space{Free: 5 << 20, BlockSize: 4096, Inodes: 9000}, nil }
	})
	for _, line := range []string{
		"warn signed init: CONFIG_IMA_APPRAISE_SIGNED_INIT: appraise_tcb demands signatures of all files of root",
		"warn log mode: without CONFIG_IMA_APPRAISE_BOOTPARAM ima_appraise= is ignored: enforcement at once",
		"fail digests: CONFIG_CRYPTO_SHA256 is not built in: files cannot be read before modules are loaded, nor modules",
		"warn signatures: without CONFIG_INTEGRITY_ASYMMETRIC_KEYS signed files are denied",
		"warn EVM: the kernel was built without it: labels can be replaced offline, and owner and mode are not protected",
		"warn audit: without CONFIG_AUDIT and CONFIG_INTEGRITY_AUDIT denials are silent",
		"warn secure boot: it is on: no log mode, no fix mode, and no way back by the command line",
		`fail policy file: kernel 6.12 would refuse /etc/ima/ima-policy: line 1, column 10: "func=FOO": unknown hook (the kernel answers EINVAL)`,
		"warn ima_appraise=: is fix, and the kernel ignores it and enforces",
		"warn audit=: is not 1: records of denials may get lost",
		"warn active policy: a policy was loaded, and neither the kernel nor the log shows its rules",
		"warn labels kept: not known whether an appraise rule is active: without one the kernel does not label again what root changes",
		"pass EVM state: EVM is active (1): HMACs are verified and renewed",
		"warn keyring .ima: is empty: signatures are wrong to the kernel",
		"warn keyring .evm: is not there, nor _evm: signatures are wrong to the kernel",
		"fail mount ext4: /: the kernel was built without CONFIG_EXT4_FS_SECURITY and denies every file of root",
		"fail mount vfat: /boot/efi: no attributes, every open of a file of root is denied without a record",
		"warn mount tracefs: /sys/kernel/tracing: no attributes, every open of a file of root is denied without a record; it hits tools that use it",
		"fail mount nfs4: /mnt/n fs: carries no security.ima",
		"warn mount overlay: /c: files need labels in the layers, and containers' images have none",
		"fail mount fuse.sshfs: /s: may not pass labels through, and its changes cannot be seen",
		"fail init: no label: /sbin/init; the kernel would panic for want of a working init",
		"warn boot's writes: files of root that boots and timers write, whose labels will be stale: /var/log/syslog",
		"warn open files: files of root that are open for writing, whose labels will be stale: /var/log/syslog",
		"warn swap file: /swapfile is written behind the file system: its label will be wrong at the next swapon",
		"warn prelink: it rewrites programs in place, signed ones too",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Logf("got\n%s", got)
	}
}

// TestAssumedPolicy: on a host that appraises by rules of its own these count, unless
// others are named.
func TestAssumedPolicy(t *testing.T) {
	files := map[string]string{
		"sys/kernel/security/ima/policy": "dont_appraise fsname=vfat \nappraise fowner=0 \n", "proc/self/mountinfo": "3 1 8:2 / /boot/efi rw - vfat /dev/vdb rw\n",
	}
	for assumed, isThere := range map[bool]bool{true: false, false: true} {
		got := tableOf(t, files, debian+" IMA_READ_POLICY", func(q *Question) { q.Assumed = assumed })
		if strings.Contains(got, "fail mount vfat: /boot/efi") != isThere {
			t.Errorf("%v: got\n%s", assumed, got)
		}
	}
	files["sys/kernel/security/ima/policy"] = "measure func=BPRM_CHECK \n"
	if got := tableOf(t, files, debian+" IMA_READ_POLICY", func(q *Question) { q.Assumed = true }); !strings.Contains(got, "fail mount vfat: /boot/efi") {
		t.Errorf("rules that appraise nothing: got\n%s", got)
	}
}

func TestOtherKernels(t *testing.T) {
	root := map[string]string{"proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/vda rw\n7 1 7:1 / /snap/a ro - squashfs /dev/loop1 ro\n"}
	got := tableOf(t, root, debian+" CRYPTO_ECDSA SQUASHFS_XATTR", func(q *Question) {
		q.Running = false
		q.Statfs = func(string) (Space, error) { return Space{Free: 5 << 20, BlockSize: 4096, Inodes: 9000}, nil }
	})
	for _, line := range []string{
		"pass signatures: by RSA and ECDSA keys",
		"warn space: /: signatures may take a block of each of 9000 files, and 5 MiB are free",
		"warn mount squashfs: /snap/a: mounted read-only, labels must be there already",
		"warn ima_policy=: is not given: without it nothing is appraised",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "securityfs") || strings.Contains(got, "keyring") {
		t.Errorf("the running kernel counts for another:\n%s", got)
	}
	if got := tableOf(t, root, "SMP", nil); !strings.Contains(got, "fail IMA: the kernel was built without CONFIG_IMA\n") {
		t.Errorf("got\n%s", got)
	}
	if got := tableOf(t, root, "IMA", nil); !strings.Contains(got, "fail IMA: without CONFIG_IMA_APPRAISE") {
		t.Errorf("got\n%s", got)
	}
	if got := tableOf(t, root, "", nil); !strings.Contains(got, "warn configuration: ") {
		t.Errorf("got\n%s", got)
	}
}
