package kernelcert

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"time"

	"imaseal/hash"
	"imaseal/keys/ber"
	"imaseal/keys/kernelkey"
)

// A Verdict says whether a kernel loads a certificate.
type Verdict uint8

// The verdicts.
const (
	Undecided Verdict = iota // it hangs on something that is not known here
	Refused
	Loaded
)

// String returns the word.
func (v Verdict) String() string {
	switch v {
	case Loaded:
		return "loaded"
	case Refused:
		return "refused"
	}
	return "undecided"
}

// A Judgement is what a kernel makes of a certificate.
type Judgement struct {
	Verdict Verdict
	// Reason is why it is refused or, if that is undecided, why it may be. It is nil
	// if the certificate is loaded.
	Reason *Reason
}

// Judge says whether add_key(2) with the type asymmetric and a plain keyring, such
// as _ima, loads a certificate. Blacklisted certificates
// (CONFIG_SYSTEM_BLACKLIST_HASH_LIST, dbx), which kernels refuse, are not known here.
func (k Kernel) Judge(der []byte) Judgement {
	if k.HasParser() == Absent {
		return Judgement{Refused, refuse(NoParser, syscall.EBADMSG, "the kernel has no parser for certificates")}
	}
	if r := sizeReason(der); r != nil {
		return Judgement{Refused, r}
	}
	c, err := decode(der)
	for _, s := range c.steps {
		if r := s(k); r != nil && r.dependsOnPatch {
			return Judgement{Undecided, r}
		} else if r != nil {
			return Judgement{Refused, r}
		}
	}
	if err != nil {
		return Judgement{Refused, malformed(err)}
	}
	a, err := c.authority(k)
	if err != nil {
		return Judgement{Refused, refuse(AuthorityKeyID, syscall.EBADMSG, "its authority key identifier is malformed: %v", err)}
	}
	if !c.isSelfIssued(a) {
		return Judgement{Verdict: Loaded}
	}
	return k.judgeSelfSigned(c, a)
}

// isSelfIssued reports whether the kernel takes the certificate for self-signed:
// issuer and subject are the same, and the authority key identifier names the
// certificate if it names any. Kernel: x509_check_for_self_signed() in
// crypto/asymmetric_keys/x509_public_key.c.
func (c *Certificate) isSelfIssued(a authority) bool {
	if !bytes.Equal(c.Issuer, c.Subject) {
		return false
	}
	key, serial := c.matches(a)
	return a.keyID == nil && a.serialAndName == nil || key || serial
}

// matches compares an authority key identifier with the certificate's own
// identifiers.
func (c *Certificate) matches(a authority) (key, serial bool) {
	id := c.SubjectKeyID()
	key = id != nil && a.keyID != nil && bytes.Equal(id, a.keyID)
	serial = a.serialAndName != nil && bytes.Equal(c.issuerID(), a.serialAndName)
	return key, serial
}

// judgeSelfSigned thinks through the cases of what the kernel may have.
func (k Kernel) judgeSelfSigned(c *Certificate, a authority) Judgement {
	if key, serial := c.matches(a); key != serial && a.keyID != nil && a.serialAndName != nil {
		return Judgement{Refused, refuse(IDsContradict, syscall.EKEYREJECTED, "one half of its authority key identifier names itself, the other does not")}
	}
	s := signatureAlgorithms[c.SignatureAlgorithm]
	algorithm, _ := c.Algorithm()
	var reasons []*Reason
	canLoad := false
	for _, hasHash := range k.hasHash(s.hash).may() {
		for _, hasKey := range k.HasKey(algorithm, s.hash).may() {
			if !hasHash {
				canLoad = true // it cannot be checked
				continue
			}
			r := k.verifySelf(c, s, algorithm, hasKey)
			if r == nil {
				canLoad = true
				continue
			}
			canLoad = canLoad || r.Code == Uncomputed
			reasons = append(reasons, r)
		}
	}
	switch {
	case len(reasons) == 0:
		return Judgement{Verdict: Loaded}
	case canLoad:
		return Judgement{Undecided, k.perhaps(reasons[0], s, algorithm)}
	}
	return Judgement{Refused, reasons[0]}
}

// perhaps says of a reason that may not count what it hangs on.
func (k Kernel) perhaps(r *Reason, s signatureAlgorithm, a kernelkey.Algorithm) *Reason {
	needs := func(p Presence, option string) string {
		if p == Module {
			return "a module (" + option + "=m)"
		}
		return option
	}
	switch r.Code {
	case Uncomputed:
	case NoAlgorithm:
		r.Detail = "it is self-signed with " + s.String() + ", for which the kernel needs " + needs(k.HasKey(a, s.hash), keyOption(a))
	default:
		r.Detail += ", which the kernel sees only with " + needs(k.hasHash(s.hash), hashOptions(s.hash)[0])
	}
	return r
}

// verifySelf is public_key_verify_signature() of
// crypto/asymmetric_keys/public_key.c with the certificate's own key.
func (k Kernel) verifySelf(c *Certificate, s signatureAlgorithm, a kernelkey.Algorithm, hasKey bool) *Reason {
	if !s.isOf(a) {
		return refuse(SelfSignature, syscall.EKEYREJECTED, "it is self-signed with %s, and its key is for %s", s.key, a)
	}
	if !hasKey {
		return refuse(NoAlgorithm, syscall.ENOENT, "it is self-signed with %s, which the kernel lacks", s)
	}
	return k.verify(c, s, a, c.KeyBits)
}

// isOf reports whether a key of the algorithm makes such signatures.
func (s signatureAlgorithm) isOf(a kernelkey.Algorithm) bool {
	return s.key == a || s.key == anyCurve && a.IsECDSA()
}

// String names algorithm and digest.
func (s signatureAlgorithm) String() string {
	if s.hash == noHash {
		return string(s.key)
	}
	return string(s.key) + " and " + s.hash
}

// verify checks the certificate's signature with a key.
func (k Kernel) verify(c *Certificate, s signatureAlgorithm, a kernelkey.Algorithm, bits []byte) *Reason {
	if !a.IsChecked() {
		return refuse(Uncomputed, syscall.EKEYREJECTED, "whether its signature is right is not computed here for %s", a)
	}
	key, err := k.Parse(a, bits)
	if bad, ok := errors.AsType[*kernelkey.KeyError](err); ok {
		return refuse(Key, bad.Errno, "it is signed with %s, which the kernel does not take", bad.Why)
	}
	signed, err := s.signed(c.TBS)
	if err != nil {
		return refuse(Uncomputed, syscall.EKEYREJECTED, "whether its signature is right is not computed: %v", err)
	}
	err = key.Verify(s.hash, signed, c.Signature)
	if bad, ok := errors.AsType[*kernelkey.SignatureError](err); ok {
		return refuse(SelfSignature, bad.Errno, "its signature is wrong")
	}
	return nil
}

// signed is what the signature is over: the digest, or what the algorithm takes
// itself.
func (s signatureAlgorithm) signed(tbs []byte) ([]byte, error) {
	if s.hash == noHash {
		return tbs, nil
	}
	a, err := hash.Parse(s.hash)
	if err != nil {
		return nil, err
	}
	d, err := hash.Sum(a, tbs)
	return d.Bytes(), err
}

// checkSignatureAlgorithm is x509_note_sig_algo().
func (c *Certificate) checkSignatureAlgorithm(k Kernel) *Reason {
	if s, ok := signatureAlgorithms[c.SignatureAlgorithm]; !ok || !s.has(k) {
		return refuse(SignatureAlgorithm, syscall.ENOPKG, "it is signed with %s, which the kernel does not know", signatureName(c.SignatureAlgorithm))
	}
	return nil
}

// otherSignatures are the names of algorithms that no kernel knows.
var otherSignatures = map[OID]string{
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02": "RSA and MD2",
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04": "RSA and MD5",
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a": "RSA-PSS",
	"\x2a\x86\x48\xce\x38\x04\x03":         "DSA",
	"\x60\x86\x48\x01\x65\x03\x04\x03\x02": "DSA",
	"\x2b\x65\x70":                         "Ed25519",
	"\x2b\x65\x71":                         "Ed448",
}

func signatureName(id OID) string {
	if name := otherSignatures[id]; name != "" {
		return name
	}
	if s, ok := signatureAlgorithms[id]; ok {
		return s.String()
	}
	return "the algorithm " + id.String()
}

// checkSignatureBits is x509_note_signature().
func (c *Certificate) checkSignatureBits(outer OID, bits []byte) *Reason {
	switch {
	case outer != c.SignatureAlgorithm:
		return refuse(SignatureDiffers, syscall.EINVAL, "it names two signature algorithms, %s and %s", signatureName(c.SignatureAlgorithm), signatureName(outer))
	case len(bits) == 0 || bits[0] != 0:
		return refuse(SignatureBits, syscall.EBADMSG, "its signature is not of whole bytes")
	}
	return nil
}

// checkKey is x509_extract_key_data().
func (c *Certificate) checkKey(k Kernel, bits []byte) *Reason {
	a, known := findKeyAlgorithm(c.KeyAlgorithm, c.KeyParameters)
	_, isNamed := parseOID(c.KeyParameters)
	switch {
	case c.KeyAlgorithm == oidECPublicKey && !isNamed:
		return refuse(KeyParameters, syscall.EBADMSG, "the curve of its key is not named")
	case !known || !a.has(k):
		return refuse(KeyAlgorithm, syscall.ENOPKG, "its key is %s, which the kernel does not know", keyName(c))
	case len(bits) == 0 || bits[0] != 0:
		return refuse(KeyBits, syscall.EBADMSG, "its key is not of whole bytes")
	}
	return nil
}

func keyName(c *Certificate) string {
	if a, ok := c.Algorithm(); ok {
		return string(a)
	}
	if curve, ok := parseOID(c.KeyParameters); ok && c.KeyAlgorithm == oidECPublicKey {
		return "on the curve " + curve.String()
	}
	return "of the algorithm " + c.KeyAlgorithm.String()
}

// checkTime is x509_decode_time().
func checkTime(e ber.Element) *Reason {
	if _, ok := parseTime(e); ok {
		return nil
	}
	what := "UTCTime"
	if e.Tag == ber.GeneralizedTime {
		what = "GeneralizedTime"
	}
	return refuse(Time, syscall.EBADMSG, "the time %q as %s is none of those that kernels take", e.Value, what)
}

// parseTime reads a UTCTime, YYMMDDhhmmssZ, of the years 1970 to 2049, or a
// GeneralizedTime, YYYYMMDDhhmmssZ, of 2050 and later. The hour may be 24, the
// second 60.
func parseTime(e ber.Element) (time.Time, bool) {
	digits, ok := strings.CutSuffix(string(e.Value), "Z")
	want := len("YYMMDDhhmmss")
	if e.Tag == ber.GeneralizedTime {
		want += 2
	}
	if !ok || len(digits) != want || strings.Trim(digits, "0123456789") != "" {
		return time.Time{}, false
	}
	var n []int
	for i := 0; i < want; i += 2 {
		n = append(n, int(digits[i]-'0')*10+int(digits[i+1]-'0'))
	}
	year := n[0] + 1900
	if n[0] < 50 {
		year += 100
	}
	if e.Tag == ber.GeneralizedTime {
		year = n[0]*100 + n[1]
		n = n[1:]
	}
	month, day, hour, minute, second := n[1], n[2], n[3], n[4], n[5]
	if year < 1970 || e.Tag == ber.GeneralizedTime && year < 2050 ||
		month < 1 || month > 12 || day < 1 || day > lastDay(year, month) || hour > 24 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

func lastDay(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
