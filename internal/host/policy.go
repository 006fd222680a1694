package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/internal/policy"
)

// Errors of Policy. Where the kernel was built without CONFIG_IMA_READ_POLICY
// the file is write-only, or gone once a policy was loaded.
var (
	ErrNoIMA         = errors.New("the kernel shows no IMA in /sys/kernel/security")
	ErrPolicyHidden  = errors.New("the kernel does not show its policy")
	ErrPolicyNotRoot = errors.New("only CAP_SYS_ADMIN may read the policy")
)

// Policy returns the rules of the running kernel as it prints them. The error
// wraps one of the three above, or is what reading gave. Kernel:
// ima_open_policy(), security/integrity/ima/ima_fs.c.
func (h Host) Policy() (string, error) {
	if !h.HasIMA() {
		return "", ErrNoIMA
	}
	var err error
	for _, name := range []string{"ima/policy", "integrity/ima/policy"} {
		var b []byte
		if b, err = os.ReadFile(filepath.Join(h.Root, "/sys/kernel/security", name)); err == nil {
			return string(b), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return "", ErrPolicyNotRoot
	case errors.Is(err, unix.EACCES) && os.Geteuid() != 0:
		return "", fmt.Errorf("%w, or the kernel shows it to nobody", ErrPolicyNotRoot)
	case errors.Is(err, unix.EACCES), errors.Is(err, fs.ErrNotExist):
		return "", ErrPolicyHidden
	}
	return "", err
}

// PolicyLoaded says whether a policy was loaded in place of the one that the kernel
// was booted with, as its file in securityfs tells, which is written once where the
// configuration lets nobody add to a policy. Kernel: ima_release_policy(),
// security/integrity/ima/ima_fs.c.
func (h Host) PolicyLoaded(c Config) policy.Truth {
	if c == nil || c.Enabled("CONFIG_IMA_WRITE_POLICY") || !h.HasIMA() {
		return policy.Unknown
	}
	info, err := os.Stat(filepath.Join(h.Root, "/sys/kernel/security/ima/policy"))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return policy.Unknown
	case c.Enabled("CONFIG_IMA_READ_POLICY") && err == nil:
		return policy.Of(info.Mode()&0o200 == 0)
	case c.Enabled("CONFIG_IMA_READ_POLICY"):
		return policy.Unknown
	}
	return policy.Of(err != nil)
}

// secureBootVariable holds four bytes of attributes and the state.
const secureBootVariable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// SecureBoot reports whether UEFI secure boot is on, and false as its second
// result where that cannot be seen. A machine that was not booted by UEFI has
// none. Kernel: arch_get_secureboot(), security/integrity/ima/ima_efi.c.
func (h Host) SecureBoot() (on, known bool) {
	b, err := os.ReadFile(filepath.Join(h.Root, secureBootVariable))
	if err == nil {
		return len(b) > 4 && b[4] == 1, len(b) > 4
	}
	if _, err := os.Stat(filepath.Join(h.Root, "/sys/firmware/efi")); errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Join(h.Root, "/sys/firmware"))
		return false, err == nil
	}
	// Without the variable there is no secure boot, if variables are shown.
	names, _ := os.ReadDir(filepath.Join(h.Root, filepath.Dir(secureBootVariable)))
	return false, len(names) > 0 && errors.Is(err, fs.ErrNotExist)
}
