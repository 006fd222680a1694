package kernelcert

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"syscall"
	"time"

	"imaseal/keys/ber"
	"imaseal/keys/kernelkey"
)

// A Certificate is one whose structure every kernel takes. Whether a kernel
// loads it is for [Kernel.Judge] to say. Its slices belong to the input.
type Certificate struct {
	Raw []byte // without what follows it
	TBS []byte // what is signed

	Serial          []byte // content of the INTEGER
	Issuer, Subject []byte // content of the Names, without their header

	SignatureAlgorithm OID
	Signature          []byte // without the byte that counts unused bits

	KeyAlgorithm  OID
	KeyParameters []byte // with header; nil if there are none
	KeyBits       []byte // without the byte that counts unused bits

	Extensions []Extension // in their order, also several with the same ID

	steps []step // what the kernel looks at while it decodes, in its order
	name  name   // of the subject
	notBefore,
	notAfter ber.Element
}

// An Extension is one of a certificate. Kernels do not look at whether it is
// critical.
type Extension struct {
	ID    OID
	Value []byte
}

// Parse reads the structure of a certificate. What follows it is not looked at.
// The error is a *Reason: no kernel loads it.
func Parse(der []byte) (*Certificate, error) {
	if r := sizeReason(der); r != nil {
		return nil, r
	}
	c, err := decode(der)
	if err != nil {
		return nil, malformed(err)
	}
	return c, nil
}

// SubjectKeyID returns the subject key identifier, nil if there is none or
// kernels refuse it. With several the first counts here; kernels take none.
func (c *Certificate) SubjectKeyID() []byte {
	for _, e := range c.Extensions {
		if e.ID == oidSubjectKeyID {
			id, _ := subjectKeyID(e.Value)
			return id
		}
	}
	return nil
}

// KeyIDs returns the ids by which labels can name the certificate's key, that of
// the subject key identifier first. A label has four bytes; a kernel takes a key
// if they end its subject key identifier, or its serial number followed by its
// issuer's name, if those have as many. Kernel: request_asymmetric_key() in
// security/integrity/digsig_asymmetric.c, asymmetric_key_cmp_partial() in
// crypto/asymmetric_keys/asymmetric_type.c, x509_key_preparse().
func (c *Certificate) KeyIDs() []uint32 {
	var ids []uint32
	for _, id := range [][]byte{c.SubjectKeyID(), c.issuerID()} {
		if len(id) >= 4 {
			ids = append(ids, binary.BigEndian.Uint32(id[len(id)-4:]))
		}
	}
	return ids
}

// issuerID is the kernel's first identifier of the key.
func (c *Certificate) issuerID() []byte { return append(bytes.Clone(c.Serial), c.Issuer...) }

// Description returns what the kernel names the key by: the subject and, in hex,
// the subject key identifier or else the serial number. Kernel:
// x509_key_preparse().
func (c *Certificate) Description() string {
	id := c.SubjectKeyID()
	if id == nil {
		id = c.Serial
	}
	subject, _, _ := bytes.Cut(c.name.fabricate(), []byte{0})
	return string(subject) + ": " + hex.EncodeToString(id)
}

// Validity returns from when to when the certificate is valid, which kernels do
// not look at. It is false if they refuse one of the times.
func (c *Certificate) Validity() (from, to time.Time, ok bool) {
	from, ok1 := parseTime(c.notBefore)
	to, ok2 := parseTime(c.notAfter)
	return from, to, ok1 && ok2
}

// Algorithm returns the kernel's name of the key's algorithm, of whatever
// version, and false if there is none.
func (c *Certificate) Algorithm() (kernelkey.Algorithm, bool) {
	k, ok := findKeyAlgorithm(c.KeyAlgorithm, c.KeyParameters)
	return k.algorithm, ok
}

// PublicKey returns the key as *rsa.PublicKey, *ecdsa.PublicKey or
// *mldsa.PublicKey. The error is a *kernelkey.KeyError.
func (c *Certificate) PublicKey() (crypto.PublicKey, error) {
	a, ok := c.Algorithm()
	if !ok {
		return nil, &kernelkey.KeyError{Errno: syscall.ENOPKG, Why: "a key of the unknown algorithm " + c.KeyAlgorithm.String()}
	}
	newest := kernelkey.Kernel{Major: 7, Minor: 2}
	k, err := newest.Parse(a, c.KeyBits)
	if err != nil {
		return nil, err
	}
	return k.Public()
}

// A name is what the kernel takes from a Name, which it makes a text of. Each
// part has the length of the attribute's value modulo 256; the last one counts.
// Kernel: x509_extract_name_segment(), whose sizes are bytes.
type name struct{ organization, common, email []byte }

func (n *name) add(attribute OID, value []byte) {
	value = value[:len(value)&0xff]
	switch attribute {
	case oidCommonName:
		n.common = value
	case oidOrganization:
		n.organization = value
	case oidEmail:
		n.email = value
	}
}

// fabricate returns the text. Kernel: x509_fabricate_name().
func (n name) fabricate() []byte {
	o, cn := n.organization, n.common
	const similar = 7 // bytes that make an organization the beginning of the common name
	switch {
	case len(cn) > 0 && len(o) > 0:
		isPart := bytes.HasPrefix(cn, o) || len(cn) >= similar && len(o) >= similar && bytes.Equal(cn[:similar], o[:similar])
		if !isPart {
			return append(append(bytes.Clone(o), ": "...), cn...)
		}
		return cn
	case len(cn) > 0:
		return cn
	case len(o) > 0:
		return o
	}
	return n.email
}
