package rsalanes

import "crypto"

// nist has the last byte of the object identifiers 2.16.840.1.101.3.4.2.n
// (csor.nist.gov, nistAlgorithms hashAlgs).
var nist = map[crypto.Hash]byte{
	crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3, crypto.SHA224: 4, crypto.SHA512_224: 5, crypto.SHA512_256: 6,
	crypto.SHA3_224: 7, crypto.SHA3_256: 8, crypto.SHA3_384: 9, crypto.SHA3_512: 10,
}

// encode returns the message that a signature of PKCS#1 v1.5 is made of (RFC
// 8017, section 9.2), of so many bytes, and false for what is left to
// crypto/rsa: other hashes, and mistakes. With no hash, the digest comes with
// all that stands before it.
func encode(h crypto.Hash, digest []byte, size int) ([]byte, bool) {
	var prefix []byte
	switch n, ok := nist[h]; {
	case ok:
		prefix = []byte{0x30, byte(17 + h.Size()), 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, n,
			0x05, 0x00, 0x04, byte(h.Size())}
	case h == crypto.SHA1:
		prefix = []byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}
	case h != 0:
		return nil, false
	}
	if h != 0 && len(digest) != h.Size() {
		return nil, false
	}
	padding := size - 3 - len(prefix) - len(digest)
	if padding < 8 {
		return nil, false
	}
	m := make([]byte, 2, size)
	m[1] = 1
	for range padding {
		m = append(m, 0xff)
	}
	m = append(m, 0)
	m = append(m, prefix...)
	return append(m, digest...), true
}
