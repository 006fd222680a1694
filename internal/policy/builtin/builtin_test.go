package builtin

import (
	"slices"
	"strings"
	"testing"

	"imaseal/internal/policy"
)

var (
	k61  = policy.Kernel{Major: 6, Minor: 1}
	k612 = policy.Kernel{Major: 6, Minor: 12}
	k72  = policy.Kernel{Major: 7, Minor: 2}
)

func builtin(t *testing.T, k policy.Kernel, words ...string) []string {
	t.Helper()
	p, err := Policy(k, words...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(p.String(), "\n"), "\n")
}

// The numbers here are written out once more, from the kernel's source.
var excluded = []string{"0x9fa0", "0x62656572", "0x64626720", "0x1021994", "0x858458f6", "0x1cd1", "0x42494e4d",
	"0x73636673", "0xf97cff8c", "0x43415d53", "0x6e736673", "0xde5e81e4", "0x27e0eb", "0x63677270"}

func TestAppraiseTCB(t *testing.T) {
	var want []string
	for _, magic := range excluded {
		want = append(want, "dont_appraise fsmagic="+magic)
	}
	want = append(want, "appraise fowner=0")
	for _, k := range []policy.Kernel{k612, k72} {
		if got := builtin(t, k, "appraise_tcb"); !slices.Equal(got, want) {
			t.Errorf("%s: %q", k, got)
		}
	}
	if got := builtin(t, k612, "ima_appraise_tcb"); !slices.Equal(got, want) {
		t.Errorf("the old word: %q", got)
	}
	k := k612
	k.Config = policy.Config{WritePolicy: policy.True, SignedInit: policy.True}
	want = append(want[:len(want)-1], "appraise func=POLICY_CHECK appraise_type=imasig", "appraise fowner=0 appraise_type=imasig")
	if got := builtin(t, k, "appraise_tcb"); !slices.Equal(got, want) {
		t.Errorf("all options: %q", got)
	}
}

func TestTCB(t *testing.T) {
	got := builtin(t, k612, "tcb")
	want := []string{
		"dont_measure fsmagic=0x9fa0", "dont_measure fsmagic=0x62656572", "dont_measure fsmagic=0x64626720",
		"dont_measure fsmagic=0x1021994", "dont_measure fsmagic=0x1cd1", "dont_measure fsmagic=0x42494e4d",
		"dont_measure fsmagic=0x73636673", "dont_measure fsmagic=0xf97cff8c", "dont_measure fsmagic=0x43415d53",
		"dont_measure fsmagic=0x27e0eb", "dont_measure fsmagic=0x63677270", "dont_measure fsmagic=0x6e736673",
		"dont_measure fsmagic=0xde5e81e4",
		"measure func=MMAP_CHECK mask=MAY_EXEC", "measure func=BPRM_CHECK mask=MAY_EXEC",
		"measure func=FILE_CHECK mask=^MAY_READ euid=0", "measure func=FILE_CHECK mask=^MAY_READ uid=0",
		"measure func=MODULE_CHECK", "measure func=FIRMWARE_CHECK", "measure func=POLICY_CHECK",
	}
	if !slices.Equal(got, want) {
		t.Errorf("6.12: %q", got)
	}
	want[3] = "dont_measure func=FILE_CHECK fsmagic=0x1021994"
	if got := builtin(t, k72, "tcb"); !slices.Equal(got, want) {
		t.Errorf("7.2: %q", got)
	}
	old := builtin(t, k612, "ima_tcb")
	if n := len(old); n != 18 || old[15] != "measure func=FILE_CHECK mask=MAY_READ uid=0" || old[n-1] != "measure func=FIRMWARE_CHECK" {
		t.Errorf("ima_tcb: %q", old)
	}
	if got := builtin(t, k612, "ima_tcb", "tcb"); !slices.Equal(got, old) {
		t.Error("of ima_tcb and tcb not the first counts")
	}
}

func TestSecureBoot(t *testing.T) {
	want := []string{
		"appraise func=MODULE_CHECK appraise_type=imasig", "appraise func=FIRMWARE_CHECK appraise_type=imasig",
		"appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig", "appraise func=POLICY_CHECK appraise_type=imasig",
	}
	if got := builtin(t, k612, "secure_boot"); !slices.Equal(got, want) {
		t.Errorf("6.12: %q", got)
	}
	want[0] += "|modsig"
	k := k72
	k.Config.ModSig = policy.False // the table does not ask
	if got := builtin(t, k, "secure_boot"); !slices.Equal(got, want) {
		t.Errorf("7.2: %q", got)
	}
	p, err := Policy(k, "secure_boot")
	if err != nil || p.Rules[0].ChecksBlacklist() {
		t.Errorf("a built-in rule looks into the blacklist: %v", err)
	}
}

func TestOrderOfSets(t *testing.T) {
	k := k612
	k.SecureBoot = policy.True
	k.Config = policy.Config{ArchPolicy: policy.True, RequireModule: policy.True, RequirePolicy: policy.True, KexecSig: policy.True, ModuleSig: policy.True,
		MachineKeyring: policy.True, PermitSecondary: policy.True}
	sets := func(words ...string) []policy.Set {
		p, err := Policy(k, words...)
		if err != nil {
			t.Fatal(err)
		}
		var s []policy.Set
		for _, r := range p.Rules {
			s = append(s, r.Origin)
		}
		return slices.Compact(s)
	}
	if got := sets("critical_data", "appraise_tcb", "tcb"); !slices.Equal(got,
		[]policy.Set{policy.SetTCB, policy.SetArch, policy.SetBuild, policy.SetAppraiseTCB, policy.SetCriticalData}) {
		t.Errorf("sets %v", got)
	}
	if got := sets("secure_boot"); !slices.Equal(got, []policy.Set{policy.SetArch, policy.SetSecureBoot}) {
		t.Errorf("with secure_boot: %v", got)
	}
	custom := Custom(k, policy.Policy{Rules: []policy.Rule{{Action: policy.Audit}}})
	want := "measure func=KEXEC_KERNEL_CHECK\nappraise func=POLICY_CHECK appraise_type=imasig\nmeasure func=MODULE_CHECK\n" +
		"appraise func=MODULE_CHECK appraise_type=imasig\nappraise func=POLICY_CHECK appraise_type=imasig\naudit\n"
	if custom.String() != want {
		t.Errorf("custom policy:\n%s", custom)
	}
	k.SecureBoot = policy.False
	if got := sets(); !slices.Equal(got, []policy.Set{policy.SetBuild}) {
		t.Errorf("without words: %v", got)
	}
}

func TestWords(t *testing.T) {
	if got := policy.SplitSets("tcb|appraise_tcb secure_boot"); !slices.Equal(got, []string{"tcb", "appraise_tcb", "secure_boot"}) {
		t.Errorf("words %q", got)
	}
	if p, err := Policy(k612, "fail_securely", "critical_data"); err != nil || !p.FailSecurely || len(p.Rules) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Policy(k612, "apraise_tcb"); err == nil {
		t.Error("an unknown word is taken")
	}
	for _, k := range []policy.Kernel{k61, k612, k72} {
		k.SecureBoot = policy.True
		k.Config = policy.Config{ArchPolicy: policy.True}
		for _, w := range Words() {
			if _, err := Policy(k, w); err != nil {
				t.Errorf("%s: %v", k, err)
			}
		}
	}
}
