package kernelcert

import (
	"strconv"
	"strings"

	"imaseal/keys/ber"
	"imaseal/keys/kernelkey"
)

// An OID is an object identifier as it is encoded, without header. Kernels
// compare the bytes: look_up_OID() in lib/oid_registry.c.
type OID string

// String returns the numbers, or the bytes in hex if they are none.
func (o OID) String() string {
	var numbers []string
	n := uint64(0)
	for i := range len(o) {
		n = n<<7 | uint64(o[i]&0x7f)
		if o[i]&0x80 != 0 {
			continue
		}
		if len(numbers) == 0 {
			first := min(n/40, 2)
			numbers = append(numbers, strconv.FormatUint(first, 10))
			n -= first * 40
		}
		numbers = append(numbers, strconv.FormatUint(n, 10))
		n = 0
	}
	if len(o) == 0 || o[len(o)-1]&0x80 != 0 {
		return "0x" + hexOf(string(o))
	}
	return strings.Join(numbers, ".")
}

// Object identifiers that the kernel does something with, besides those of
// algorithms.
const (
	oidCommonName       OID = "\x55\x04\x03"                         // 2.5.4.3
	oidOrganization     OID = "\x55\x04\x0a"                         // 2.5.4.10
	oidEmail            OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" // 1.2.840.113549.1.9.1
	oidSubjectKeyID     OID = "\x55\x1d\x0e"                         // 2.5.29.14
	oidKeyUsage         OID = "\x55\x1d\x0f"                         // 2.5.29.15
	oidBasicConstraints OID = "\x55\x1d\x13"                         // 2.5.29.19
	oidAuthorityKeyID   OID = "\x55\x1d\x23"                         // 2.5.29.35
	oidECPublicKey      OID = "\x2a\x86\x48\xce\x3d\x02\x01"         // 1.2.840.10045.2.1
)

// A version is one of the kernel. The zero value is before all and, as an end,
// none.
type version struct{ major, minor int }

// versions is from one version on, before another.
type versions struct{ since, until version }

func (v versions) has(k Kernel) bool {
	return k.AtLeast(v.since.major, v.since.minor) && (v.until == version{} || !k.AtLeast(v.until.major, v.until.minor))
}

// A signatureAlgorithm is one that x509_note_sig_algo() knows.
type signatureAlgorithm struct {
	versions
	key  kernelkey.Algorithm // ecdsa: of whatever curve
	hash string              // the kernel's name; none: the algorithm takes the data
}

// Not algorithms, but names that the kernel uses likewise.
const (
	anyCurve kernelkey.Algorithm = "ecdsa"
	noHash   string              = "none"
)

// signatureAlgorithms is the table of x509_note_sig_algo() in
// crypto/asymmetric_keys/x509_cert_parser.c. RSA is PKCS #1 v1.5; PSS, MD5, DSA and
// Ed25519 are not there. Parameters are not looked at.
var signatureAlgorithms = map[OID]signatureAlgorithm{
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04": {versions{until: version{6, 7}}, kernelkey.RSA, "md4"}, // 1.2.840.113549.1.1.4
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05": {key: kernelkey.RSA, hash: "sha1"},                     // 1.2.840.113549.1.1.5
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": {key: kernelkey.RSA, hash: "sha256"},                   // 1.2.840.113549.1.1.11
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": {key: kernelkey.RSA, hash: "sha384"},                   // 1.2.840.113549.1.1.12
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": {key: kernelkey.RSA, hash: "sha512"},                   // 1.2.840.113549.1.1.13
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e": {key: kernelkey.RSA, hash: "sha224"},                   // 1.2.840.113549.1.1.14
	"\x60\x86\x48\x01\x65\x03\x04\x03\x0e": {sinceSHA3, kernelkey.RSA, "sha3-256"},                 // 2.16.840.1.101.3.4.3.14
	"\x60\x86\x48\x01\x65\x03\x04\x03\x0f": {sinceSHA3, kernelkey.RSA, "sha3-384"},                 // 2.16.840.1.101.3.4.3.15
	"\x60\x86\x48\x01\x65\x03\x04\x03\x10": {sinceSHA3, kernelkey.RSA, "sha3-512"},                 // 2.16.840.1.101.3.4.3.16
	"\x2a\x86\x48\xce\x3d\x04\x01":         {key: anyCurve, hash: "sha1"},                          // 1.2.840.10045.4.1
	"\x2a\x86\x48\xce\x3d\x04\x03\x01":     {key: anyCurve, hash: "sha224"},                        // 1.2.840.10045.4.3.1
	"\x2a\x86\x48\xce\x3d\x04\x03\x02":     {key: anyCurve, hash: "sha256"},                        // 1.2.840.10045.4.3.2
	"\x2a\x86\x48\xce\x3d\x04\x03\x03":     {key: anyCurve, hash: "sha384"},                        // 1.2.840.10045.4.3.3
	"\x2a\x86\x48\xce\x3d\x04\x03\x04":     {key: anyCurve, hash: "sha512"},                        // 1.2.840.10045.4.3.4
	"\x60\x86\x48\x01\x65\x03\x04\x03\x0a": {sinceSHA3, anyCurve, "sha3-256"},                      // 2.16.840.1.101.3.4.3.10
	"\x60\x86\x48\x01\x65\x03\x04\x03\x0b": {sinceSHA3, anyCurve, "sha3-384"},                      // 2.16.840.1.101.3.4.3.11
	"\x60\x86\x48\x01\x65\x03\x04\x03\x0c": {sinceSHA3, anyCurve, "sha3-512"},                      // 2.16.840.1.101.3.4.3.12
	"\x2a\x85\x03\x07\x01\x01\x03\x02":     {key: kernelkey.ECRDSA, hash: "streebog256"},           // 1.2.643.7.1.1.3.2
	"\x2a\x85\x03\x07\x01\x01\x03\x03":     {key: kernelkey.ECRDSA, hash: "streebog512"},           // 1.2.643.7.1.1.3.3
	"\x2a\x81\x1c\xcf\x55\x01\x83\x75":     {untilSM2, kernelkey.SM2, "sm3"},                       // 1.2.156.10197.1.501
	"\x60\x86\x48\x01\x65\x03\x04\x03\x11": {sinceMLDSA, kernelkey.MLDSA44, noHash},                // 2.16.840.1.101.3.4.3.17
	"\x60\x86\x48\x01\x65\x03\x04\x03\x12": {sinceMLDSA, kernelkey.MLDSA65, noHash},                // 2.16.840.1.101.3.4.3.18
	"\x60\x86\x48\x01\x65\x03\x04\x03\x13": {sinceMLDSA, kernelkey.MLDSA87, noHash},                // 2.16.840.1.101.3.4.3.19
}

var (
	sinceSHA3  = versions{since: version{6, 7}}
	sinceP521  = versions{since: version{6, 10}}
	untilSM2   = versions{until: version{6, 11}}
	sinceMLDSA = versions{since: version{7, 0}}
)

// A keyAlgorithm is one that x509_extract_key_data() knows.
type keyAlgorithm struct {
	versions
	algorithm kernelkey.Algorithm
}

// keyAlgorithms is the table of x509_extract_key_data(), curves its second one,
// for the parameters of elliptic curves.
var (
	keyAlgorithms = map[OID]keyAlgorithm{
		"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01": {algorithm: kernelkey.RSA},      // 1.2.840.113549.1.1.1
		"\x2a\x85\x03\x07\x01\x01\x01\x01":     {algorithm: kernelkey.ECRDSA},   // 1.2.643.7.1.1.1.1
		"\x2a\x85\x03\x07\x01\x01\x01\x02":     {algorithm: kernelkey.ECRDSA},   // 1.2.643.7.1.1.1.2
		oidSM2:                                 {untilSM2, kernelkey.SM2},       // 1.2.156.10197.1.301
		"\x60\x86\x48\x01\x65\x03\x04\x03\x11": {sinceMLDSA, kernelkey.MLDSA44}, // 2.16.840.1.101.3.4.3.17
		"\x60\x86\x48\x01\x65\x03\x04\x03\x12": {sinceMLDSA, kernelkey.MLDSA65}, // 2.16.840.1.101.3.4.3.18
		"\x60\x86\x48\x01\x65\x03\x04\x03\x13": {sinceMLDSA, kernelkey.MLDSA87}, // 2.16.840.1.101.3.4.3.19
	}
	curves = map[OID]keyAlgorithm{
		"\x2a\x86\x48\xce\x3d\x03\x01\x01": {algorithm: kernelkey.P192}, // 1.2.840.10045.3.1.1
		"\x2a\x86\x48\xce\x3d\x03\x01\x07": {algorithm: kernelkey.P256}, // 1.2.840.10045.3.1.7
		"\x2b\x81\x04\x00\x22":             {algorithm: kernelkey.P384}, // 1.3.132.0.34
		"\x2b\x81\x04\x00\x23":             {sinceP521, kernelkey.P521}, // 1.3.132.0.35
		oidSM2:                             {untilSM2, kernelkey.SM2},   // 1.2.156.10197.1.301
	}
)

const oidSM2 OID = "\x2a\x81\x1c\xcf\x55\x01\x82\x2d"

// findKeyAlgorithm returns the algorithm of a key in any kernel.
func findKeyAlgorithm(id OID, parameters []byte) (keyAlgorithm, bool) {
	if id != oidECPublicKey {
		a, ok := keyAlgorithms[id]
		return a, ok
	}
	curve, ok := parseOID(parameters)
	if !ok {
		return keyAlgorithm{}, false
	}
	a, ok := curves[curve]
	return a, ok
}

// parseOID reads an object identifier that is the whole input. Kernel:
// parse_OID() in lib/oid_registry.c, which takes one byte for its length.
func parseOID(der []byte) (OID, bool) {
	if len(der) < 3 || der[0] != ber.OID || int(der[1]) != len(der)-2 {
		return "", false
	}
	return OID(der[2:]), true
}
