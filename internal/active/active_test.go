package active

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

const ownRules = "# mine\ndont_appraise fsmagic=0x01021994\nappraise func=BPRM_CHECK fowner=0 permit_directio\n"

// recorded are these rules as the kernel records them.
var recorded = []string{"dont_appraise fsmagic=0x01021994", "appraise func=BPRM_CHECK fowner=0"}

// debian are options of Debian's kernels.
const debian = "IMA IMA_APPRAISE IMA_APPRAISE_BOOTPARAM"

// tableOf asks a host that is made of files, of a kernel whose configuration has the
// options.
func tableOf(t *testing.T, files map[string]string, options string, change func(*Question)) string {
	t.Helper()
	q := Question{Host: host.Host{Root: t.TempDir()}, Kernel: policy.Kernel{Major: 6, Minor: 12, SecureBoot: policy.False}, Config: make(host.Config)}
	for name, content := range files {
		path := filepath.Join(q.Host.Root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for option := range strings.FieldsSeq(options) {
		q.Config["CONFIG_"+option] = "y"
	}
	if change != nil {
		change(&q)
	}
	var b strings.Builder
	for _, f := range Look(q).Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Topic, f.Why)
	}
	return b.String()
}

// TestActive: which rules are active is known from the kernel, from the records of
// their loading, or from what was not loaded, and else is only likely.
func TestActive(t *testing.T) {
	tcb, err := builtin.Policy(policy.Kernel{Major: 6, Minor: 12}, "appraise_tcb")
	if err != nil {
		t.Fatal(err)
	}
	booted := time.Date(2026, 11, 26, 7, 0, 0, 0, time.UTC)
	stat := "cpu 1\nbtime 1795676400\n"
	if time.Unix(1795676400, 0).UTC() != booted {
		t.Fatal(time.Unix(1795676400, 0).UTC())
	}
	const dir = "sys/kernel/security/ima/"
	const bootEntry = "ima_policy=appraise_tcb ima_appraise=enforce\n"
	loaded := func(l Loading) func(*Question) { return func(q *Question) { q.Loading = l } }
	all := Loading{At: booted.Add(14 * time.Second), Rules: recorded, Times: 1}
	lossy := all
	lossy.Lossy = true
	for _, c := range []struct {
		name   string
		files  map[string]string
		more   string // options of the kernel's
		change func(*Question)
		want   []string
	}{
		{"shown, built in", map[string]string{"proc/cmdline": bootEntry, "proc/stat": stat, dir + "policy": tcb.String()}, " IMA_READ_POLICY", nil,
			[]string{"pass active policy: 15 rules, by the kernel's own list: those of appraise_tcb", "pass active since: 2026-11-26 07:00:00, when the host was booted",
				"pass mode: enforce: files that fail are refused", "pass labels kept"}},
		{"shown, own", map[string]string{"proc/cmdline": bootEntry, dir + "policy": strings.SplitAfterN(ownRules, "\n", 2)[1], "etc/ima/ima-policy": ownRules}, " IMA_READ_POLICY", nil,
			[]string{"pass active policy: 2 rules, by the kernel's own list: those of /etc/ima/ima-policy"}},
		{"built in, and the file to load another is there", map[string]string{"proc/cmdline": bootEntry, "proc/stat": stat, "etc/ima/ima-policy": ownRules}, "",
			func(q *Question) { hide(t, q) }, []string{"pass active policy: the 15 rules of appraise_tcb on the command line: no other was loaded", "pass active since: 2026-11-26 07:00:00, when"}},
		{"recorded", map[string]string{"proc/cmdline": bootEntry, "proc/stat": stat, dir + "violations": "", "etc/ima/ima-policy": ownRules}, "", loaded(all),
			[]string{"pass active policy: 2 rules, by the records of the loading: those of /etc/ima/ima-policy",
				"pass active since: 2026-11-26 07:00:14, 14s after the boot: what was opened before is not appraised"}},
		{"recorded, of somebody else", map[string]string{"proc/cmdline": bootEntry, "proc/stat": stat, dir + "violations": ""}, "", loaded(all),
			[]string{"pass active policy: 2 rules, by the records of the loading: neither those of ima_policy= nor of /etc/ima/ima-policy"}},
		{"recorded, with losses", map[string]string{"proc/cmdline": bootEntry, dir + "violations": ""}, "", loaded(lossy),
			[]string{"warn active policy: 2 rules, by the records of the loading: neither those of ima_policy= nor of /etc/ima/ima-policy; records are lost, and so rules may be"}},
		{"recorded, with losses, and there is a file", map[string]string{"proc/cmdline": bootEntry, dir + "violations": "", "etc/ima/ima-policy": ownRules}, "", loaded(lossy),
			[]string{"warn active policy: most likely the 2 rules of /etc/ima/ima-policy: the kernel does not show it (no CONFIG_IMA_READ_POLICY)"}},
		{"loaded, and not seen", map[string]string{"proc/cmdline": bootEntry, "proc/stat": stat, dir + "violations": "", "etc/ima/ima-policy": ownRules}, "", nil,
			[]string{"warn active policy: most likely the 2 rules of /etc/ima/ima-policy: the kernel does not show it (no CONFIG_IMA_READ_POLICY)",
				"warn active since: not known: after the boot at 2026-11-26 07:00:00"}},
		{"loaded by nobody known", map[string]string{"proc/cmdline": bootEntry, dir + "violations": ""}, "", nil,
			[]string{"warn active policy: a policy was loaded, and neither the kernel nor the log shows its rules", "pass mode: enforce", "warn labels kept: not known"}},
		{"perhaps extended", map[string]string{"proc/cmdline": bootEntry, dir + "violations": ""}, " IMA_WRITE_POLICY", nil,
			[]string{"warn active policy: most likely the 15 rules of appraise_tcb on the command line: the kernel does not show it (no CONFIG_IMA_READ_POLICY)", "pass labels kept"}},
		{"none", map[string]string{"proc/cmdline": "quiet\n"}, "", func(q *Question) { hide(t, q) }, []string{"warn active policy: there is none", "warn labels kept: no appraise rule is active"}},
		{"off", map[string]string{"proc/cmdline": bootEntry, dir + "policy": tcb.String()}, " IMA_READ_POLICY", func(q *Question) { q.Mode = "off" },
			[]string{"warn labels kept: no appraise rule is active"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := time.Local
			time.Local = time.UTC
			defer func() { time.Local = zone }()
			got := tableOf(t, c.files, debian+c.more, c.change)
			for _, line := range c.want {
				if !strings.Contains(got, line) {
					t.Errorf("no line %q in\n%s", line, got)
				}
			}
		})
	}
}

// hide makes the policy file of securityfs as it is before a policy is loaded: nobody
// may read it. Root may read all the files of a test, so that it is a directory.
func hide(t *testing.T, q *Question) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(q.Host.Root, "sys/kernel/security/ima/policy"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestKeyringsInPart: what only root sees is not said to be missing.
func TestKeyringsInPart(t *testing.T) {
	const one = "0000000a I------ 1 perm 1f0f0000 0 0 keyring   _ima: 1\n"
	for _, c := range []struct {
		keys    string
		partial bool
		want    string
	}{
		{"", false, "warn keyring .ima: is not there, nor _ima: signatures are wrong to the kernel"},
		{"", true, "warn keyring .ima: cannot be seen, nor _ima: only root sees whether it is there"},
		{one, true, "pass keyring _ima: has 1 key"},
		{one, true, "warn keyring .evm: cannot be seen, nor _evm: only root sees whether it is there"},
	} {
		files := map[string]string{"sys/kernel/security/ima/violations": "", "proc/keys": c.keys}
		if got := tableOf(t, files, "", func(q *Question) { q.Partial = c.partial }); !strings.Contains(got, c.want+"\n") {
			t.Errorf("%q, partial %t: no line %q in\n%s", c.keys, c.partial, c.want, got)
		}
	}
}
