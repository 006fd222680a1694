package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/policy"
)

func TestLoadPolicy(t *testing.T) {
	const file = "sys/kernel/security/ima/policy"
	for _, c := range []struct {
		name, text string
		files      map[string]string
		rules      int
		written    string
		err        error
	}{
		{name: "no IMA", text: "measure\n", err: ErrNoIMA},
		{name: "one was loaded", text: "measure\n", files: map[string]string{"sys/kernel/security/ima/violations": "0"}, err: ErrPolicyTaken},
		{name: "comments", text: "# one\n\n \t\nmeasure\n  dont_measure fsmagic=1 # x", files: map[string]string{file: ""}, rules: 2, written: "measure\n  dont_measure fsmagic=1 # x\n"},
		{name: "no rule", text: "# measure\n", files: map[string]string{file: ""}, err: ErrPolicyEmpty},
		{name: "empty", files: map[string]string{file: ""}, err: ErrPolicyEmpty},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fake(t, c.files)
			rules, err := h.LoadPolicy(c.text)
			if rules != c.rules || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%d rules, %v", rules, err)
			}
			if _, ok := c.files[file]; !ok {
				return
			}
			if b, err := os.ReadFile(filepath.Join(h.Root, file)); err != nil || string(b) != c.written {
				t.Errorf("written is %q, %v", b, err)
			}
		})
	}
}

// A write to /dev/full fails as one of a rule that the kernel does not take.
func TestLoadPolicyRefused(t *testing.T) {
	h := fake(t, map[string]string{"sys/kernel/security/ima/violations": "0"})
	if err := os.Symlink("/dev/full", filepath.Join(h.Root, "sys/kernel/security/ima/policy")); err != nil {
		t.Fatal(err)
	}
	_, err := h.LoadPolicy("# comment\n\nmeasure\n")
	refused, ok := errors.AsType[*RuleError](err)
	if !ok || refused.Line != 3 || refused.Rule != "measure" {
		t.Errorf("%v", err)
	}
}

func TestEnableEVM(t *testing.T) {
	const file = "sys/kernel/security/evm"
	for _, c := range []struct {
		name, before string
		wanted       EVMState
		after        string
		err          error
	}{
		{"off", "0\n", EVMHMAC | EVMX509, "3\n", nil},
		{"signatures are on", "2\n", EVMHMAC | EVMX509, "3\n", nil},
		{"all is on", "2147483651", EVMHMAC | EVMX509, "2147483651", nil},
		{"no number", "", EVMX509, "", ErrNoEVMFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fake(t, map[string]string{file: c.before})
			if err := h.EnableEVM(c.wanted); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%v", err)
			}
			if b, _ := os.ReadFile(filepath.Join(h.Root, file)); string(b) != c.after {
				t.Errorf("it has %q", b)
			}
		})
	}
	if err := fake(t, nil).EnableEVM(EVMX509); !errors.Is(err, ErrNoEVMFile) {
		t.Errorf("without EVM: %v", err)
	}
}

func TestHMACKeyCrashes(t *testing.T) {
	const file = "sys/kernel/security/lsm"
	for _, c := range []struct {
		major, minor int
		lsm          string
		want         bool
	}{
		{6, 1, "lockdown,capability,landlock,yama,apparmor,tomoyo,bpf", true},
		{6, 5, "bpf\n", true},
		{5, 19, "capability,bpf", true},
		{6, 6, "bpf", false},
		{7, 1, "bpf", false},
		{6, 1, "capability,apparmor", false},
		{6, 1, "capability,selinux,bpf", false},
		{6, 1, "capability,smack,bpf", false},
	} {
		h := fake(t, map[string]string{file: c.lsm})
		if got := h.HMACKeyCrashes(policy.Kernel{Major: c.major, Minor: c.minor}); got != c.want {
			t.Errorf("%d.%d with %q: %v", c.major, c.minor, c.lsm, got)
		}
	}
	if fake(t, nil).HMACKeyCrashes(policy.Kernel{Major: 6, Minor: 1}) {
		t.Error("without a list of LSMs")
	}
}
