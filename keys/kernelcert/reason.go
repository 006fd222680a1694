package kernelcert

import (
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"

	"imaseal/keys/ber"
)

// A Code says why a kernel does not load a certificate. Codes are stable.
type Code string

// The codes.
const (
	NoParser           Code = "no-x509-parser"           // the kernel has none
	Empty              Code = "empty"                    // no bytes at all
	TooLong            Code = "too-long"                 // more than ber.MaxSize bytes
	Malformed          Code = "malformed"                // the structure is not that of a certificate
	SignatureAlgorithm Code = "signature-algorithm"      // unknown to the kernel
	SignatureDiffers   Code = "signature-differs"        // two signature algorithms are named
	SignatureBits      Code = "signature-bits"           // not whole bytes
	Time               Code = "time"                     // notBefore or notAfter
	KeyAlgorithm       Code = "key-algorithm"            // unknown to the kernel
	KeyParameters      Code = "key-parameters"           // not the name of a curve
	KeyBits            Code = "key-bits"                 // not whole bytes
	SubjectKeyID       Code = "subject-key-identifier"   // malformed, or two
	KeyUsage           Code = "key-usage"                // malformed
	BasicConstraints   Code = "basic-constraints"        // malformed, or CA:FALSE written out
	AuthorityKeyID     Code = "authority-key-identifier" // malformed
	IDsContradict      Code = "identifiers-contradict"   // one says self-signed, the other does not
	NoAlgorithm        Code = "no-algorithm"             // the kernel lacks what checks the signature of a self-signed certificate
	Key                Code = "key"                      // the kernel cannot verify a self-signed certificate with it
	SelfSignature      Code = "self-signature"           // does not verify
	Uncomputed         Code = "uncomputed"               // a self-signature that is not checked here

	// Those of restricted keyrings.
	NoDigitalSignature Code = "no-digital-signature" // the key usage lacks it
	IsCA               Code = "ca"                   // basic constraints
	SignsCertificates  Code = "signs-certificates"   // the key usage has keyCertSign
	UnknownIssuer      Code = "unknown-issuer"       // not among the trusted ones
	IssuerSignature    Code = "issuer-signature"     // does not verify with the issuer's key
	UncheckedSignature Code = "unchecked-signature"  // the kernel lacks the digest of the signature
)

// A Reason is why a kernel does not load a certificate. It is an error.
type Reason struct {
	Code Code
	// Errno is what add_key(2) fails with.
	Errno syscall.Errno
	// Detail says it of the certificate, as in "its subject is empty".
	Detail string

	dependsOnPatch bool // kernels of the same version differ
}

func (r *Reason) Error() string { return r.Detail }

func refuse(c Code, errno syscall.Errno, format string, args ...any) *Reason {
	return &Reason{Code: c, Errno: errno, Detail: fmt.Sprintf(format, args...)}
}

func malformed(err error) *Reason {
	var syntax *ber.SyntaxError
	if !errors.As(err, &syntax) {
		return refuse(Malformed, syscall.EBADMSG, "%v", err)
	}
	return refuse(Malformed, syscall.EBADMSG, "it is no certificate as kernels parse them: %v", syntax)
}

// sizeReason is what comes before decoding. Kernel: asymmetric_key_preparse(),
// asn1_ber_decoder().
func sizeReason(der []byte) *Reason {
	switch {
	case len(der) == 0:
		return refuse(Empty, syscall.EINVAL, "it is empty")
	case len(der) > ber.MaxSize:
		return refuse(TooLong, syscall.EMSGSIZE, "it is longer than %d bytes", ber.MaxSize)
	}
	return nil
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }
