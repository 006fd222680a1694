// Package keyring adds certificates to the keyrings of the running kernel, lists
// what they hold, and removes keys.
//
// Kernels with CONFIG_INTEGRITY_TRUSTED_KEYRING have the keyrings .ima and
// .evm, made at boot, which take a certificate only if a key that the kernel
// trusts has signed it. Others look for keyrings _ima and _evm, in those of
// the process that happens to need one first, and keep what they have found
// (integrity_keyring_from_id() in security/integrity/digsig.c). Root's user
// keyring is where they should be: the processes of root find them there.
//
// What is in the user keyring belongs to whoever can reach that from a keyring
// of the thread's own, which a session need not do; so each call here links
// it there while it runs.
package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
)

// An ID is the kernel's number of a key or keyring.
type ID int32

// String prints the number as keyctl takes it.
func (id ID) String() string { return strconv.Itoa(int(id)) }

// A Key is a key in a keyring.
type Key struct {
	ID          ID
	Type        string // such as asymmetric, keyring or user; empty if not to be seen
	Description string // of a certificate: the subject, and the subject key identifier
}

// KeyID returns the id by which labels name the key, and false for what is no
// certificate. Kernel: x509_key_preparse() ends the description with the
// subject key identifier. (That of a certificate without one ends with its
// serial number, and no label names it.)
func (k Key) KeyID() (imaevm.KeyID, bool) {
	i := strings.LastIndex(k.Description, ": ")
	if k.Type != "asymmetric" || i < 0 || len(k.Description)-i-2 < 8 {
		return 0, false
	}
	id, err := strconv.ParseUint(k.Description[len(k.Description)-8:], 16, 32)
	return imaevm.KeyID(id), err == nil
}

// Subject returns who a certificate is for, as the kernel describes it: a part of
// the subject's name. It is empty for what is no certificate.
func (k Key) Subject() string {
	i := strings.LastIndex(k.Description, ": ")
	if k.Type != "asymmetric" || i < 0 {
		return ""
	}
	return k.Description[:i]
}

// KeyIDV1 returns the id by which labels of version 1 name the key, and false for
// what is no such key. Kernel: digsig_verify(), lib/digsig.c, looks for a user key
// that is described by its id.
func (k Key) KeyIDV1() (imaevm.KeyIDV1, bool) {
	n, err := strconv.ParseUint(k.Description, 16, 64)
	id := imaevm.KeyIDV1(n)
	if k.Type != "user" || err != nil || id.Description() != k.Description {
		return 0, false
	}
	return id, true
}

// Find returns the keyring of a name, such as .ima, or of a number. A name is
// looked for in the user keyring, then among all keyrings that the user may
// see. The error for none is a *NotFoundError.
func Find(name string) (ID, error) {
	if n, err := strconv.ParseInt(name, 10, 32); err == nil && n > 0 {
		return ID(n), nil
	}
	var id ID
	err := possessing(func() error {
		if n, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "keyring", name, 0); err == nil {
			id = ID(n)
			return nil
		}
		var err error
		id, err = findAnywhere(name)
		return err
	})
	return id, err
}

// FindOrMake is Find, and makes the keyring in the user keyring if there is
// none and its name does not begin with a dot: those only the kernel makes.
func FindOrMake(name string) (id ID, made bool, err error) {
	id, err = Find(name)
	if _, none := errors.AsType[*NotFoundError](err); !none || strings.HasPrefix(name, ".") {
		return id, false, err
	}
	n, err := unix.AddKey("keyring", name, nil, unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return 0, false, &Error{Op: "making the keyring " + name, Err: err}
	}
	return ID(n), true, nil
}

// findAnywhere looks for a keyring in /proc/keys.
func findAnywhere(name string) (ID, error) {
	rings, err := readRings()
	if err != nil {
		return 0, err
	}
	var ids []ID
	for _, r := range rings {
		if r.Name == name {
			ids = append(ids, r.ID)
		}
	}
	switch len(ids) {
	case 0:
		return 0, &NotFoundError{Name: name}
	case 1:
		return ids[0], nil
	}
	return 0, &AmbiguousError{Name: name, IDs: ids}
}

// Import adds a certificate, in DER, to a keyring. If the keyring has one of
// the same subject and identifier it is replaced. The error is an *Error that
// says what the kernel objected to.
func Import(ring ID, der []byte) (Key, error) { return add(ring, "asymmetric", "", der) }

// ImportV1 adds a public key for signatures of version 1, which is one of type user,
// to a keyring. Those that only take certificates refuse it.
func ImportV1(ring ID, key imaevm.KeyV1) (Key, error) {
	payload, err := key.AppendBinary(nil)
	if err != nil {
		return Key{}, err
	}
	id, err := key.ID()
	if err != nil {
		return Key{}, err
	}
	return add(ring, "user", id.Description(), payload)
}

func add(ring ID, kind, description string, payload []byte) (Key, error) {
	var k Key
	err := possessing(func() error {
		// The same error says that there is no such keyring, and that
		// nobody trusted has signed the certificate.
		if _, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, int(ring)); err == unix.ENOKEY {
			return &Error{Op: fmt.Sprintf("finding keyring %s", ring), Err: err}
		}
		id, err := unix.AddKey(kind, description, payload, int(ring))
		if err != nil {
			return &Error{Op: fmt.Sprintf("adding the certificate to keyring %s", ring), Err: err, Adding: kind == "asymmetric"}
		}
		k = describe(ID(id))
		return nil
	})
	return k, err
}

// AddToUser adds a key to the user keyring, such as one of type user, trusted or
// encrypted.
func AddToUser(kind, description string, payload []byte) error {
	return possessing(func() error {
		if _, err := unix.AddKey(kind, description, payload, unix.KEY_SPEC_USER_KEYRING); err != nil {
			return &Error{Op: fmt.Sprintf("adding the key %s of type %s", description, kind), Err: err, OfType: kind}
		}
		return nil
	})
}

// WithUser runs f on a thread in whose keyrings the kernel finds those of the user
// keyring.
func WithUser(f func() error) error { return possessing(f) }

// List returns the keys in a keyring.
func List(ring ID) ([]Key, error) {
	var keys []Key
	err := possessing(func() error {
		buf := make([]byte, 4*64)
		for {
			n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(ring), buf, 0)
			if err != nil {
				return &Error{Op: fmt.Sprintf("reading keyring %s", ring), Err: err}
			}
			if n <= len(buf) {
				buf = buf[:n]
				break
			}
			buf = make([]byte, n+4*64) // keys may have been added since
		}
		for raw := range slices.Chunk(buf, 4) {
			keys = append(keys, describe(ID(binary.NativeEndian.Uint32(raw))))
		}
		return nil
	})
	return keys, err
}

// Remove takes a key out of a keyring; other keyrings that have it keep it. The
// error is an *Error that says what the kernel objected to.
func Remove(ring, key ID) error {
	return possessing(func() error {
		if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, int(key), int(ring), 0, 0); err != nil {
			return &Error{Op: fmt.Sprintf("removing key %s from keyring %s", key, ring), Err: err, Removing: true}
		}
		return nil
	})
}

// describe returns a key as far as it may be seen. Kernel:
// keyctl_describe_key() gives "type;uid;gid;permissions;description".
func describe(id ID) Key {
	k := Key{ID: id}
	if s, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, int(id)); err == nil {
		if fields := strings.SplitN(s, ";", 5); len(fields) == 5 {
			k.Type, k.Description = fields[0], fields[4]
		}
	}
	return k
}

// possessing runs f on a thread that possesses the user keyring.
func possessing(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const user, thread = unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING
	_, err := unix.KeyctlInt(unix.KEYCTL_LINK, user, thread, 0, 0)
	if err != nil {
		return &Error{Op: "reaching the user keyring", Err: err}
	}
	defer unix.KeyctlInt(unix.KEYCTL_UNLINK, user, thread, 0, 0)
	return f()
}

// A NotFoundError says that there is no keyring of a name that can be seen.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string {
	if strings.HasPrefix(e.Name, ".") {
		return fmt.Sprintf("no keyring %s: either this kernel has none (without CONFIG_INTEGRITY_TRUSTED_KEYRING it uses _%s), or it may not be seen", e.Name, e.Name[1:])
	}
	return fmt.Sprintf("no keyring %s", e.Name)
}

// explainType is explain for keys that are no certificates. Kernel:
// encrypted_instantiate() and trusted_instantiate(), security/keys.
func (e *Error) explainType(errno syscall.Errno) string {
	switch errno {
	case unix.ENODEV:
		return "this kernel has no keys of this type, or their module is not loaded"
	case unix.ENOKEY:
		return "the master key is not loaded"
	case unix.EINVAL:
		return "the kernel cannot open it: it is damaged, or made with another master key"
	case unix.EPERM, unix.EIO:
		return "what seals it, usually the TPM, does not open it"
	}
	return ""
}

// An AmbiguousError says that several keyrings have the name.
type AmbiguousError struct {
	Name string
	IDs  []ID
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%d keyrings are named %s: %v; use a number", len(e.IDs), e.Name, e.IDs)
}

// An Error is what the kernel answered, with what it means here.
type Error struct {
	Op  string
	Err error
	// Adding a certificate to a keyring that is there, or Removing a key.
	Adding, Removing bool
	OfType           string // of another key that is added
}

// Unwrap returns the kernel's error number.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	errno, ok := errors.AsType[syscall.Errno](e.Err)
	if why := e.explain(errno); ok && why != "" {
		return fmt.Sprintf("%s: %v: %s", e.Op, e.Err, why)
	}
	return fmt.Sprintf("%s: %v", e.Op, e.Err)
}

// explain says what an error number means. Kernel: restrict_link_by_digsig()
// and x509_key_preparse() in crypto/asymmetric_keys, where
// ENOENT is crypto_alloc_sig()'s for the algorithm of a self-signed
// certificate; key_create_or_update(); keyctl_keyring_unlink() and key_unlink().
func (e *Error) explain(errno syscall.Errno) string {
	switch {
	case errno == unix.ENOSYS:
		return "this kernel has no key management, or a container forbids it"
	case errno == unix.EACCES:
		return "only its owner, usually root, may do this, unless its permissions forbid even that"
	case errno == unix.EDQUOT:
		return "the user's quota of keys is used up; see /proc/key-users"
	case errno == unix.EPERM && e.Removing:
		return "the keyring keeps its keys"
	case errno == unix.ENOENT && e.Removing:
		return "it is not there any more"
	case e.OfType != "":
		return e.explainType(errno)
	case !e.Adding:
		return ""
	}
	switch errno {
	case unix.ENOKEY:
		return "no key that the kernel trusts has signed the certificate, or it is a CA, or its key usage lacks digitalSignature"
	case unix.EKEYREJECTED:
		return "the certificate's signature does not verify with the key of its issuer, or it is blacklisted"
	case unix.EPERM:
		return "the keyring takes no such certificates, or no more at all"
	case unix.ENOPKG, unix.ENOENT:
		return "this kernel lacks an algorithm of the certificate's key or signature"
	case unix.EBADMSG:
		return "the kernel cannot parse it: it is no certificate in DER, or not strict enough"
	case unix.ENODEV:
		return "this kernel has no asymmetric keys"
	}
	return ""
}
