package kernelcert

import (
	"syscall"

	"imaseal/keys/ber"
)

// checkExtension is x509_process_extension() of
// crypto/asymmetric_keys/x509_cert_parser.c, but for the authority key identifier,
// which is read when all else has been.
func checkExtension(k Kernel, e Extension, earlier []Extension) *Reason {
	switch e.ID {
	case oidSubjectKeyID:
		if _, ok := subjectKeyID(e.Value); !ok {
			return refuse(SubjectKeyID, syscall.EBADMSG, "its subject key identifier is not one of 1 to 255 bytes")
		}
		for _, other := range earlier {
			if other.ID == oidSubjectKeyID {
				return refuse(SubjectKeyID, syscall.EBADMSG, "it has two subject key identifiers")
			}
		}
	case oidKeyUsage:
		if !sinceUsage.has(k) {
			return nil
		}
		if v := e.Value; len(v) < 4 || v[0] != ber.BitString || v[2] >= 8 {
			return refuse(KeyUsage, syscall.EBADMSG, "its key usage is no bit string with bits in it")
		}
	case oidBasicConstraints:
		if sinceUsage.has(k) {
			return checkBasicConstraints(k, e.Value)
		}
	}
	return nil
}

// sinceUsage are the kernels that look at key usage and basic constraints.
var sinceUsage = versions{since: version{6, 4}}

// subjectKeyID returns the identifier in an extension: an OCTET STRING whose
// length is one byte, whatever its first bit. One in two bytes, 81 80 for 128, is
// taken for an identifier of 129 bytes.
func subjectKeyID(v []byte) ([]byte, bool) {
	if len(v) < 3 || v[0] != ber.OctetString || int(v[1]) != len(v)-2 {
		return nil, false
	}
	return v[2:], true
}

// checkBasicConstraints: nothing, or TRUE and whatever follows.
func checkBasicConstraints(k Kernel, v []byte) *Reason {
	switch {
	case len(v) < 2 || v[0] != ber.Sequence || int(v[1]) != len(v)-2:
		return refuse(BasicConstraints, syscall.EBADMSG, "its basic constraints are no sequence")
	case len(v) == 2 || isCA(v):
		return nil
	}
	r := refuse(BasicConstraints, syscall.EBADMSG, "its basic constraints are neither empty nor CA:TRUE")
	// Before the rule came they were taken, and any BOOLEAN for CA:TRUE.
	r.dependsOnPatch = !k.AtLeast(6, 12) || k.AtLeast(6, 13) && !k.AtLeast(6, 18)
	return r
}

func isCA(v []byte) bool {
	return len(v) >= 5 && v[2] == ber.Boolean && v[3] == 1 && v[4] == 0xff
}

// flags are what the kernel keeps of key usage and basic constraints, the
// key_eflags of struct public_key.
type flags struct{ isCA, signsCertificates, signsDigests bool }

// flags adds up what all extensions say. Those of one kind are not one by one:
// two key usages are united.
func (c *Certificate) flags() flags {
	var f flags
	for _, e := range c.Extensions {
		switch v := e.Value; {
		case e.ID == oidBasicConstraints:
			f.isCA = f.isCA || isCA(v)
		case e.ID == oidKeyUsage && len(v) >= 4:
			f.signsDigests = f.signsDigests || v[3]&0x80 != 0
			if v[1] == 2 && v[2] <= 2 || v[1] == 3 && len(v) > 4 {
				f.signsCertificates = f.signsCertificates || v[3]&0x04 != 0
			}
		}
	}
	return f
}

// authority is what a certificate says about its issuer, the auth_ids of struct
// public_key_signature.
type authority struct {
	serialAndName []byte // nil if one of them is missing
	keyID         []byte // nil if there is none
}

// authority reads the authority key identifier, the last one if there are
// several. It is not ok if the kernel cannot. Kernel: x509_cert_parse(),
// crypto/asymmetric_keys/x509_akid.asn1, x509_akid_note_kid() and following.
func (c *Certificate) authority(k Kernel) (authority, error) {
	var a authority
	for i := len(c.Extensions) - 1; i >= 0; i-- {
		if e := c.Extensions[i]; e.ID == oidAuthorityKeyID {
			d := &authorityDecoder{decoder: decoder{Reader: ber.NewReader(e.Value), c: &Certificate{}}, kernel: k}
			err := d.identifier()
			return d.authority, err
		}
	}
	return a, nil
}

type authorityDecoder struct {
	decoder
	kernel    Kernel
	issuer    []byte
	authority authority
}

func (d *authorityDecoder) identifier() error {
	_, err := d.within(ber.Sequence, func() error {
		id, ok, err := d.LeafOptional(ber.Context(0))
		if err != nil {
			return err
		}
		if ok {
			d.authority.keyID = id.Value
		}
		if err := d.issuers(); err != nil {
			return err
		}
		serial, ok, err := d.LeafOptional(ber.Context(2))
		if ok && d.issuer != nil {
			d.authority.serialAndName = append(append([]byte{}, serial.Value...), d.issuer...)
		}
		return err
	})
	return err
}

// issuers reads authorityCertIssuer, of which the last directory name counts. It
// may be empty, unlike other sequences: the decoder takes the match of the
// sequence for one of an element.
func (d *authorityDecoder) issuers() error {
	f, ok, err := d.OpenOptional(ber.Explicit(1))
	if !ok {
		return err
	}
	for more := !d.AtEnd(); more; {
		if err := d.generalName(); err != nil {
			return err
		}
		if more, err = d.More(f); err != nil {
			return err
		}
	}
	_, err = d.Close(f)
	return err
}

// generalName reads a GeneralName. Before 6.7 the grammar wanted each inside of a
// constructed element, which nobody writes but for directoryName.
func (d *authorityDecoder) generalName() error {
	const otherName, rfc822Name, dNSName, x400Address, directoryName, ediPartyName, uri, iPAddress, registeredID = 0, 1, 2, 3, 4, 5, 6, 7, 8
	isImplicit := d.kernel.AtLeast(6, 7)
	for _, g := range []struct {
		number   byte
		explicit func() error // content of a constructed element
		isLeaf   bool         // otherwise, since 6.7
	}{
		{otherName, d.otherName, false},
		{rfc822Name, d.inner(ber.IA5String), true},
		{dNSName, d.inner(ber.IA5String), true},
		{x400Address, d.anything, false},
		{directoryName, d.directoryName, false},
		{ediPartyName, d.ediPartyName, false},
		{uri, d.inner(ber.IA5String), true},
		{iPAddress, d.inner(ber.OctetString), true},
		{registeredID, d.inner(ber.OID), true},
	} {
		if isImplicit && g.isLeaf {
			if _, ok, err := d.LeafOptional(ber.Context(g.number)); ok || err != nil {
				return err
			}
			continue
		}
		f, ok, err := d.OpenOptional(ber.Explicit(g.number))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := g.explicit(); err != nil {
			return err
		}
		_, err = d.Close(f)
		return err
	}
	return &ber.SyntaxError{Offset: d.Offset(), What: "no GeneralName"}
}

func (d *authorityDecoder) anything() error {
	_, err := d.Any()
	return err
}

// inner reads a primitive element.
func (d *authorityDecoder) inner(tag byte) func() error {
	return func() error {
		_, err := d.Leaf(tag)
		return err
	}
}

func (d *authorityDecoder) otherName() error {
	if !d.kernel.AtLeast(6, 7) {
		return d.anything()
	}
	if _, err := d.Leaf(ber.OID); err != nil {
		return err
	}
	_, err := d.within(ber.Explicit(0), d.anything)
	return err
}

func (d *authorityDecoder) ediPartyName() error {
	if !d.kernel.AtLeast(6, 7) {
		return d.anything()
	}
	f, ok, err := d.OpenOptional(ber.Explicit(0)) // nameAssigner
	if err != nil {
		return err
	}
	if ok {
		if err := d.anything(); err != nil {
			return err
		}
		if _, err := d.Close(f); err != nil {
			return err
		}
	}
	_, err = d.within(ber.Explicit(1), d.anything)
	return err
}

func (d *authorityDecoder) directoryName() error {
	n, _, err := d.name()
	if err == nil {
		d.issuer = n
	}
	return err
}
