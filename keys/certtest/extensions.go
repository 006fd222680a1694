package certtest

import (
	"bytes"
	"slices"
)

// set replaces an extension, or adds one.
func (s *spec) set(id OID, value []byte) {
	for i := range s.extensions {
		if s.extensions[i].id == id {
			s.extensions[i].value = value
			return
		}
	}
	s.extensions = append(s.extensions, extension{id: id, value: value})
}

// oddExtensions adds, removes, doubles and shuffles.
func (s *spec) oddExtensions() {
	switch s.r.IntN(8) {
	case 0:
		s.extensions = nil
	case 1:
		s.extensions, s.wrap = nil, true
	case 2:
		if len(s.extensions) > 0 {
			i := s.r.IntN(len(s.extensions))
			s.extensions = slices.Delete(s.extensions, i, i+1)
		}
	case 3:
		if len(s.extensions) > 0 {
			s.extensions = append(s.extensions, s.extensions[s.r.IntN(len(s.extensions))])
		}
	case 4:
		s.r.Shuffle(len(s.extensions), func(i, j int) { s.extensions[i], s.extensions[j] = s.extensions[j], s.extensions[i] })
	case 5:
		usages := TLV(0x30, OID("1.3.6.1.5.5.7.3.3").TLV())
		s.extensions = append(s.extensions, extension{extKeyUsage, pick(s.maker, nil, []byte{1, 1, 0xff}), pick(s.maker, usages, nil, []byte{0x30, 0})})
	case 6:
		s.extensions = append(s.extensions, extension{subjectAltName, nil, TLV(0x30, TLV(0x82, []byte("example.org")))})
	default:
		s.extensions = append(s.extensions, extension{unknownOID, pick(s.maker, nil, []byte{1, 1, 0xff}), randomBytes(s.r, s.r.IntN(20))})
	}
}

func (s *spec) oddCritical() {
	for i := range s.extensions {
		s.extensions[i].critical = pick(s.maker, nil, []byte{1, 1, 0xff}, []byte{1, 1, 0}, []byte{1, 1, 1}, []byte{1, 0}, []byte{1, 2, 0, 0}, []byte{1, 1, 0xff, 1, 1, 0xff}, []byte{2, 1, 0xff})
		if s.one(2) {
			break
		}
	}
}

func (s *spec) oddSubjectKeyID() []byte {
	id := randomBytes(s.r, 20)
	return pick(s.maker, nil, []byte{4}, []byte{4, 0}, TLV(4, id[:1]), TLV(4, id[:3]), TLV(4, id[:4]), TLV(4, id, id), TLV(4, bytes.Repeat(id, 6)),
		TLV(4, bytes.Repeat(id, 7)), append([]byte{4, 0x81, 0x80}, randomBytes(s.r, 0x80)...), append([]byte{4, 200}, randomBytes(s.r, 200)...), append([]byte{4, 255}, randomBytes(s.r, 255)...),
		append([]byte{4, 0}, randomBytes(s.r, 256)...), id, TLV(3, id), TLV(0x30, TLV(4, id)), append(TLV(4, id), 0), TLV(4, id)[:21], append([]byte{4, 0x81, 20}, id...),
		slices.Concat([]byte{0x24, 0x80}, TLV(4, id), []byte{0, 0}))
}

func (s *spec) oddKeyUsage() []byte {
	return pick(s.maker, nil, []byte{3, 2, 7, 0x80}, []byte{3, 2, 2, 0x04}, []byte{3, 2, 2, 0x84}, []byte{3, 2, 3, 0x84}, []byte{3, 2, 1, 0x06}, []byte{3, 2, 0, 0}, []byte{3, 1, 0},
		[]byte{3, 2, 8, 0x80}, []byte{3, 2, 0xff, 0x80}, []byte{3, 3, 7, 0x84, 0x80}, []byte{3, 3, 7, 0x84}, []byte{3, 3, 0, 0xff, 0xff}, []byte{3, 2, 7}, []byte{3, 4, 0, 1, 2, 3},
		[]byte{4, 2, 7, 0x80}, []byte{0x23, 4, 3, 2, 7, 0x80}, []byte{3, 0x81, 2, 7, 0x80}, []byte{3, 2, 7, 0x80, 0, 0}, []byte{3, 0, 0, 0}, randomBytes(s.r, 4))
}

func (s *spec) oddBasicConstraints() []byte {
	return pick(s.maker, nil, []byte{0x30}, []byte{0x30, 0}, []byte{0x30, 3, 1, 1, 0xff}, []byte{0x30, 3, 1, 1, 0}, []byte{0x30, 3, 1, 1, 1}, []byte{0x30, 6, 1, 1, 0xff, 2, 1, 0},
		[]byte{0x30, 6, 1, 1, 0, 2, 1, 0}, []byte{0x30, 3, 2, 1, 0}, []byte{0x30, 0x81, 3, 1, 1, 0xff}, []byte{0x30, 0x80, 1, 1, 0xff, 0, 0}, []byte{0x10, 3, 1, 1, 0xff}, []byte{0x30, 3, 1, 1},
		[]byte{0x30, 4, 1, 1, 0xff}, []byte{0x30, 3, 1, 1, 0xff, 0}, []byte{0x30, 2, 1, 0}, []byte{0x30, 0, 0}, []byte{0x31, 0}, []byte{0x30, 5, 1, 1, 0xff, 9, 9}, []byte{0x30, 5, 1, 2, 0xff, 0xff, 9})
}

// oddAuthority adds an authority key identifier, which may fit or not.
func (s *spec) oddAuthority() {
	keyID := pick(s.maker, s.authorityKeyIdentifier, s.authorityKeyIdentifier, s.authorityKeyIdentifier, s.identifier(), randomBytes(s.r, 20), []byte{})
	serial := pick(s.maker, s.authoritySerial, s.authoritySerial, s.authoritySerial, s.serial, []byte{1})
	name := pick(s.maker, s.authorityName, s.authorityName, s.authorityName, content(s.subject), TLV(0x31, TLV(0x30, commonName.TLV(), TLV(0x0c, []byte("x")))), nil)
	directory := s.tlv(0xa4, s.tlv(0x30, name))
	key, number := s.tlv(0x80, keyID), s.tlv(0x82, serial)
	issuers := func(names ...[]byte) []byte { return s.tlv(0xa1, names...) }
	plain := s.tlv(pick[byte](s.maker, 0x81, 0x82, 0x86, 0x87, 0x88), []byte("example.org"))
	explicit := pick(s.maker, TLV(0xa1, TLV(0x16, []byte("x"))), TLV(0xa2, TLV(0x16, []byte("x"))), TLV(0xa6, TLV(0x16, []byte("x"))), TLV(0xa7, TLV(4, []byte("x"))), TLV(0xa8, TLV(6, []byte("x"))))
	other := pick(s.maker, TLV(0xa0, unknownOID.TLV(), TLV(0xa0, TLV(5))), TLV(0xa0, TLV(0x30, unknownOID.TLV(), TLV(0xa0, TLV(5)))), TLV(0xa0, TLV(5)), TLV(0x80, []byte("x")))
	edi := pick(s.maker, TLV(0xa5, TLV(0xa1, TLV(0x0c, []byte("x")))), TLV(0xa5, TLV(0xa0, TLV(0x0c, []byte("x"))), TLV(0xa1, TLV(0x0c, []byte("y")))), TLV(0xa5, TLV(5)), TLV(0xa5, TLV(0xa0, TLV(5))), TLV(0xa5))
	x400 := pick(s.maker, TLV(0xa3, TLV(0x30)), TLV(0xa3), TLV(0x83, []byte("x")), TLV(0xa3, TLV(5), TLV(5)), TLV(0xa3, s.indefinite()))
	whole := func(parts ...[]byte) []byte { return s.tlv(0x30, parts...) }
	value := pick(s.maker,
		whole(key), whole(key), whole(key), whole(issuers(directory), number), whole(issuers(directory), number), whole(key, issuers(directory), number), whole(key, issuers(directory), number),
		whole(key, issuers(directory), number), whole(key, issuers(directory), number), whole(key, issuers(directory), number), whole(key, issuers(directory), number),
		whole(), whole(number), whole(key, number), whole(issuers(directory)), whole(issuers(), number), whole(issuers()), whole(key, issuers(), number),
		whole(issuers(plain), number), whole(issuers(plain, directory), number), whole(issuers(directory, plain), number), whole(issuers(explicit, directory), number),
		whole(issuers(other, directory), number), whole(issuers(edi, directory), number), whole(issuers(edi, other), number), whole(issuers(x400, directory), number), whole(issuers(directory, directory), number),
		whole(issuers(TLV(0xa9, []byte("x"))), number), whole(issuers(TLV(0x84, s.tlv(0x30, name))), number), whole(number, key), whole(key, key), whole(TLV(0xa0, TLV(4, keyID))),
		append(whole(key), 1, 2), whole(key)[:2], nil, keyID, TLV(4, keyID), TLV(0x10, key), slices.Concat([]byte{0x30, 0x80}, key, []byte{0, 0}),
		whole(slices.Concat([]byte{0xa1, 0x80}, directory, []byte{0, 0}), number), whole([]byte{0xa1, 0x80, 0, 0}, number), whole(key, TLV(0x83, []byte{1})), whole(issuers(s.tlv(0xa4, s.tlv(0x30)), directory), number))
	if s.one(8) {
		s.extensions = append(s.extensions, extension{authorityKeyID, nil, value})
		return
	}
	s.set(authorityKeyID, value)
}

// oddSignature changes the signature.
func (s *spec) oddSignature() {
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		if len(b) > 1 {
			b[1+s.r.IntN(len(b)-1)] ^= byte(1 + s.r.IntN(255))
		}
		return b
	}
	s.signature = pick(s.maker,
		flip, flip, flip,
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:1] },
		func(b []byte) []byte { return append([]byte{1}, b[1:]...) },
		func(b []byte) []byte { return append([]byte{7}, b[1:]...) },
		func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		func(b []byte) []byte { return append(bytes.Clone(b), 1, 2, 3) },
		func(b []byte) []byte { return append([]byte{0, 0}, b[1:]...) },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return make([]byte, len(b)) },
		func(b []byte) []byte { return append(make([]byte, len(b)-1), 1) },
		func(b []byte) []byte { return append([]byte{0}, randomBytes(s.r, len(b)-1)...) },
		s.oddECDSA, s.oddECDSA, s.oddECDSA)
}

// oddECDSA encodes the two numbers of a signature in other ways. It damages other
// signatures.
func (s *spec) oddECDSA(b []byte) []byte {
	rr, ss, ok := numbers(b[1:])
	if !ok {
		return b[:len(b)-len(b)/2]
	}
	plain := func(n []byte) []byte { return TLV(2, n) }
	wide := func(n []byte) []byte { return TLV(2, make([]byte, s.r.IntN(10)), n) }
	r, t := rr.Bytes(), ss.Bytes()
	return append([]byte{0}, pick(s.maker,
		TLV(0x30, plain(r), plain(t)), TLV(0x30, wide(r), plain(t)), TLV(0x30, plain(r), wide(t)), TLV(0x10, plain(r), plain(t)),
		TLV(0x30, plain(r), plain(nil)), TLV(0x30, plain([]byte{0}), plain(t)), TLV(0x30, plain(r), plain(t), []byte{5, 0}), append(TLV(0x30, plain(r), plain(t)), 0, 0),
		slices.Concat([]byte{0x30, 0x80}, plain(r), plain(t), []byte{0, 0}), slices.Concat([]byte{0x30, 0x82, 0, byte(len(r) + len(t) + 4)}, plain(r), plain(t)),
		TLV(0x30, plain(t), plain(r)), TLV(0x30, plain(r)), TLV(0x31, plain(r), plain(t)), TLV(0x30, wide(r), wide(t)))...)
}

// damage changes bytes anywhere.
func (s *spec) damage() {
	s.encoded = func(b []byte) []byte {
		for range 1 + s.r.IntN(3) {
			i := s.r.IntN(len(b))
			switch s.r.IntN(4) {
			case 0:
				b[i] ^= 1 << s.r.IntN(8)
			case 1:
				b[i] = byte(s.r.Uint32())
			case 2:
				b = slices.Delete(b, i, i+1)
			default:
				b = slices.Insert(b, i, byte(s.r.Uint32()))
			}
			if len(b) == 0 {
				return b
			}
		}
		return b
	}
}
