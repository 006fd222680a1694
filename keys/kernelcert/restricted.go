package kernelcert

import (
	"bytes"
	"syscall"

	"imaseal/keys/kernelkey"
)

// sinceDigitalSignature are the kernels whose .ima and .evm look at key usage.
var sinceDigitalSignature = versions{since: version{6, 5}}

// Usage returns why .ima and .evm refuse a certificate that the kernel loads into a
// plain keyring, whoever signed it. Kernel: restrict_link_by_digsig() in
// crypto/asymmetric_keys/restrict.c.
func (k Kernel) Usage(c *Certificate) []*Reason {
	if !sinceDigitalSignature.has(k) {
		return nil
	}
	var reasons []*Reason
	f := c.flags()
	if !f.signsDigests {
		reasons = append(reasons, refuse(NoDigitalSignature, syscall.ENOKEY, "its key usage lacks digitalSignature"))
	}
	if f.isCA {
		reasons = append(reasons, refuse(IsCA, syscall.ENOKEY, "it is a CA"))
	}
	if f.signsCertificates {
		reasons = append(reasons, refuse(SignsCertificates, syscall.ENOKEY, "its key usage has keyCertSign"))
	}
	return reasons
}

// Vouch says whether a keyring that is restricted to what the trusted
// certificates signed takes a certificate. Together with Usage that decides .ima
// and .evm, whose trusted certificates are those of .builtin_trusted_keys and
// perhaps .secondary_trusted_keys. Kernel: restrict_link_by_signature(),
// find_asymmetric_key().
func (k Kernel) Vouch(c *Certificate, trusted []*Certificate) Judgement {
	j := k.Judge(c.Raw)
	if j.Verdict == Refused {
		return j
	}
	a, err := c.authority(k)
	if err != nil {
		return Judgement{Refused, malformed(err)}
	}
	all := joint{}
	for _, hasHash := range k.hasHash(signatureAlgorithms[c.SignatureAlgorithm].hash).may() {
		if !hasHash {
			all.add(Judgement{Refused, refuse(UncheckedSignature, syscall.ENOPKG, "the kernel lacks %s, of its signature", signatureAlgorithms[c.SignatureAlgorithm].hash)})
			continue
		}
		all.add(k.vouchBy(c, c.issuers(a, trusted)))
	}
	if v := all.judgement(); v.Verdict != Loaded {
		return v
	}
	return j
}

// issuers returns those of the trusted certificates that the kernel may find as
// the issuer: it takes one.
func (c *Certificate) issuers(a authority, trusted []*Certificate) []*Certificate {
	var found []*Certificate
	for _, t := range trusted {
		isNamed := func(id []byte) bool {
			return bytes.Equal(t.issuerID(), id) || t.SubjectKeyID() != nil && bytes.Equal(t.SubjectKeyID(), id)
		}
		switch {
		case a.serialAndName != nil && isNamed(a.serialAndName),
			a.serialAndName == nil && a.keyID != nil && isNamed(a.keyID),
			a.serialAndName == nil && a.keyID == nil && bytes.Equal(t.Subject, c.Issuer):
			found = append(found, t)
		}
	}
	return found
}

// vouchBy decides by the certificates that may be taken for the issuer.
func (k Kernel) vouchBy(c *Certificate, issuers []*Certificate) Judgement {
	if len(issuers) == 0 {
		return Judgement{Refused, refuse(UnknownIssuer, syscall.ENOKEY, "its issuer is not among those that the kernel trusts")}
	}
	all := joint{}
	a, _ := c.authority(k)
	for _, issuer := range issuers {
		id := issuer.SubjectKeyID()
		if a.serialAndName != nil && a.keyID != nil && (id == nil || !bytes.Equal(id, a.keyID)) {
			all.add(Judgement{Refused, refuse(UnknownIssuer, syscall.ENOKEY, "its issuer has another subject key identifier than its authority key identifier says")})
			continue
		}
		all.add(k.vouchOne(c, issuer))
	}
	return all.judgement()
}

func (k Kernel) vouchOne(c, issuer *Certificate) Judgement {
	s := signatureAlgorithms[c.SignatureAlgorithm]
	algorithm, _ := issuer.Algorithm()
	if !s.isOf(algorithm) {
		return Judgement{Refused, refuse(IssuerSignature, syscall.EKEYREJECTED, "it is signed with %s, and its issuer's key is for %s", s.key, algorithm)}
	}
	all := joint{}
	for _, hasKey := range k.HasKey(algorithm, s.hash).may() {
		if !hasKey {
			all.add(Judgement{Refused, refuse(NoAlgorithm, syscall.ENOENT, "it is signed with %s, which the kernel lacks", s)})
			continue
		}
		all.add(k.vouchSignature(c, s, algorithm, issuer.KeyBits))
	}
	return all.judgement()
}

func (k Kernel) vouchSignature(c *Certificate, s signatureAlgorithm, a kernelkey.Algorithm, bits []byte) Judgement {
	r := k.verify(c, s, a, bits)
	switch {
	case r == nil:
		return Judgement{Verdict: Loaded}
	case r.Code == Uncomputed:
		return Judgement{Undecided, r}
	case r.Code == SelfSignature:
		r.Code = IssuerSignature
	}
	return Judgement{Refused, r}
}

// A joint is what is common to several judgements, one of which will be that of
// the kernel.
type joint struct {
	verdicts [3]bool // by Verdict
	reason   *Reason // the first
}

func (j *joint) add(one Judgement) {
	j.verdicts[one.Verdict] = true
	if j.reason == nil {
		j.reason = one.Reason
	}
}

func (j *joint) judgement() Judgement {
	switch j.verdicts {
	case [3]bool{Loaded: true}:
		return Judgement{Verdict: Loaded}
	case [3]bool{Refused: true}:
		return Judgement{Refused, j.reason}
	}
	return Judgement{Undecided, j.reason}
}
