package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/policy"
)

// Errors of LoadPolicy and EnableEVM.
var (
	ErrPolicyTaken  = errors.New("the kernel takes no policy: it was given one already, and was built to take one only (without CONFIG_IMA_WRITE_POLICY)")
	ErrPolicyBusy   = errors.New("something else is loading a policy")
	ErrPolicySigned = errors.New("the kernel takes only the name of a policy that is signed")
	ErrPolicyEmpty  = errors.New("no rule is in it")
	ErrNoEVMFile    = errors.New("the kernel shows no EVM in /sys/kernel/security")
)

// A RuleError says that the kernel refused a line of a policy, and so all of it.
type RuleError struct {
	Line int
	Rule string
	Err  error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("line %d: the kernel refuses %q, and with it the whole policy: %v", e.Line, e.Rule, e.Err)
}

// Unwrap returns what the kernel said.
func (e *RuleError) Unwrap() error { return e.Err }

// LoadPolicy gives the kernel a policy and returns how many rules that has. The
// error wraps one of the above, or is a *RuleError. Kernel: ima_write_policy() and
// ima_release_policy(), security/integrity/ima/ima_fs.c: a rule a write, and what
// was written between open and close is taken as a whole or not at all.
func (h Host) LoadPolicy(text string) (rules int, err error) {
	if !h.HasIMA() {
		return 0, ErrNoIMA
	}
	f, err := os.OpenFile(filepath.Join(h.Root, "/sys/kernel/security/ima/policy"), os.O_WRONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, ErrPolicyTaken
	case errors.Is(err, unix.EBUSY):
		return 0, ErrPolicyBusy
	case err != nil:
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line := 0
	for rule := range strings.Lines(text) {
		line++
		rule = strings.TrimSuffix(rule, "\n")
		if trimmed := strings.TrimLeft(rule, " \t"); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if _, err := f.WriteString(rule + "\n"); err != nil {
			if errors.Is(err, unix.EACCES) {
				return 0, ErrPolicySigned
			}
			return 0, &RuleError{Line: line, Rule: rule, Err: pathless(err)}
		}
		rules++
	}
	if rules == 0 {
		return 0, ErrPolicyEmpty
	}
	return rules, nil
}

// EnableEVM switches on what is not on yet. For EVMHMAC the kernel looks for the key
// evm-key in the keyrings of the thread. Kernel: evm_write_key(),
// security/integrity/evm/evm_secfs.c.
func (h Host) EnableEVM(wanted EVMState) error {
	state, ok := h.EVM()
	switch {
	case !ok:
		return ErrNoEVMFile
	case state&wanted == wanted:
		return nil
	}
	f, err := os.OpenFile(filepath.Join(h.Root, "/sys/kernel/security/evm"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(int(wanted)) + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return pathless(err)
}

// HMACKeyCrashes reports whether the kernel, which is the running one, dies once EVM
// has its HMAC key: before 6.6 security_inode_init_security() hands EVM an attribute
// without a name for each new file, if there is a hook of the LSM bpf, which gives
// none, and none that gives one. Kernel: security/security.c;
// evm_inode_init_security(), security/integrity/evm/evm_main.c.
func (h Host) HMACKeyCrashes(k policy.Kernel) bool {
	b, err := os.ReadFile(filepath.Join(h.Root, "/sys/kernel/security/lsm"))
	if err != nil || k.Major > 6 || k.Major == 6 && k.Minor >= 6 {
		return false
	}
	lsm := strings.Split(strings.TrimSpace(string(b)), ",")
	return slices.Contains(lsm, "bpf") && !slices.Contains(lsm, "selinux") && !slices.Contains(lsm, "smack")
}

// pathless drops the name of the file in securityfs, which is nobody's matter.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
