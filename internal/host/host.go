// Package host asks the running kernel what it is and what it allows.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/policy"
)

// A Host is the running machine.
type Host struct {
	// Root is put before the paths of /proc and /sys; empty for the machine
	// itself.
	Root string
}

// EVMState is what /sys/kernel/security/evm says, a set of the flags below.
// Kernel: evm_read_key(), security/integrity/evm/evm_secfs.c; flags in evm.h.
type EVMState uint32

// The flags of EVMState.
const (
	EVMHMAC           EVMState = 0x1     // EVM_INIT_HMAC: the HMAC key is loaded
	EVMX509           EVMState = 0x2     // EVM_INIT_X509: signatures are verified
	EVMMetadataWrites EVMState = 0x4     // EVM_ALLOW_METADATA_WRITES
	EVMSigV3          EVMState = 0x8     // EVM_SIGV3_REQUIRED, since 7.2
	EVMComplete       EVMState = 1 << 31 // EVM_SETUP_COMPLETE
)

// Active reports whether the kernel verifies security.evm.
func (s EVMState) Active() bool { return s&(EVMHMAC|EVMX509) != 0 }

// EVM returns the state of EVM, and false where the kernel has none or does
// not show it.
func (h Host) EVM() (EVMState, bool) {
	for _, name := range []string{"integrity/evm/evm", "evm"} {
		b, err := os.ReadFile(filepath.Join(h.Root, "/sys/kernel/security", name))
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
		return EVMState(n), err == nil
	}
	return 0, false
}

// EVMHidden reports whether the kernel has EVM and does not show its state to this
// process, as to nobody but root.
func (h Host) EVMHidden() bool {
	for _, name := range []string{"integrity/evm/evm", "evm"} {
		if _, err := os.ReadFile(filepath.Join(h.Root, "/sys/kernel/security", name)); errors.Is(err, fs.ErrPermission) {
			return true
		}
	}
	return false
}

// Words says what the flags mean, nothing for none.
func (s EVMState) Words() []string {
	var words []string
	for _, flag := range []struct {
		bit  EVMState
		word string
	}{
		{EVMHMAC, "HMACs are verified and renewed"}, {EVMX509, "signatures are verified"}, {EVMMetadataWrites, "EVM labels may be written"},
		{EVMSigV3, "only signatures of version 3 count"}, {EVMComplete, "nobody can change that any more"},
	} {
		if s&flag.bit != 0 {
			words = append(words, flag.word)
		}
	}
	return words
}

// HasIMA reports whether the kernel shows IMA in securityfs.
func (h Host) HasIMA() bool {
	_, err := os.Stat(filepath.Join(h.Root, "/sys/kernel/security/ima"))
	return err == nil
}

// FIPS reports whether the kernel is in FIPS mode. Kernel:
// crypto_proc_fips_init(), crypto/fips.c.
func (h Host) FIPS() bool {
	b, err := os.ReadFile(filepath.Join(h.Root, "/proc/sys/crypto/fips_enabled"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// A PrivilegeError says what the process lacks to write security attributes.
type PrivilegeError struct{ Namespaced bool }

func (e *PrivilegeError) Error() string {
	if e.Namespaced {
		return "writing security attributes needs CAP_SYS_ADMIN in the initial user namespace, and this process is in another one"
	}
	return "writing security attributes needs CAP_SYS_ADMIN"
}

// capSysAdmin is CAP_SYS_ADMIN, include/uapi/linux/capability.h.
const capSysAdmin = 21

// MayWriteSecurity returns a *PrivilegeError if the kernel will refuse this
// process to set security.ima. Kernel: ima_protect_xattr() and
// cap_inode_setxattr() want CAP_SYS_ADMIN in the initial user namespace.
func (h Host) MayWriteSecurity() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil && data[0].Effective&(1<<capSysAdmin) == 0 {
		return &PrivilegeError{}
	}
	inner, err := h.inUserNamespace()
	if err == nil && inner {
		err = &PrivilegeError{Namespaced: true}
	}
	return err
}

// inUserNamespace reports whether the process is in another user namespace than
// the initial one. Where there is no /proc the kernel will tell.
func (h Host) inUserNamespace() (bool, error) {
	b, err := os.ReadFile(filepath.Join(h.Root, "/proc/self/uid_map"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // also of a kernel without user namespaces
	}
	if err != nil {
		return false, fmt.Errorf("reading the user namespace: %w", err)
	}
	m := strings.Fields(string(b))
	return len(m) != 3 || m[0] != "0" || m[1] != "0" || m[2] != "4294967295", nil
}

// A KeyringError says that the process has another user keyring than root's.
type KeyringError struct{ Namespaced bool }

func (e *KeyringError) Error() string {
	if e.Namespaced {
		return "the kernel looks for keys of labels in keyrings of the initial user namespace, and this process is in another one"
	}
	return "the kernel looks for keys of labels in root's keyrings, and this process has another user's"
}

// MayLoadKeys returns a *KeyringError if keys that this process loads into its
// user keyring are not found by the kernel when it checks labels. The user keyring
// goes by the real user id. Kernel: look_up_user_keyrings(),
// security/keys/process_keys.c; integrity_keyring_from_id(),
// security/integrity/digsig.c.
func (h Host) MayLoadKeys() error {
	if os.Getuid() != 0 {
		return &KeyringError{}
	}
	inner, err := h.inUserNamespace()
	if err == nil && inner {
		err = &KeyringError{Namespaced: true}
	}
	return err
}

// Pseudo reports whether the built-in policy excludes file systems with this
// magic, and their name.
func Pseudo(magic uint32) (name string, ok bool) {
	for _, fs := range policy.Excluded() {
		if fs.Magic == magic {
			return fs.Name, true
		}
	}
	return "", false
}

// InMemory reports whether a pseudo-filesystem holds ordinary files, as a
// tree that is being built may: tmpfs and ramfs.
func InMemory(magic uint32) bool {
	name, _ := Pseudo(magic)
	return name == "tmpfs" || name == "ramfs"
}
