// Package tpm signs with keys that a TPM 2.0 holds: persistent ones, by their
// handle, and those of "TSS2 PRIVATE KEY" files, as tpm2-openssl, tpm2-tools and
// ssh-tpm-agent write them. The TPM opens such a file, and no other TPM does.
//
// A key is loaded once and flushed at the end. A TPM does one thing at a time, so
// callers of Sign wait for one another. The digest algorithms are those that the
// TPM has, often SHA-1, SHA-256 and SHA-384 only. RSA keys sign by RSASSA, EC keys
// by ECDSA; the key must be one for signing, not restricted to what the TPM
// itself made, and have no policy.
package tpm

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	tss "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"

	"imaseal/keys/child"
	"imaseal/keys/keyfile"
)

// Scheme is what the references of persistent keys begin with.
const Scheme = "tpm:"

// DefaultDevice is the TPM of the machine, through the kernel's resource
// manager, which keeps apart what several programs do.
const DefaultDevice = "/dev/tpmrm0"

// Options says how a TPM is used. The zero value is usable.
type Options struct {
	// Device is the path of the TPM, or its TCTI as tpm2-tools have it:
	// device:PATH, swtpm:path=SOCKET, swtpm:host=HOST,port=PORT. "" is
	// DefaultDevice.
	Device string
	// Ask asks for the passphrase of the key; nil means that nobody can be
	// asked. An empty answer is that of a key without one. A persistent key
	// that counts failed tries is asked for it whether it has one or not: the
	// key is tried without one only if there is no answer.
	Ask keyfile.Ask
	// Timeout bounds each command; 0 is a minute.
	Timeout time.Duration
	// Notice, if not nil, is told that the key was lost and loaded again.
	Notice func(text string)
}

// A Key is a private key of a TPM. It is safe for concurrent use.
type Key struct {
	name   string // for prompts and errors
	o      Options
	link   *link
	file   *tss.TPMKey // nil for a persistent key
	handle tpm2.TPMHandle
	public crypto.PublicKey // of the first time it was loaded, and not set again

	// busy holds an element while the TPM does something. It guards what
	// follows.
	busy   chan struct{}
	loaded *loaded // nil if it was lost
	asked  bool    // for the passphrase
	auth   []byte  // the passphrase; empty for none
	noAuth error   // why there is no answer
	refuse error   // why the passphrase is not tried again
}

// Open opens the persistent key that ref names, "tpm:" and a handle. The errors
// are *RefusedError, *keyfile.UnsupportedError, *keyfile.PassphraseError,
// *child.TimeoutError, tpm2.TPMRC and the system's. The caller closes the Key,
// which does not depend on ctx afterwards.
func Open(ctx context.Context, ref string, o Options) (*Key, error) {
	handle, err := parseHandle(ref)
	if err != nil {
		return nil, err
	}
	return open(ctx, &Key{name: ref, o: o, handle: handle})
}

// Check says what is wrong with a reference, before it is opened.
func Check(ref string) error {
	_, err := parseHandle(ref)
	return err
}

// CheckDevice says what is wrong with Options.Device, before it is opened.
func CheckDevice(device string) error {
	_, err := newLink(device, 0)
	return err
}

func parseHandle(ref string) (tpm2.TPMHandle, error) {
	text := strings.TrimPrefix(ref, Scheme)
	handle, err := strconv.ParseUint(text, 0, 32)
	const persistent = 0x81
	if err != nil || handle>>24 != persistent {
		return 0, fmt.Errorf("%q is not the handle of a persistent key, such as 0x81000001", text)
	}
	return tpm2.TPMHandle(handle), nil
}

// OpenFile opens the key in a file, of which der is what is in the PEM block.
// The errors are those of Open.
func OpenFile(ctx context.Context, name string, der []byte, o Options) (*Key, error) {
	file, err := parse(der)
	if err != nil {
		return nil, err
	}
	return open(ctx, &Key{name: name, o: o, file: file})
}

// parse reads a key file.
func parse(der []byte) (*tss.TPMKey, error) {
	file, err := tss.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("malformed key of a TPM: %w", err)
	}
	if _, err := file.Pubkey.Contents(); err != nil {
		return nil, fmt.Errorf("malformed key of a TPM: %w", err)
	}
	switch {
	case file.Keytype.Equal(tss.OIDSealedKey):
		return nil, &RefusedError{"the file holds sealed data, not a key"}
	case len(file.Policy) > 0, len(file.AuthPolicy) > 0:
		return nil, &RefusedError{"the key wants a policy to be fulfilled, which is not supported"}
	}
	return file, nil
}

func open(ctx context.Context, k *Key) (*Key, error) {
	var err error
	if k.link, err = newLink(k.o.Device, k.o.Timeout); err != nil {
		return nil, err
	}
	if k.o.Notice == nil {
		k.o.Notice = func(string) {}
	}
	k.busy = make(chan struct{}, 1)
	if err := k.load(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Close flushes the key out of the TPM and closes the device. It must not be
// called before the calls of Sign have returned.
func (k *Key) Close() error {
	k.forget()
	clear(k.auth)
	return k.link.Close()
}

// closing is how long flushing the key may take when nothing is to be done with it
// any more.
const closing = 5 * time.Second

// A RefusedError says why a key cannot be used.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// A failure is an error of the TPM, with what it means.
type failure struct {
	doing string
	err   error
}

func (e *failure) Error() string {
	if hint := meaning(e.err); hint != "" {
		return fmt.Sprintf("%s: %v: %s", e.doing, e.err, hint)
	}
	return fmt.Sprintf("%s: %v", e.doing, e.err)
}

// Unwrap returns the TPM's code or the system's error.
func (e *failure) Unwrap() error { return e.err }

// Temporary reports whether the TPM wants the command again later.
func (e *failure) Temporary() bool {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate, tpm2.TPMRCMemory} {
		if errors.Is(e.err, rc) {
			return true
		}
	}
	return isMemory(e.err)
}

// isMemory reports whether others have filled the TPM.
func isMemory(err error) bool {
	return errors.Is(err, tpm2.TPMRCObjectMemory) || errors.Is(err, tpm2.TPMRCSessionMemory) || errors.Is(err, tpm2.TPMRCSessionHandles)
}

// isWrong reports whether a passphrase was wrong.
func isWrong(err error) bool {
	return errors.Is(err, tpm2.TPMRCAuthFail) || errors.Is(err, tpm2.TPMRCBadAuth)
}

// isLost reports whether the key or its session is not in the TPM any more, or
// the device is gone, so that loading it again may help.
func isLost(err error) bool {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCHandle, tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceS0} {
		if errors.Is(err, rc) {
			return true
		}
	}
	_, isCode := errors.AsType[tpm2.TPMRC](err)
	_, isSlow := errors.AsType[*child.TimeoutError](err)
	return !isCode && !isSlow
}

// meaning explains some of the TPM's errors, "" others.
func meaning(err error) string {
	switch {
	case isMemory(err):
		return "other programs have filled the TPM; " + DefaultDevice + " keeps them apart"
	case errors.Is(err, tpm2.TPMRCLockout):
		return "it is locked after too many wrong passphrases; it opens again after some time"
	case errors.Is(err, tpm2.TPMRCHash), errors.Is(err, tpm2.TPMRCScheme):
		return "the TPM or the key does not have this digest algorithm"
	case errors.Is(err, tpm2.TPMRCIntegrity):
		return "the file is of another TPM, or the TPM was cleared"
	case errors.Is(err, tpm2.TPMRCInitialize):
		return "it was not started up"
	}
	return ""
}
