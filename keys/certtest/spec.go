package certtest

import (
	"math/rand/v2"
	"slices"
)

// A Certificate is one that has been made.
type Certificate struct {
	// Name says what is odd about it.
	Name string
	DER  []byte
	Key  *Key // in it
	// Issuer is the certificate that it names as its issuer, nil if it may be its own
	// or nobody's.
	Issuer []byte
}

// A spec is a certificate to be made, in parts that are encoded already.
type spec struct {
	*maker
	oddities []string

	version                []byte
	serial                 []byte // content
	inner, outer           []byte // signature algorithms
	digest                 string // the kernel's name, of the signature
	issuer, subject        []byte
	validity               []byte
	key                    *Key
	keyInfo                []byte // nil: that of key
	unique                 []byte
	extensions             []extension
	wrap                   bool // extensions, also if there are none
	signer                 *Key
	signature              func([]byte) []byte // changes the BIT STRING's content
	encoded                func([]byte) []byte // changes the certificate
	authorityName          []byte              // for authority key identifiers: of the issuer
	authoritySerial        []byte
	authorityKeyIdentifier []byte
}

// An extension is one of a certificate, in parts.
type extension struct {
	id       OID
	critical []byte // with header; nil: none
	value    []byte
}

// A maker encodes, in DER or otherwise.
type maker struct {
	r *rand.Rand
	// lax is how often out of a hundred an element is not encoded in DER.
	lax int
}

func (m *maker) one(n int) bool { return m.r.IntN(n) == 0 }

func pick[T any](m *maker, from ...T) T { return from[m.r.IntN(len(from))] }

// tlv is TLV, with lengths of other forms now and then.
func (m *maker) tlv(tag byte, content ...[]byte) []byte {
	all := slices.Concat(content...)
	if m.r.IntN(100) >= m.lax {
		return TLV(tag, all)
	}
	const constructed = 0x20
	switch isConstructed := tag&constructed != 0; {
	case isConstructed && m.one(2):
		end := []byte{0, 0}
		if m.one(20) {
			end[m.r.IntN(2)] = 7
		}
		return slices.Concat([]byte{tag, 0x80}, all, end)
	case isConstructed && m.one(3): // marked as primitive
		return TLV(tag&^constructed, all)
	case m.one(8): // marked as constructed
		return TLV(tag^constructed, all)
	}
	return append(header(tag, len(all), m.r.IntN(3)), all...)
}

// isOdd notes what is odd.
func (s *spec) isOdd(what string) { s.oddities = append(s.oddities, what) }

// identifier is the subject key identifier of the key.
func (s *spec) identifier() []byte {
	for _, e := range s.extensions {
		if e.id == subjectKeyID && len(e.value) > 2 {
			return e.value[2:]
		}
	}
	return nil
}

func (s *spec) keyInfoOf(k *Key) []byte {
	return s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm), k.Parameters), s.tlv(3, []byte{0}, k.Bits))
}

func (m *maker) oid(id OID) []byte {
	full := id.TLV()
	return m.tlv(6, full[2:])
}

// encode makes the certificate.
func (s *spec) encode() []byte {
	keyInfo := s.keyInfo
	if keyInfo == nil {
		keyInfo = s.keyInfoOf(s.key)
	}
	var extensions []byte
	for _, e := range s.extensions {
		extensions = append(extensions, s.tlv(0x30, s.oid(e.id), e.critical, s.tlv(4, e.value))...)
	}
	if extensions != nil || s.wrap {
		extensions = s.tlv(0xa3, s.tlv(0x30, extensions))
	}
	tbs := s.tlv(0x30, s.version, s.tlv(2, s.serial), s.inner, s.issuer, s.validity, s.subject, keyInfo, s.unique, extensions)
	signed := tbs
	if tbs[1] == 0x80 && !s.one(5) { // as kernels take it, without its end mark
		signed = tbs[:len(tbs)-2]
	}
	signature := append([]byte{0}, s.signer.Sign(s.r, s.digest, signed)...)
	if s.signature != nil {
		signature = s.signature(signature)
	}
	der := s.tlv(0x30, tbs, s.outer, s.tlv(3, signature))
	if s.encoded != nil {
		der = s.encoded(der)
	}
	return der
}

// A signatureAlgorithm is what a signature may be called.
type signatureAlgorithm struct {
	id     OID
	digest string
}

var (
	rsaSignatures = []signatureAlgorithm{
		{"1.2.840.113549.1.1.5", "sha1"}, {"1.2.840.113549.1.1.11", "sha256"}, {"1.2.840.113549.1.1.12", "sha384"},
		{"1.2.840.113549.1.1.13", "sha512"}, {"1.2.840.113549.1.1.14", "sha224"}, {"2.16.840.1.101.3.4.3.14", "sha3-256"},
		{"2.16.840.1.101.3.4.3.15", "sha3-384"}, {"2.16.840.1.101.3.4.3.16", "sha3-512"},
	}
	ecSignatures = []signatureAlgorithm{
		{"1.2.840.10045.4.1", "sha1"}, {"1.2.840.10045.4.3.1", "sha224"}, {"1.2.840.10045.4.3.2", "sha256"},
		{"1.2.840.10045.4.3.3", "sha384"}, {"1.2.840.10045.4.3.4", "sha512"}, {"2.16.840.1.101.3.4.3.10", "sha3-256"},
		{"2.16.840.1.101.3.4.3.11", "sha3-384"}, {"2.16.840.1.101.3.4.3.12", "sha3-512"},
	}
	otherSignatures = []signatureAlgorithm{
		{"1.2.840.113549.1.1.2", "sha256"}, {"1.2.840.113549.1.1.3", "sha256"}, {"1.2.840.113549.1.1.4", "md4"},
		{"1.2.840.113549.1.1.10", "sha256"}, {"2.16.840.1.101.3.4.3.13", "sha256"}, {"1.2.840.10040.4.3", "sha1"},
		{"1.2.840.113549.1.1.1", "sha256"}, {"1.2.840.10045.2.1", "sha256"},
		{"1.3.101.112", ""}, {"1.2.643.7.1.1.3.2", ""}, {"1.2.643.7.1.1.3.3", ""}, {"1.2.643.2.2.3", ""},
		{"1.2.156.10197.1.501", ""}, {"1.2.156.10197.1.504", ""},
		{"2.16.840.1.101.3.4.3.17", ""}, {"2.16.840.1.101.3.4.3.18", ""}, {"2.16.840.1.101.3.4.3.19", ""}, {unknownOID, ""},
	}
)

// usual makes a spec that every kernel with the key's algorithm loads: for a key
// that signs labels, self-signed.
func usual(m *maker, k *Key) *spec {
	s := &spec{maker: m, key: k, signer: k}
	s.version = s.tlv(0xa0, s.tlv(2, []byte{2}))
	s.serial = append([]byte{byte(1 + m.r.IntN(0x7f))}, randomBytes(m.r, 7+m.r.IntN(12))...)
	s.sign(s.algorithmFor(k))
	s.subject = s.name(attribute{organization, 0x0c, "Certtest"}, attribute{commonName, 0x0c, "a key"})
	s.issuer = s.subject
	s.validity = s.tlv(0x30, s.tlv(0x17, []byte("200101000000Z")), s.tlv(0x18, []byte("20501231235959Z")))
	s.extensions = []extension{
		{basicConstraints, []byte{1, 1, 0xff}, []byte{0x30, 0}},
		{keyUsage, []byte{1, 1, 0xff}, []byte{3, 2, 7, 0x80}},
		{subjectKeyID, nil, TLV(4, randomBytes(m.r, 20))},
	}
	return s
}

// algorithmFor picks one that suits a key, if there is any.
func (s *spec) algorithmFor(k *Key) signatureAlgorithm {
	switch {
	case k.IsRSA():
		return pick(s.maker, rsaSignatures...)
	case k.CanSign():
		return pick(s.maker, ecSignatures...)
	}
	return pick(s.maker, otherSignatures...)
}

func (s *spec) sign(a signatureAlgorithm) {
	parameters := [][]byte{nil, {5, 0}}[s.r.IntN(2)]
	s.inner = s.tlv(0x30, s.oid(a.id), parameters)
	s.outer = s.tlv(0x30, s.oid(a.id), parameters)
	s.digest = a.digest
}

// An attribute is one of a name.
type attribute struct {
	id    OID
	tag   byte
	value string
}

// name makes a Name, one attribute a set.
func (m *maker) name(attributes ...attribute) []byte {
	var all []byte
	for _, a := range attributes {
		all = append(all, m.tlv(0x31, m.tlv(0x30, m.oid(a.id), m.tlv(a.tag, []byte(a.value))))...)
	}
	return m.tlv(0x30, all)
}
