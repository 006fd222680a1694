// Package ber reads ASN.1 as the kernel's decoder does: certificates, RSA keys
// and ECDSA signatures go through it.
//
// The decoder takes BER within limits of its own, and is laxer and stricter than
// one for DER in turns. Kernel: asn1_ber_decoder() and
// asn1_find_indefinite_length() in lib/asn1_decoder.c, the same in 6.1, 6.12 and
// 7.2. What an element may be is a grammar there (*.asn1); here it is the order
// in which the methods of a [Reader] are called.
//
//   - Input of more than 65535 bytes is refused with EMSGSIZE. All other errors
//     are EBADMSG.
//   - A tag is one byte; a number of 31, which announces more, is refused, also
//     where anything or nothing may stand.
//   - Where a constructed element is expected ([Reader.Open]), one that is marked
//     as primitive is taken too, and read as if it were constructed. Where a
//     primitive element is expected ([Reader.Leaf]) a constructed one is another.
//   - A length has at most two bytes besides the first, with leading zeros or
//     not. The indefinite length is taken for elements marked as constructed.
//     Their content ends with two zero bytes; where anything may stand
//     ([Reader.Any]) those belong to its value.
//   - An element of definite length holds exactly what the grammar wants. An
//     element that may be left out ends the content of an enclosing element only
//     if nothing follows: a single byte is refused. Within an indefinite length
//     the two zero bytes of its end are an element where anything may stand.
//   - A SEQUENCE OF and a SET OF hold at least one element: without one, the first
//     element is missing. (So no kernel takes a certificate with an empty name.)
//   - What follows the outermost element is not looked at.
//
// The kernel's limit of ten nested elements is not modelled: none of its
// grammars for certificates and signatures gets there.
package ber

import "fmt"

// MaxSize is the greatest length of an input.
const MaxSize = 65535

// Tags of the elements that certificates are made of.
const (
	Boolean         = 0x01
	Integer         = 0x02
	BitString       = 0x03
	OctetString     = 0x04
	OID             = 0x06
	IA5String       = 0x16
	UTCTime         = 0x17
	GeneralizedTime = 0x18
	Sequence        = 0x30
	Set             = 0x31
)

// Bits of a tag.
const (
	constructed = 0x20
	context     = 0x80
	number      = 0x1f
)

// Context returns the context-specific tag of a primitive element, [n] IMPLICIT.
func Context(n byte) byte { return context | n }

// Explicit returns the context-specific tag of a constructed element, [n].
func Explicit(n byte) byte { return context | constructed | n }

// An Element is one that has been read.
type Element struct {
	Tag   byte
	Raw   []byte // header and value
	Value []byte // with the end mark if the length is indefinite and anything might stand there
}

// A SyntaxError says what is wrong with the input, and where.
type SyntaxError struct {
	Offset int
	What   string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.What, e.Offset) }

// A Reader reads elements one after another.
type Reader struct {
	data     []byte
	pos, end int // end is that of the innermost element of definite length
}

// NewReader returns a Reader of data, which must not be longer than MaxSize.
func NewReader(data []byte) *Reader { return &Reader{data: data, end: len(data)} }

// AtEnd reports whether nothing is left in the innermost element of definite
// length.
func (r *Reader) AtEnd() bool { return r.pos == r.end }

// Offset returns how much has been read.
func (r *Reader) Offset() int { return r.pos }

// A Frame is a constructed element that has been opened.
type Frame struct {
	tag          byte
	start, inner int // of the header, of the content
	outer        int // end before
	isIndefinite bool
}

// Open enters a constructed element. Close leaves it.
func (r *Reader) Open(tag byte) (Frame, error) {
	f, _, err := r.open(int(tag), false)
	return f, err
}

// OpenOptional enters a constructed element if it comes next.
func (r *Reader) OpenOptional(tag byte) (Frame, bool, error) { return r.open(int(tag), true) }

func (r *Reader) open(tag int, isOptional bool) (Frame, bool, error) {
	h, ok, err := r.header(tag, isOptional)
	if !ok {
		return Frame{}, false, err
	}
	f := Frame{tag: h.tag, start: h.start, inner: r.pos, outer: r.end, isIndefinite: h.isIndefinite}
	if !h.isIndefinite {
		r.end = r.pos + h.length
	}
	return f, true, nil
}

// More reports whether another element of a SEQUENCE OF or SET OF follows. Close
// comes after the last.
func (r *Reader) More(f Frame) (bool, error) {
	if !f.isIndefinite {
		return r.pos < r.end, nil
	}
	if r.end-r.pos < 2 {
		return false, r.fail("cut short")
	}
	return r.data[r.pos] != 0, nil
}

// Close leaves a constructed element, of which nothing may be left.
func (r *Reader) Close(f Frame) (Element, error) {
	e := Element{Tag: f.tag, Raw: r.data[f.start:r.pos], Value: r.data[f.inner:r.pos]}
	if !f.isIndefinite {
		if r.pos != r.end {
			return Element{}, r.fail("more than belongs there")
		}
		r.end = f.outer
		return e, nil
	}
	switch {
	case r.end-r.pos < 2:
		return Element{}, r.fail("cut short")
	case r.data[r.pos] != 0 || r.data[r.pos+1] != 0:
		return Element{}, r.fail("no end of an indefinite length")
	}
	r.pos += 2
	return e, nil
}

// Leaf reads a primitive element.
func (r *Reader) Leaf(tag byte) (Element, error) {
	e, _, err := r.leaf(int(tag), false)
	return e, err
}

// LeafOptional reads a primitive element if it comes next.
func (r *Reader) LeafOptional(tag byte) (Element, bool, error) { return r.leaf(int(tag), true) }

// Any reads an element of any kind.
func (r *Reader) Any() (Element, error) {
	e, _, err := r.leaf(anyTag, false)
	return e, err
}

// AnyOptional reads an element of any kind if there is one.
func (r *Reader) AnyOptional() (Element, bool, error) { return r.leaf(anyTag, true) }

func (r *Reader) leaf(tag int, isOptional bool) (Element, bool, error) {
	h, ok, err := r.header(tag, isOptional)
	if !ok {
		return Element{}, false, err
	}
	inner := r.pos
	r.pos += h.length
	if h.isIndefinite {
		if r.pos, err = r.skipIndefinite(inner); err != nil {
			return Element{}, false, err
		}
	}
	return Element{Tag: h.tag, Raw: r.data[h.start:r.pos], Value: r.data[inner:r.pos]}, true, nil
}

// A header is tag and length of an element.
type header struct {
	tag          byte
	start        int
	length       int // 0 if it is indefinite
	isIndefinite bool
}

const anyTag = -1

// header reads a header. It is not ok if that of an element comes that may be
// left out, or if there is an error.
func (r *Reader) header(want int, isOptional bool) (header, bool, error) {
	if isOptional && r.AtEnd() {
		return header{}, false, nil
	}
	if r.end-r.pos < 2 {
		return header{}, false, r.fail("cut short")
	}
	h := header{start: r.pos, tag: r.data[r.pos]}
	switch {
	case h.tag&number == number:
		return header{}, false, r.fail("a tag of more than one byte")
	case want != anyTag && (byte(want)^h.tag)&^(byte(want)&constructed) != 0:
		if isOptional {
			return header{}, false, nil
		}
		return header{}, false, r.fail("tag 0x%02x where 0x%02x belongs", h.tag, want)
	}
	var err error
	if h.length, h.isIndefinite, err = r.length(); err != nil {
		return header{}, false, err
	}
	return h, true, nil
}

// length reads the length of an element whose tag is at pos.
func (r *Reader) length() (n int, isIndefinite bool, err error) {
	tag, first := r.data[r.pos], int(r.data[r.pos+1])
	pos := r.pos + 2
	switch {
	case first < 0x80:
		n = first
	case first == 0x80 && tag&constructed == 0:
		return 0, false, r.fail("a primitive element of indefinite length")
	case first == 0x80:
		if r.end-pos < 2 {
			return 0, false, r.fail("cut short")
		}
		isIndefinite = true
	case first > 0x82:
		return 0, false, r.fail("a length of more than two bytes")
	case first-0x80 > r.end-pos:
		return 0, false, r.fail("cut short")
	default:
		for range first - 0x80 {
			n = n<<8 | int(r.data[pos])
			pos++
		}
	}
	if n > r.end-pos {
		return 0, false, r.fail("longer than what it is in")
	}
	r.pos = pos
	return n, isIndefinite, nil
}

// maxSkippedLength is how many bytes a length may have within an element of
// indefinite length that is not looked into: those of a size_t less one.
const maxSkippedLength = 7

// skipIndefinite returns where an element of indefinite length ends, its end
// mark included.
func (r *Reader) skipIndefinite(pos int) (int, error) {
	for depth := 1; ; {
		if r.end-pos < 2 {
			return 0, r.fail("no end of an indefinite length")
		}
		tag := r.data[pos]
		pos++
		if tag == 0 {
			if r.data[pos] != 0 {
				return 0, r.fail("no end of an indefinite length")
			}
			pos++
			if depth--; depth == 0 {
				return pos, nil
			}
			continue
		}
		if tag&number == number {
			for more := true; more; pos++ {
				if r.end-pos < 2 {
					return 0, r.fail("cut short")
				}
				more = r.data[pos]&0x80 != 0
			}
		}
		first := int(r.data[pos])
		pos++
		switch {
		case first == 0x80 && tag&constructed == 0:
			return 0, r.fail("a primitive element of indefinite length")
		case first == 0x80:
			depth++
			continue
		case first-0x80 > maxSkippedLength:
			return 0, r.fail("a length of more than seven bytes")
		case first-0x80 > r.end-pos:
			return 0, r.fail("cut short")
		}
		n := uint64(first)
		if first > 0x80 {
			n = 0
			for range first - 0x80 {
				n = n<<8 | uint64(r.data[pos])
				pos++
			}
		}
		if n > uint64(r.end-pos) {
			return 0, r.fail("longer than what it is in")
		}
		pos += int(n)
	}
}

func (r *Reader) fail(format string, args ...any) error {
	return &SyntaxError{Offset: r.pos, What: fmt.Sprintf(format, args...)}
}
