//go:build amd64

package main

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

// addKey offers a certificate to a keyring, which takes the place of that of the
// last one.
func addKey(o *wire.Offer) wire.Verdict {
	ring, err := unix.AddKey("keyring", "offers", nil, unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return outcome("keyring", err)
	}
	if o.Issuer != nil {
		if v := restrict(ring, o.Issuer); !v.Allowed() {
			return v
		}
	}
	key, err := unix.AddKey("asymmetric", "", o.Certificate, ring)
	if err != nil {
		return outcome("add_key", err)
	}
	description, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, key)
	if err != nil {
		return outcome("describe", err)
	}
	// "type;uid;gid;permissions;description"
	fields := strings.SplitN(description, ";", 5)
	added := &wire.Added{Description: []byte(fields[len(fields)-1])}
	for _, what := range o.Find {
		id, err := unix.KeyctlSearch(ring, "asymmetric", what, 0)
		added.Found = append(added.Found, err == nil && id == key)
	}
	if o.Signature != nil {
		added.Verify = verify(key, o.Signature)
	}
	return wire.Verdict{Added: added}
}

// restrict makes a keyring take only what the certificate signed.
func restrict(ring int, issuer []byte) wire.Verdict {
	issuers, err := unix.AddKey("keyring", "issuers", nil, unix.KEY_SPEC_USER_KEYRING)
	if err == nil {
		_, err = unix.AddKey("asymmetric", "", issuer, issuers)
	}
	if err != nil {
		return outcome("issuer", err)
	}
	return outcome("restrict", unix.KeyctlRestrictKeyring(ring, "asymmetric", fmt.Sprintf("key_or_keyring:%d", issuers)))
}

// publicKeyParams is struct keyctl_pkey_params of include/uapi/linux/keyctl.h.
type publicKeyParams struct {
	key               int32
	length            uint32
	lengthOfSignature uint32
	_                 [7]uint32
}

// verify has a signature checked by a key, and names the error.
func verify(key int, s *wire.Signature) string {
	params := publicKeyParams{key: int32(key), length: uint32(len(s.Digest)), lengthOfSignature: uint32(len(s.Raw))}
	info := append([]byte(s.Info), 0)
	digest, raw := append([]byte(nil), s.Digest...), append([]byte{}, s.Raw...)
	_, _, errno := unix.Syscall6(unix.SYS_KEYCTL, unix.KEYCTL_PKEY_VERIFY, uintptr(unsafe.Pointer(&params)),
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(unsafe.SliceData(digest))), uintptr(unsafe.Pointer(unsafe.SliceData(raw))), 0)
	runtime.KeepAlive(info)
	if errno != 0 {
		return unix.ErrnoName(errno)
	}
	return ""
}
