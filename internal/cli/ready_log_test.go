package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/internal/denials"
	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/treetest"
)

// slimConfig is what counts of Debian's configurations.
const slimConfig = `CONFIG_IMA=y
CONFIG_IMA_APPRAISE=y
CONFIG_IMA_APPRAISE_BOOTPARAM=y
CONFIG_IMA_DEFAULT_HASH="sha256"
CONFIG_INTEGRITY_SIGNATURE=y
CONFIG_INTEGRITY_ASYMMETRIC_KEYS=y
CONFIG_INTEGRITY_AUDIT=y
CONFIG_AUDIT=y
CONFIG_EVM=y
CONFIG_EVM_ATTR_FSUUID=y
CONFIG_CRYPTO_HASH_INFO=y
CONFIG_CRYPTO_SHA256=y
CONFIG_CRYPTO_RSA=y
CONFIG_CRYPTO_ECDSA=y
CONFIG_EXT4_FS_SECURITY=y
CONFIG_64BIT=y
`

// enforcingHost is a host of files, of which the kernel enforces a policy since an hour,
// and has denied some.
func enforcingHost(t *testing.T, change func(files map[string]string)) host.Host {
	t.Helper()
	root := t.TempDir()
	booted := time.Now().Add(-time.Hour).Unix()
	release := "6.12.117+deb13-cloud-amd64"
	serial := 0
	record := func(kind string, ago time.Duration, fields string) string {
		serial++
		return fmt.Sprintf("type=%s msg=audit(%d.000:%d): pid=7 uid=0 auid=0 ses=3 subj=unconfined %s res=0 errno=0\n", kind, time.Now().Add(-ago).Unix(), serial, fields)
	}
	refusal := func(comm, name string, ago time.Duration) string {
		return record("INTEGRITY_DATA", ago, fmt.Sprintf(`op=appraise_data cause=missing-hash comm="%s" name="%s" dev="vda1" ino=%d`, comm, filepath.Join(root, name), serial+1000))
	}
	files := map[string]string{
		"proc/cmdline": "ima_policy=appraise_tcb ima_appraise=enforce audit=1\n", "proc/stat": fmt.Sprintf("btime %d\n", booted),
		"proc/sys/kernel/osrelease": release + "\n", "proc/sys/kernel/arch": "x86_64\n", "proc/sys/kernel/random/boot_id": "2a9e250b-cb2b-4255-904c-b8fb1526ce10\n",
		"proc/keys": "", "proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/vda rw\n",
		"sys/kernel/security/ima/violations": "0\n", "sys/kernel/security/evm": "2\n",
		"boot/config-" + release: slimConfig, "boot/config-6.1.0-50-cloud-amd64": strings.Replace(slimConfig, "CONFIG_CRYPTO_ECDSA=y", "# CONFIG_CRYPTO_ECDSA is not set", 1), "boot/vmlinuz-6.13.1": "", "boot/vmlinuz-0-rescue-40d7dacdd511482394e240d097ab5d41": "",
		"lib/modules/7.2.13-cloud/config": slimConfig, "etc/ima/ima-policy": "appraise fowner<4294967294\n",
		"srv/bare": "x", "srv/other": "x",
		"var/log/audit/audit.log": refusal("old", "srv/bare", 3*time.Hour) +
			strings.Replace(record("INTEGRITY_POLICY_RULE", 58*time.Minute, ""), "pid=7 uid=0 auid=0 ses=3 subj=unconfined  res=0 errno=0", "action=appraise fowner<4294967294 res=1", 1) +
			strings.Replace(record("INTEGRITY_STATUS", 58*time.Minute, "op=policy_update cause=completed comm=\"systemd\""), "res=0", "res=1", 1) +
			refusal("cat", "srv/bare", 30*time.Minute) + refusal("sh", "srv/bare", 20*time.Minute) + refusal("sh", "srv/gone", 10*time.Minute) + refusal("imaseal", "srv/other", time.Minute) +
			record("INTEGRITY_METADATA", time.Minute, `op=appraise_metadata cause=no_label comm="chmod" name="x" dev="vda1" ino=3`),
	}
	if change != nil {
		change(files)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host.Host{Root: root}
}

// checkHosts runs check --host, and returns its lines by what they are about.
func checkHosts(t *testing.T, h host.Host, args ...string) (status int, found map[string][]hostFinding) {
	t.Helper()
	var out, errs bytes.Buffer
	p := Program{Args: append([]string{"check", "--host", "--json"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: h}
	status = Main(context.Background(), p)
	if errs.Len() > 0 {
		t.Errorf("said: %s", &errs)
	}
	found = make(map[string][]hostFinding)
	for line := range strings.Lines(out.String()) {
		var f struct{ Host hostFinding }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		found[f.Host.Check] = append(found[f.Host.Check], f.Host)
	}
	return status, found
}

// A hostFinding is a finding.Finding as programs read it.
type hostFinding struct {
	Status, Check, Why, Do string
	Data                   map[string]any
}

func wantFinding(t *testing.T, found map[string][]hostFinding, check, status, why string, data ...any) {
	t.Helper()
	for _, f := range found[check] {
		if f.Status != status || !strings.Contains(f.Why, why) {
			continue
		}
		for i := 0; i < len(data); i += 2 {
			if got := fmt.Sprint(f.Data[data[i].(string)]); got != fmt.Sprint(data[i+1]) {
				t.Errorf("%s: %v is %s, want %v", check, data[i], got, data[i+1])
			}
		}
		return
	}
	t.Errorf("%s: no %s with %q in %+v", check, status, why, found[check])
}

// TestAfterSwitch: on a host that enforces it is said what is active and since when,
// what was denied, which labels are stale, and what other kernels would change.
func TestAfterSwitch(t *testing.T) {
	status, found := checkHosts(t, enforcingHost(t, nil))
	if status != exitVerdict {
		t.Errorf("status %d", status)
	}
	wantFinding(t, found, "active policy", "pass", "1 rule, by the records of the loading: those of /etc/ima/ima-policy", "source", "records", "certain", true)
	wantFinding(t, found, "mode", "pass", "enforce: files that fail are refused", "mode", "enforce")
	wantFinding(t, found, "active since", "pass", "2m0s after the boot")
	wantFinding(t, found, "EVM state", "pass", "EVM is active (2): signatures are verified", "x509", true, "hmac", false)
	wantFinding(t, found, "denials", "warn", "in this boot: 3 denied; EVM refused 1 times to change owner, mode or labels; last ",
		"denied", 3, "own", 1, "change_refused", 1, "let_pass", 0, "open_files", 1)
	wantFinding(t, found, "denials", "warn", "; 1 more by imaseal, as by this check")
	wantFinding(t, found, "stale labels", "fail", "/srv/bare")
	wantFinding(t, found, "other kernel", "warn", "6.1.0-50-cloud-amd64: it has no ECDSA built in", "change", "no-signatures", "version", "6.1.0-50-cloud-amd64")
	wantFinding(t, found, "other kernel", "warn", "6.13.1: not compared: its configuration is neither in /boot nor in /lib/modules", "change", "unknown")
	wantFinding(t, found, "other kernel", "pass", "7.2.13-cloud: it takes labels, keys and rules as this one does")
	if n := len(found["other kernel"]); n != 3 {
		t.Errorf("%d other kernels: %v", n, found["other kernel"])
	}
}

// TestAfterSwitchInLogMode: what is let through is no denial.
func TestAfterSwitchInLogMode(t *testing.T) {
	_, found := checkHosts(t, enforcingHost(t, func(files map[string]string) {
		files["proc/cmdline"] = "ima_appraise=log\n"
		files["srv/bare"] = ""
	}))
	wantFinding(t, found, "mode", "pass", "log: files that fail are recorded, and used all the same", "mode", "log")
	wantFinding(t, found, "denials", "warn", "in this boot: 3 let through, which enforcing would deny", "denied", 0, "let_pass", 3)
}

// TestBeforeSwitch: without an active policy none of it is said.
func TestBeforeSwitch(t *testing.T) {
	_, found := checkHosts(t, enforcingHost(t, func(files map[string]string) {
		files["proc/cmdline"] = "quiet\n"
		delete(files, "etc/ima/ima-policy")
		files["var/log/audit/audit.log"] = ""
		files["sys/kernel/security/ima/policy"] = "x" // there, and so none was loaded
	}))
	for _, check := range []string{"mode", "denials", "stale labels", "other kernel", "active since"} {
		if found[check] != nil {
			t.Errorf("%+v", found[check])
		}
	}
}

// TestDenialsPolicy: where it is plain that no other policy was loaded than that of the
// command line, denials guesses nothing.
func TestDenialsPolicy(t *testing.T) {
	for there, want := range map[bool]string{true: "under appraise_tcb, with EVM active", false: "warning: the loaded policy is not to be seen"} {
		h := enforcingHost(t, func(files map[string]string) {
			if there {
				delete(files, "sys/kernel/security/ima/violations")
			}
		})
		if there { // and nobody may read it, root neither
			if err := os.MkdirAll(filepath.Join(h.Root, "sys/kernel/security/ima/policy"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		p := Program{Args: []string{"denials", "--boot"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: h}
		Main(context.Background(), p)
		if !strings.Contains(errs.String(), want) || there && strings.Contains(errs.String(), "warning") {
			t.Errorf("%v: %s", there, &errs)
		}
	}
}

// TestUnseenPolicy: what became of the host is told also where nothing shows the rules.
func TestUnseenPolicy(t *testing.T) {
	_, found := checkHosts(t, enforcingHost(t, func(files map[string]string) {
		delete(files, "etc/ima/ima-policy")
		files["var/log/audit/audit.log"] = ""
	}))
	wantFinding(t, found, "active policy", "warn", "a policy was loaded, and neither the kernel nor the log shows its rules")
	if os.Geteuid() == 0 {
		wantFinding(t, found, "denials", "pass", "nothing was denied in this boot", "denied", 0)
	} else {
		wantFinding(t, found, "denials", "warn", "not known: not run as root", "denied", 0)
	}
}

// TestUnreadableLog: an ordinary user is told what cannot be read, and the rest.
func TestUnreadableLog(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	h := enforcingHost(t, nil)
	for _, name := range []string{"var/log/audit/audit.log", "sys/kernel/security/evm"} {
		if err := os.Chmod(filepath.Join(h.Root, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, found := checkHosts(t, h)
	wantFinding(t, found, "EVM state", "warn", "it cannot be read")
	wantFinding(t, found, "denials", "warn", "not known, since no log can be read: ")
	wantFinding(t, found, "denials", "warn", "audit.log: permission denied")
	wantFinding(t, found, "active policy", "warn", "most likely the 1 rule of /etc/ima/ima-policy")
}

// TestNoLog: where there is no log to read, that is said, and no number.
func TestNoLog(t *testing.T) {
	b := &bootLog{mode: denials.Enforce, errs: []error{errors.New("the kernel's messages: open /dev/kmsg: operation not permitted")}}
	if f := b.denials(nil); f.Level != finding.Warn || f.Why != "not known, since no log can be read: the kernel's messages: open /dev/kmsg: operation not permitted" || f.Do != "run as root" {
		t.Errorf("%+v", f)
	}
}

// TestInterruptedHost: who interrupts the reading of a log wants no more of it.
func TestInterruptedHost(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&InterruptedError{Signal: os.Interrupt})
	var out, errs bytes.Buffer
	p := Program{Args: []string{"check", "--host"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: enforcingHost(t, nil)}
	if status := Main(ctx, p); status != 130 || out.Len() > 0 {
		t.Errorf("status %d: %s%s", status, &out, &errs)
	}
}

// TestPartialLog: a log that takes too long is told to be read in part.
func TestPartialLog(t *testing.T) {
	b := &bootLog{read: 1, partial: true, mode: denials.Enforce}
	f := b.denials(nil)
	if f.Level != finding.Warn || !strings.Contains(f.Why, "at least: the log was not read to its end in 10s") || !strings.Contains(f.Do, "imaseal denials --boot reads all of it") {
		t.Errorf("%+v", f)
	}
	if l := b.loading(); !l.Lossy {
		t.Errorf("%+v", l)
	}
}
