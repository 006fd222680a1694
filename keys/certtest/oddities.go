package certtest

import (
	"crypto/elliptic"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"

	"imaseal/keys/ber"
)

// Make makes certificate number n of a seed. Some are usual, most have a few
// oddities.
func Make(seed, n uint64) Certificate {
	m := &maker{r: rand.New(rand.NewPCG(seed, n))}
	if m.one(6) {
		m.lax = pick(m, 1, 3, 10)
	}
	keys := Keys()
	k := pick(m, keys[:UsualKeys]...)
	if m.one(4) {
		k = pick(m, keys...)
	}
	s := usual(m, k)
	if m.lax > 0 {
		s.isOdd("lax encoding")
	}
	s.authorityName, s.authoritySerial = content(s.issuer), s.serial
	s.authorityKeyIdentifier = s.identifier()
	c := Certificate{}
	if m.one(3) {
		c.Issuer = s.issuedBy()
	}
	for range pick(m, 0, 1, 1, 1, 2, 2, 3) {
		o := m.oddity()
		s.isOdd(o.name)
		o.apply(s)
	}
	c.DER = s.encode()
	c.Key = s.key
	c.Name = fmt.Sprintf("%s key, signed by %s: %s", s.key.Name, s.signer.Name, strings.Join(s.oddities, ", "))
	return c
}

// content returns that of an element in DER, or nothing.
func content(der []byte) []byte {
	if len(der) < 2 {
		return nil
	}
	skip := 2
	if der[1] > 0x80 {
		skip += int(der[1] & 0x7f)
	}
	return der[min(skip, len(der)):]
}

// issuedBy gives the certificate another issuer, which it returns.
func (s *spec) issuedBy() []byte {
	issuer := usual(&maker{r: s.r}, pick(s.maker, Keys()[:UsualKeys]...))
	issuer.subject = s.name(attribute{organization, 0x0c, "Certtest"}, attribute{commonName, 0x0c, "an issuer"})
	issuer.issuer = issuer.subject
	issuer.extensions = []extension{{subjectKeyID, nil, TLV(4, randomBytes(s.r, 20))}}
	if s.one(5) {
		issuer.extensions = nil
	}
	s.issuer, s.signer = issuer.subject, issuer.key
	s.sign(s.algorithmFor(s.signer))
	s.authorityName, s.authoritySerial = content(s.issuer), issuer.serial
	if s.authorityKeyIdentifier = issuer.identifier(); s.authorityKeyIdentifier == nil {
		s.authorityKeyIdentifier = randomBytes(s.r, 20)
	}
	s.isOdd("issued")
	return issuer.encode()
}

// An oddity changes a spec.
type oddity struct {
	name   string
	weight int
	apply  func(*spec)
}

// oddity picks one.
func (m *maker) oddity() oddity {
	total := 0
	for _, o := range oddities {
		total += o.weight
	}
	n := m.r.IntN(total)
	for _, o := range oddities {
		if n -= o.weight; n < 0 {
			return o
		}
	}
	panic("certtest: no oddity")
}

var oddities = []oddity{
	{"version", 1, func(s *spec) { s.version = s.oddVersion() }},
	{"serial", 2, func(s *spec) { s.serial = s.oddSerial() }},
	{"signature algorithm", 1, func(s *spec) { s.sign(pick(s.maker, otherSignatures...)) }},
	{"signature algorithm of another kind", 1, func(s *spec) { s.sign(pick(s.maker, append(slices.Clone(rsaSignatures), ecSignatures...)...)) }},
	{"signature parameters", 1, (*spec).oddParameters},
	{"other outer algorithm", 1, func(s *spec) { s.outer = s.tlv(0x30, s.oid(s.algorithmFor(s.signer).id)) }},
	{"issuer", 1, func(s *spec) { s.issuer = s.oddName() }},
	{"subject", 1, func(s *spec) { s.subject = s.oddName() }},
	{"name", 3, func(s *spec) { s.subject = s.oddName(); s.issuer = s.subject }},
	{"validity", 5, func(s *spec) { s.validity = s.oddValidity() }},
	{"key", 1, func(s *spec) { s.key = pick(s.maker, Keys()...) }},
	{"key encoding", 4, (*spec).oddKey},
	{"key info", 1, (*spec).oddKeyInfo},
	{"unique ids", 1, func(s *spec) { s.unique = s.oddUnique() }},
	{"extensions", 2, (*spec).oddExtensions},
	{"critical", 1, (*spec).oddCritical},
	{"subject key identifier", 2, func(s *spec) { s.set(subjectKeyID, s.oddSubjectKeyID()) }},
	{"key usage", 2, func(s *spec) { s.set(keyUsage, s.oddKeyUsage()) }},
	{"basic constraints", 2, func(s *spec) { s.set(basicConstraints, s.oddBasicConstraints()) }},
	{"authority key identifier", 6, (*spec).oddAuthority},
	{"signature", 3, (*spec).oddSignature},
	{"damage", 1, (*spec).damage},
	{"cut short", 1, func(s *spec) { s.encoded = func(b []byte) []byte { return b[:s.r.IntN(len(b))] } }},
	{"trailing bytes", 1, func(s *spec) {
		s.encoded = func(b []byte) []byte { return append(b, randomBytes(s.r, 1+s.r.IntN(40))...) }
	}},
	{"great", 1, func(s *spec) {
		s.extensions = append(s.extensions, extension{unknownOID, nil, randomBytes(s.r, pick(s.maker, 100, 5000, 30000, 60000, 65000, 66000))})
	}},
}

func (s *spec) oddVersion() []byte {
	return pick(s.maker, nil, TLV(0xa0, TLV(2, []byte{0})), TLV(0xa0, TLV(2, []byte{1})), TLV(0xa0, TLV(2, []byte{2})), TLV(0xa0, TLV(2, []byte{3})),
		TLV(0xa0, TLV(2)), TLV(0xa0, TLV(2, []byte{0xff})), TLV(0xa0, TLV(2, randomBytes(s.r, 9))), TLV(0x80, TLV(2, []byte{2})), TLV(0x80, []byte{2}),
		TLV(0xa0), TLV(0xa0, TLV(4, []byte{2})), TLV(0xa0, TLV(2, []byte{2}), TLV(2, []byte{2})))
}

func (s *spec) oddSerial() []byte {
	return pick(s.maker, nil, []byte{0}, []byte{0xff}, []byte{0x80, 1}, []byte{0, 0, 1}, randomBytes(s.r, 1), randomBytes(s.r, 20), randomBytes(s.r, 21),
		randomBytes(s.r, 200), append([]byte{0xff}, randomBytes(s.r, 19)...))
}

func (s *spec) oddParameters() {
	id := s.algorithmFor(s.signer)
	s.digest = id.digest
	odd := func() []byte {
		return pick(s.maker, nil, []byte{5, 0}, []byte{5, 1, 0}, TLV(0x30, TLV(2, []byte{1})), []byte{0, 0}, []byte{0x1f, 1, 0}, []byte{5}, append([]byte{5, 0}, 5, 0),
			s.indefinite(), s.indefinite(), s.indefinite())
	}
	s.inner = s.tlv(0x30, s.oid(id.id), odd())
	s.outer = s.tlv(0x30, s.oid(id.id), odd())
}

// indefinite makes an element of indefinite length, which may be malformed inside.
func (m *maker) indefinite() []byte {
	var all []byte
	for range 1 + m.r.IntN(3) {
		all = append(all, pick(m, []byte{5, 0}, []byte{4, 1, 7}, []byte{4, 0x81, 1, 7}, []byte{4, 0x82, 0, 1, 7}, []byte{4, 0x87, 0, 0, 0, 0, 0, 0, 1, 7}, []byte{0x1f, 0x81, 1, 1, 7}, []byte{0x3f, 7, 0},
			[]byte{0x24, 0x80, 4, 1, 7, 0, 0}, []byte{0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0},
			// and malformed
			[]byte{4, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 7}, []byte{4, 0x80, 0, 0}, []byte{4, 0x87, 1, 0, 0, 0, 0, 0, 1, 7}, []byte{4, 0x82, 0xff, 0xff}, []byte{0, 1}, []byte{0x1f, 0xff}, []byte{0x24, 0x80})...)
	}
	return slices.Concat([]byte{pick[byte](m, 0x30, 0x24, 0xa0), 0x80}, all, pick(m, []byte{0, 0}, []byte{0, 0}, []byte{0, 0}, []byte{0}, nil))
}

func (s *spec) oddName() []byte {
	word := func(n int) string { return strings.Repeat("certtest ", n/9+1)[:n] }
	cn := func(v string) attribute { return attribute{commonName, 0x0c, v} }
	o := func(v string) attribute { return attribute{organization, 0x0c, v} }
	long := word(pick(s.maker, 64, 65, 127, 128, 200, 255, 256, 257, 300, 1000))
	return pick(s.maker,
		s.name(),
		s.name(attribute{country, 0x13, "DE"}),
		s.name(attribute{organizationUnit, 0x0c, "unit"}, attribute{unknownOID, 0x0c, "unknown"}),
		s.name(attribute{emailAddress, 0x16, "a@example.org"}),
		s.name(attribute{emailAddress, 0x16, "a@example.org"}, o("Certtest")),
		s.name(cn("alone")), s.name(o("alone")), s.name(cn("")), s.name(o(""), cn("x")), s.name(cn(""), attribute{emailAddress, 0x16, "b"}),
		s.name(cn(long)), s.name(o(long)), s.name(o(long), cn(long)), s.name(o("Certtest"), cn(long)), s.name(attribute{emailAddress, 0x16, long}),
		s.name(o("Certtest"), cn("Certtest key")), s.name(o("Certtest GmbH"), cn("Certtest key")), s.name(o("Certes 1"), cn("Certes 2")), s.name(o("Certes-1"), cn("Certes+2")), s.name(o("Certes 1 GmbH"), cn("Certes 2")), s.name(o("Cert"), cn("Certificate")),
		s.name(cn("first"), cn("second")), s.name(cn("key"), o("first"), o("second")), s.name(o("a\x00b"), cn("c")), s.name(cn("\x00")), s.name(cn("\xff\xfe")),
		s.name(attribute{commonName, pick(s.maker, byte(0x13), 0x14, 0x16, 0x1e, 0x1c, 0x1b, 4, 2, 5, 0), word(8)}),
		s.name(attribute{commonName, pick(s.maker, byte(0x30), 0x24, 0xa0, 0x1f, 0x3f), word(8)}),
		s.tlv(0x30, s.tlv(0x31)), s.tlv(0x30, s.tlv(0x30, s.tlv(0x30, s.oid(commonName), TLV(0x0c, []byte("x"))))),
		s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, s.oid(commonName), TLV(0x0c, []byte("x"))), s.tlv(0x30, s.oid(organization), TLV(0x0c, []byte("y"))))),
		s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, s.oid(commonName)))), s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, s.oid(commonName), TLV(0x0c), TLV(0x0c)))),
		s.tlv(0x31, s.tlv(0x31, s.tlv(0x30, s.oid(commonName), TLV(0x0c, []byte("x"))))),
		s.tlv(0x10, s.tlv(0x11, s.tlv(0x10, s.oid(commonName), TLV(0x0c, []byte("x"))))),
		s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, TLV(6), TLV(0x0c, []byte("x"))))),
		s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, s.oid(commonName), s.indefinite()))), s.tlv(0x30, s.tlv(0x31, s.tlv(0x30, s.oid(organization), s.indefinite()))),
	)
}

func (s *spec) oddTime() []byte {
	utc := func(v string) []byte { return s.tlv(0x17, []byte(v)) }
	general := func(v string) []byte { return s.tlv(0x18, []byte(v)) }
	return pick(s.maker,
		utc("491231235959Z"), utc("500101000000Z"), utc("690101000000Z"), utc("700101000000Z"), utc("991231235960Z"), utc("000229240000Z"), utc("010229000000Z"),
		utc("200230000000Z"), utc("200431000000Z"), utc("201301000000Z"), utc("200001000000Z"), utc("200100000000Z"), utc("200101250000Z"), utc("200101006000Z"),
		utc("200101000061Z"), utc("200101245960Z"), utc("2001010000Z"), utc("200101000000"), utc("200101000000+0000"), utc("20010100000aZ"), utc("200101000000z"),
		utc("20200101000000Z"), utc(""), utc("Z"), utc("2001010000.0Z"), utc("20010100000/Z"), utc("20010100000:Z"),
		general("20491231235959Z"), general("20500101000000Z"), general("19491231235959Z"), general("19691231235959Z"), general("99991231235959Z"),
		general("00000101000000Z"), general("20500229000000Z"), general("20520229000000Z"), general("21000229000000Z"), general("24000229240000Z"),
		general("2050010100Z"), general("20500101000000.5Z"), general("20500101000000+0100"), general("500101000000Z"), general("20501301000000Z"),
		s.tlv(0x16, []byte("200101000000Z")), s.tlv(0x37, []byte("200101000000Z")), TLV(0x17, []byte("200101000000Z"), []byte("x")))
}

func (s *spec) oddValidity() []byte {
	fine := s.tlv(0x17, []byte("200101000000Z"))
	return pick(s.maker,
		s.tlv(0x30, s.oddTime(), fine), s.tlv(0x30, fine, s.oddTime()), s.tlv(0x30, s.oddTime(), s.oddTime()), s.tlv(0x30, s.oddTime(), s.oddTime()),
		s.tlv(0x30, fine), s.tlv(0x30, s.oddTime()), s.tlv(0x30), s.tlv(0x30, fine, fine, fine), s.tlv(0x31, fine, fine), s.tlv(0x10, fine, fine),
		s.tlv(0x30, fine, []byte{0}), slices.Concat([]byte{0x30, 0x80}, fine, []byte{0, 0}))
}

// oddKey encodes the bits of the key in other ways.
func (s *spec) oddKey() {
	k := *s.key
	switch {
	case k.IsRSA():
		k.Bits = s.oddRSA(k.usual)
	case k.CanSign():
		k.Bits = s.oddPoint(k.usual)
	default:
		k.Bits = randomBytes(s.r, s.r.IntN(100))
	}
	if s.signer == s.key {
		s.signer = &k
	}
	s.key = &k
}

func (s *spec) oddRSA(bits []byte) []byte {
	n, e, _ := numbers(bits)
	unsigned := func(x *big.Int) []byte { return s.tlv(2, x.Bytes()) }
	padded := func(x *big.Int) []byte { return s.tlv(2, make([]byte, 1+s.r.IntN(9)), x.Bytes()) }
	return pick(s.maker,
		TLV(0x30, unsigned(n), unsigned(e)), TLV(0x30, padded(n), unsigned(e)), TLV(0x30, unsigned(n), padded(e)), TLV(0x10, unsigned(n), unsigned(e)),
		TLV(0x30, unsigned(n), TLV(2)), TLV(0x30, TLV(2), unsigned(e)), TLV(0x30, unsigned(n), TLV(2, []byte{0})), TLV(0x30, TLV(2, make([]byte, 256)), unsigned(e)),
		TLV(0x30, unsigned(n), TLV(2, make([]byte, 300), []byte{1, 0, 1})), TLV(0x30, unsigned(n), unsigned(n)), TLV(0x30, unsigned(n), TLV(2, []byte{2})),
		TLV(0x30, unsigned(n)), TLV(0x30, unsigned(n), unsigned(e), unsigned(e)), append(bits[:len(bits):len(bits)], 1, 2, 3), bits[:len(bits)-1], nil,
		TLV(0x30, unsigned(new(big.Int).Lsh(n, 64)), unsigned(e)), TLV(0x30, unsigned(new(big.Int).Lsh(n, 20000)), unsigned(e)),
		slices.Concat([]byte{0x30, 0x80}, unsigned(n), unsigned(e), []byte{0, 0}), TLV(0x30, TLV(2, []byte{5}), TLV(2, []byte{3})))
}

// numbers returns those of a SEQUENCE of two INTEGERs, in DER.
func numbers(der []byte) (a, b *big.Int, ok bool) {
	r := ber.NewReader(der)
	if _, err := r.Open(ber.Sequence); err != nil {
		return nil, nil, false
	}
	first, err1 := r.Leaf(ber.Integer)
	second, err2 := r.Leaf(ber.Integer)
	return new(big.Int).SetBytes(first.Value), new(big.Int).SetBytes(second.Value), err1 == nil && err2 == nil
}

func (s *spec) oddPoint(bits []byte) []byte {
	half := len(bits) / 2
	x, y := bits[1:1+half], bits[1+half:]
	wide := func(b []byte) []byte { return append(make([]byte, s.r.IntN(9)), b...) }
	same := s.r.IntN(9)
	beyond := func(b []byte) []byte { // the same modulo the prime of P-521, which leaves room in its digits
		p := elliptic.P521().Params().P
		return new(big.Int).Add(new(big.Int).SetBytes(b), p).FillBytes(make([]byte, 72))
	}
	return pick(s.maker,
		slices.Concat([]byte{2 + y[half-1]&1}, x), slices.Concat([]byte{6 + y[half-1]&1}, x, y), slices.Concat([]byte{4}, x), slices.Concat([]byte{4}, x, y, []byte{0}),
		slices.Concat([]byte{4}, x, y, []byte{0, 0}), slices.Concat([]byte{4}, y, x), slices.Concat([]byte{4}, wide(x), wide(y)),
		slices.Concat([]byte{4}, make([]byte, same), x, make([]byte, same), y), slices.Concat([]byte{4}, make([]byte, 2*half)),
		slices.Concat([]byte{4}, x, make([]byte, half)), slices.Concat([]byte{5}, x, y), []byte{0}, []byte{4}, nil, slices.Concat([]byte{4}, randomBytes(s.r, 2*half)), slices.Concat([]byte{4}, beyond(x), make([]byte, max(0, 72-half)), y))
}

// oddKeyInfo encodes what is around the bits of the key in other ways.
func (s *spec) oddKeyInfo() {
	k := s.key
	algorithm := s.tlv(0x30, s.oid(k.Algorithm), k.Parameters)
	s.keyInfo = pick(s.maker,
		s.tlv(0x30, algorithm, s.tlv(3, []byte{1}, k.Bits)), s.tlv(0x30, algorithm, s.tlv(3, []byte{7}, k.Bits)), s.tlv(0x30, algorithm, s.tlv(3)),
		s.tlv(0x30, algorithm, s.tlv(3, []byte{0})), s.tlv(0x30, algorithm, s.tlv(4, []byte{0}, k.Bits)), s.tlv(0x30, algorithm, TLV(0x23, TLV(3, []byte{0}, k.Bits))),
		s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm)), s.tlv(3, []byte{0}, k.Bits)), s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm), TLV(5)), s.tlv(3, []byte{0}, k.Bits)),
		s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm), TLV(4, []byte{1})), s.tlv(3, []byte{0}, k.Bits)), s.tlv(0x30, algorithm), s.tlv(0x30, algorithm, s.tlv(3, []byte{0}, k.Bits), TLV(5)),
		s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm), k.Parameters, k.Parameters), s.tlv(3, []byte{0}, k.Bits)),
		s.tlv(0x30, s.tlv(0x30, TLV(6, []byte{0x2a, 0x80, 1})), s.tlv(3, []byte{0}, k.Bits)),
		s.tlv(0x30, s.tlv(0x30, s.oid(k.Algorithm), slices.Concat([]byte{6, 0x81, 8}, OID("1.2.840.10045.3.1.7").TLV()[2:])), s.tlv(3, []byte{0}, k.Bits)))
}

func (s *spec) oddUnique() []byte {
	one, two := TLV(0x81, []byte{0, 1}), TLV(0x82, []byte{0, 2})
	return pick(s.maker, one, two, slices.Concat(one, two), slices.Concat(two, one), TLV(0x81), TLV(0xa1, TLV(3, []byte{0, 1})), TLV(0x84, []byte{0}), []byte{0x81}, slices.Concat(one, one))
}
