package kernellab

import (
	"os"
	"testing"
	"time"

	"imaseal/internal/kernellab/wire"
)

// What a probe does and what became of it; see package wire.
type (
	Op      = wire.Op
	Probe   = wire.Probe
	Verdict = wire.Verdict
	Key     = wire.Key

	Offer     = wire.Offer
	Signature = wire.Signature
)

// The operations of a probe; see package wire.
const (
	Read    = wire.Read
	Direct  = wire.Direct
	Write   = wire.Write
	Append  = wire.Append
	Update  = wire.Update
	Extend  = wire.Extend
	Create  = wire.Create
	MapExec = wire.MapExec
	Protect = wire.Protect
	Written = wire.Written
	Exec    = wire.Exec
	Module  = wire.Module
	Kexec   = wire.Kexec
	Sh      = wire.Sh
	Tree    = wire.Tree
	Rule    = wire.Rule
	Remount = wire.Remount
	AddKey  = wire.AddKey
)

// EnforceTCB boots with the built-in appraisal policy: whatever root owns.
const EnforceTCB = "ima_policy=appraise_tcb ima_appraise=enforce"

// A Case is one boot. Only the kernel is needed; the zero value of the rest
// boots it without a root filesystem, EVM, keys or a policy.
type Case struct {
	Kernel Kernel
	Image  Image   // root filesystem
	More   []Image // other filesystems, for probes with Image 1 and so on
	Keep   bool    // write changes made in the guest to the image
	Append string  // to the kernel command line

	Without []string // modules that are not loaded, of those that are otherwise

	Keys   []Key             // added first
	Setup  string            // then this script, by busybox sh -e in the initramfs
	Policy []string          // then these rules
	EVM    []string          // then these values for securityfs evm: "2", or "1" and a key
	Files  map[string][]byte // into the initramfs, executable, by path

	// TPM is the control socket of a swtpm, which becomes the machine's TPM; ""
	// is none.
	TPM string

	MountOptions string
	Probes       []Probe

	// Initramfs is a file with the system's own initramfs, which is booted instead of
	// the lab's: it knows no probes and no other field that prepares the guest. The
	// root filesystem is named in Append, root=/dev/vda, and what the system writes
	// to /dev/vdc comes back as Result.Journal.
	Initramfs string

	// Init is a program of the root filesystem to hand over to after the probes,
	// such as /sbin/init. It must switch the machine off; what it writes to
	// /dev/vdc comes back as Result.Journal.
	Init    string
	Timeout time.Duration // 0 is twelve minutes
}

// A Result is what a boot brought to light.
type Result struct {
	Verdicts []Verdict // of the probes, in their order
	Console  string
	Journal  []byte
	Took     time.Duration

	probes []Probe
}

// Verdict returns the verdict of the probe of that name.
func (r Result) Verdict(t testing.TB, name string) Verdict {
	t.Helper()
	for i, p := range r.probes {
		if p.Name == name {
			return r.Verdicts[i]
		}
	}
	t.Fatalf("no probe is named %q", name)
	return Verdict{}
}

// IMAKey is a certificate, DER, that verifies IMA signatures.
func IMAKey(der []byte) Key { return Key{Type: "asymmetric", Payload: der, Ring: "_ima"} }

// EVMKey is a certificate, DER, that verifies EVM signatures.
func EVMKey(der []byte) Key { return Key{Type: "asymmetric", Payload: der, Ring: "_evm"} }

// HMACKeys are the user key "kmk-user" that the blob is encrypted with, and the
// EVM key in the blob, the text behind "load" of keyctl add encrypted.
func HMACKeys(master []byte, blob string) []Key {
	return []Key{
		{Type: "user", Desc: "kmk-user", Payload: master},
		{Type: "encrypted", Desc: "evm-key", Payload: []byte("load " + blob)},
	}
}

// Boot runs a case. A guest that does not get through fails the test.
func (l *Lab) Boot(t testing.TB, c Case) Result {
	t.Helper()
	if dir := os.Getenv("IMASEAL_LAB_KEEP"); dir != "" {
		kept, err := l.keep(dir, t.Name(), c)
		if err != nil {
			t.Fatalf("keeping the boot: %v", err)
		}
		t.Logf("boot it again with %s", kept)
	}
	res, err := l.boot(t.Context(), c)
	if err != nil {
		t.Fatalf("booting %s: %v", c.Kernel.Version, err)
	}
	t.Logf("%s: %d probes in %.1f s", c.Kernel.Version, len(c.Probes), res.Took.Seconds())
	return res
}
