// Package certtest makes X.509 certificates for tests, from usual ones to such as
// nobody makes, each again from its seed. They are what kernels and package
// kernelcert are asked about.
package certtest

import (
	"math/big"
	"strconv"
	"strings"
)

// TLV returns an element in DER, without looking at its content.
func TLV(tag byte, content ...[]byte) []byte {
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	return append(header(tag, len(all), 0), all...)
}

// header returns tag and length, with more bytes than the length needs.
func header(tag byte, length, more int) []byte {
	if length < 0x80 && more == 0 {
		return []byte{tag, byte(length)}
	}
	b := big.NewInt(int64(length)).Bytes()
	for range more {
		b = append([]byte{0}, b...)
	}
	return append([]byte{tag, 0x80 | byte(len(b))}, b...)
}

// Integer returns an INTEGER that is not negative.
func Integer(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) == 0 || b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return TLV(2, b)
}

// An OID is an object identifier, in numbers with dots.
type OID string

// TLV returns the element.
func (o OID) TLV() []byte {
	var content []byte
	var first uint64
	for i, word := range strings.Split(string(o), ".") {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			panic("certtest: " + err.Error())
		}
		switch i {
		case 0:
			first = 40 * n
			continue
		case 1:
			n += first
		}
		content = append(content, base128(n)...)
	}
	return TLV(6, content)
}

func base128(n uint64) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		b = append([]byte{byte(n&0x7f) | 0x80}, b...)
	}
	return b
}

// OIDs that appear in several places.
const (
	RSAEncryption    OID = "1.2.840.113549.1.1.1"
	commonName       OID = "2.5.4.3"
	country          OID = "2.5.4.6"
	organization     OID = "2.5.4.10"
	organizationUnit OID = "2.5.4.11"
	emailAddress     OID = "1.2.840.113549.1.9.1"
	subjectKeyID     OID = "2.5.29.14"
	keyUsage         OID = "2.5.29.15"
	subjectAltName   OID = "2.5.29.17"
	basicConstraints OID = "2.5.29.19"
	authorityKeyID   OID = "2.5.29.35"
	extKeyUsage      OID = "2.5.29.37"
	unknownOID       OID = "1.3.6.1.4.1.99999.7"
)
