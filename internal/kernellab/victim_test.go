package kernellab

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
)

// otherUser owns what root does not.
const otherUser = 1000

// A victim is a file to label, and what is done to it afterwards.
type victim struct {
	name    string
	content string
	mode    uint32
	uid     uint32
	gid     uint32
	attrs   map[string]string
	spoil   func(t *testing.T, path string) // nil for nothing
	cause   string                          // of the denial; one of the words below, or the kernel's
}

// Causes that depend on the kind of label.
const (
	byIMA      = "IMA"      // security.ima does not fit
	byEVM      = "EVM"      // security.evm does not fit
	byBound    = "bound"    // security.evm does not fit if it is bound to the inode
	byPortable = "portable" // likewise if it is portable: Debian's kernels have no Smack
)

// A kind of labels, and the causes of denials if one does not fit.
type kind struct {
	ima, evm string
	portable bool
}

// The kinds of labels of a file.
var (
	hashedHMAC   = kind{ima: "invalid-hash", evm: "invalid-HMAC"}
	hashedBound  = hashedHMAC
	signedHMAC   = kind{ima: "invalid-signature", evm: "invalid-HMAC"}
	signedBound  = signedHMAC
	signed       = kind{ima: "invalid-signature", evm: "invalid-fail-immutable", portable: true}
	hashedSigned = kind{ima: "invalid-hash", evm: "invalid-fail-immutable", portable: true}
)

// cause returns the kernel's word for a victim's cause.
func (k kind) cause(v victim) string {
	switch v.cause {
	case byIMA:
		return k.ima
	case byEVM:
		return k.evm
	case byBound:
		if k.portable {
			return ""
		}
		return k.evm
	case byPortable:
		if k.portable {
			return k.evm
		}
		return ""
	}
	return v.cause
}

// capability is a value of security.capability, revision 2, with one
// capability. Kernel: struct vfs_cap_data, include/uapi/linux/capability.h.
func capability(number int) string {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001) // VFS_CAP_REVISION_2, effective
	b = binary.LittleEndian.AppendUint32(b, 1<<number)     // permitted
	return string(append(b, make([]byte, 12)...))
}

// namespaced is one of revision 3, of a namespace whose root is the real one, which
// user space is shown as one of revision 2. Kernel: struct vfs_ns_cap_data.
func namespaced(number int) string {
	b := []byte(capability(number))
	b[3] = 3
	return string(append(b, 0, 0, 0, 0))
}

const (
	netRaw  = 13 // CAP_NET_RAW
	sysTime = 25 // CAP_SYS_TIME
)

const (
	attrCapability = "security.capability"
	attrSELinux    = "security.selinux"
	attrSmack      = "security.SMACK64"
	attrSmackExec  = "security.SMACK64EXEC"
	attrAppArmor   = "security.apparmor"
)

// allLSMs are labels of all security modules that EVM knows, at once.
var allLSMs = map[string]string{
	attrSELinux:    "system_u:object_r:bin_t:s0\x00",
	attrSmack:      "System",
	attrAppArmor:   "unconfined",
	attrCapability: capability(netRaw),
}

// untouched are files that must open. The larger one is longer than a buffer.
func untouched() []victim {
	return []victim{
		{name: "plain", content: "text\n", mode: 0o644},
		{name: "empty", mode: 0o600},
		{name: "large", content: strings.Repeat("0123456789abcdef", 1<<14) + "x", mode: 0o644},
		{name: "script", content: "#!/bin/busybox sh\nexit 0\n", mode: 0o755},
		{name: "setuid", content: "su", mode: 0o4755},
		{name: "setgid", content: "sg", mode: 0o2755, gid: 42},
		{name: "sticky", content: "t", mode: 0o1644},
		{name: "user", content: "u", mode: 0o640, uid: otherUser, gid: 1001},
		{name: "high-ids", content: "h", mode: 0o644, gid: 4294967294},
		{name: "capable", content: "ping", mode: 0o755, attrs: map[string]string{attrCapability: capability(netRaw)}},
		{name: "namespaced", content: "ping", mode: 0o755, attrs: map[string]string{attrCapability: namespaced(netRaw)}},
		{name: "lsms", content: "l", mode: 0o755, attrs: allLSMs},
		{name: "long-attr", content: "a", mode: 0o644, attrs: map[string]string{attrSELinux: strings.Repeat("c", 2000)}},
	}
}

// attacks are files that somebody with the disk in hand changes.
func attacks() []victim {
	set := func(name, value string) func(*testing.T, string) {
		return func(t *testing.T, path string) { setAttr(t, path, name, value) }
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, path string) { check(t, unix.Removexattr(path, name)) }
	}
	capable := map[string]string{attrCapability: capability(netRaw)}
	return []victim{
		{name: "content-changed", content: "before", mode: 0o644, cause: byIMA, spoil: func(t *testing.T, path string) {
			check(t, os.WriteFile(path, []byte("after!"), 0))
		}},
		{name: "content-longer", content: "before", mode: 0o644, cause: byIMA, spoil: func(t *testing.T, path string) {
			check(t, os.Truncate(path, 7))
		}},
		{name: "emptied", content: "before", mode: 0o644, cause: byIMA, spoil: func(t *testing.T, path string) {
			check(t, os.Truncate(path, 0))
		}},
		{name: "mode-changed", content: "m", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			check(t, unix.Chmod(path, 0o666))
		}},
		{name: "setuid-added", content: "m", mode: 0o755, cause: byEVM, spoil: func(t *testing.T, path string) {
			check(t, unix.Chmod(path, 0o4755))
		}},
		{name: "owner-changed", content: "o", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			check(t, unix.Chown(path, otherUser, -1))
		}},
		{name: "made-roots", content: "o", mode: 0o644, uid: otherUser, cause: byEVM, spoil: func(t *testing.T, path string) {
			check(t, unix.Chown(path, 0, -1))
		}},
		{name: "group-changed", content: "g", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			check(t, unix.Chown(path, -1, 1001))
		}},
		{name: "capability-changed", content: "c", mode: 0o755, attrs: capable, cause: byEVM, spoil: set(attrCapability, capability(sysTime))},
		{name: "capability-added", content: "c", mode: 0o755, cause: byEVM, spoil: set(attrCapability, capability(netRaw))},
		{name: "capability-removed", content: "c", mode: 0o755, attrs: capable, cause: byEVM, spoil: remove(attrCapability)},
		{name: "selinux-changed", content: "s", mode: 0o755, attrs: allLSMs, cause: byEVM, spoil: set(attrSELinux, "system_u:object_r:shell_t:s0\x00")},
		{name: "smack-added", content: "s", mode: 0o755, cause: byPortable, spoil: set(attrSmack, "_")},
		{name: "apparmor-removed", content: "s", mode: 0o755, attrs: allLSMs, cause: byEVM, spoil: remove(attrAppArmor)},
		{name: "ima-copied", content: "copied", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			copyAttr(t, sibling(path, "plain"), path, imaevm.AttrIMA)
		}},
		{name: "ima-and-content-copied", content: "copied", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			copyAttr(t, sibling(path, "plain"), path, imaevm.AttrIMA)
			content, err := os.ReadFile(sibling(path, "plain"))
			check(t, errors.Join(err, os.WriteFile(path, content, 0)))
		}},
		{name: "evm-copied", content: "copied", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			copyAttr(t, sibling(path, "plain"), path, imaevm.AttrEVM)
		}},
		{name: "all-copied", content: "copied", mode: 0o644, cause: byBound, spoil: func(t *testing.T, path string) {
			plain := sibling(path, "plain")
			content, err := os.ReadFile(plain)
			check(t, errors.Join(err, os.WriteFile(path, content, 0)))
			copyAttr(t, plain, path, imaevm.AttrIMA)
			copyAttr(t, plain, path, imaevm.AttrEVM)
		}},
		{name: "smack-exec-added", content: "s", mode: 0o755, cause: byPortable, spoil: set(attrSmackExec, "_")},
		{name: "evm-removed", content: "e", mode: 0o644, cause: "missing-HMAC", spoil: remove(imaevm.AttrEVM)},
		{name: "evm-emptied", content: "e", mode: 0o644, cause: "invalid-HMAC", spoil: set(imaevm.AttrEVM, "\x05")},
		{name: "evm-bit-flipped", content: "e", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			flipLast(t, path, imaevm.AttrEVM)
		}},
		{name: "ima-bit-flipped", content: "e", mode: 0o644, cause: byEVM, spoil: func(t *testing.T, path string) {
			flipLast(t, path, imaevm.AttrIMA)
		}},
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sibling(path, name string) string { return filepath.Join(filepath.Dir(path), name) }

func setAttr(t *testing.T, path, name, value string) {
	t.Helper()
	if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
		t.Fatalf("%s: setting %s: %v", path, name, err)
	}
}

// clearAttr removes an attribute that may not be there.
func clearAttr(t *testing.T, path, name string) {
	t.Helper()
	if err := unix.Lremovexattr(path, name); err != nil && err != unix.ENODATA {
		t.Fatalf("%s: removing %s: %v", path, name, err)
	}
}

func getAttr(t *testing.T, path, name string) []byte {
	t.Helper()
	value := make([]byte, 1<<16)
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil {
		t.Fatalf("%s: reading %s: %v", path, name, err)
	}
	return value[:n]
}

func copyAttr(t *testing.T, from, to, name string) {
	t.Helper()
	setAttr(t, to, name, string(getAttr(t, from, name)))
}

func flipLast(t *testing.T, path, name string) {
	t.Helper()
	value := getAttr(t, path, name)
	value[len(value)-1] ^= 1
	setAttr(t, path, name, string(value))
}
