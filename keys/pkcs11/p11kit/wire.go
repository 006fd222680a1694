package p11kit

import (
	"encoding/binary"
	"errors"
)

// errShort says that an answer ends too early.
var errShort = errors.New("an answer is cut short")

// none is the length of an array that is not there.
const none = 0xffffffff

// A writer builds the fields of a request. All numbers are big endian; the
// letters in front of each method are the field's in the call's signature.
// Source: p11-kit/rpc-message.c.
type writer struct{ b []byte }

func (w *writer) uint32(n uint32) { w.b = binary.BigEndian.AppendUint32(w.b, n) }

// y: a byte.
func (w *writer) byte(c byte) { w.b = append(w.b, c) }

// u: a CK_ULONG, 64 bits wide whatever it is on either side.
func (w *writer) ulong(n uint64) { w.b = binary.BigEndian.AppendUint64(w.b, n) }

// ay: whether there are bytes, then those.
func (w *writer) bytes(b []byte) {
	w.byte(1)
	if b == nil {
		w.uint32(none)
		return
	}
	w.uint32(uint32(len(b)))
	w.b = append(w.b, b...)
}

// fu, fy: room for so many elements in the answer.
func (w *writer) room(n uint32) { w.uint32(n) }

// M: a mechanism without parameters. Before version 2 of the protocol an empty
// array of parameters followed, also for mechanisms that have none.
func (w *writer) mechanism(m uint32, version byte) {
	w.uint32(m)
	if version < 2 {
		w.uint32(none)
	}
}

// aA: attributes with their values.
func (w *writer) attributes(all []Attribute) {
	w.uint32(uint32(len(all)))
	for _, a := range all {
		w.uint32(a.Type)
		w.byte(1) // it has a value
		if !isUlong(a.Type) {
			w.uint32(uint32(len(a.Bytes)))
			w.uint32(uint32(len(a.Bytes)))
			w.b = append(w.b, a.Bytes...)
			continue
		}
		w.uint32(8)
		w.ulong(a.Ulong)
	}
}

// fA: room for the values of attributes.
func (w *writer) attributeRoom(types []uint32) {
	w.uint32(uint32(len(types)))
	for _, t := range types {
		w.uint32(t)
		w.uint32(maxAttribute)
	}
}

// maxAttribute bounds an attribute's value; a certificate is the largest.
const maxAttribute = 1 << 16

// An Attribute has one of the values, by its type.
type Attribute struct {
	Type  uint32
	Ulong uint64 // also of those that are bytes on the wire, such as Sign
	Bytes []byte
}

// Types of attributes: CKA_ and the name in PKCS#11 2.40.
const (
	Class              = 0x000
	Label              = 0x003
	Value              = 0x011
	KeyType            = 0x100
	ID                 = 0x102
	Sign               = 0x108
	Modulus            = 0x120
	PublicExponent     = 0x122
	ECParams           = 0x180
	ECPoint            = 0x181
	AlwaysAuthenticate = 0x202
)

// How a value is written depends on the attribute's type alone.
// Source: map_attribute_to_value_type().
func isUlong(typ uint32) bool { return typ == Class || typ == KeyType }

func isByte(typ uint32) bool { return typ == Sign || typ == AlwaysAuthenticate }

// A reader takes the fields of an answer. After the first that is not there all
// are zero, and err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint32) []byte {
	if r.err == nil && uint64(n) > uint64(len(r.b)) {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) ulong() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// array is the length and the bytes; nil for one that is not there.
func (r *reader) array() []byte {
	n := r.uint32()
	if n == none {
		return nil
	}
	return r.take(n)
}

// s: a string, padded with blanks.
func (r *reader) text() string {
	b := r.array()
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return string(b)
}

// v: a version.
func (r *reader) version() [2]byte { return [2]byte{r.byte(), r.byte()} }

// ay: bytes; false if there was no room for them.
func (r *reader) bytes() ([]byte, bool) {
	if r.byte() == 0 {
		r.uint32() // how many they would be
		return nil, false
	}
	return r.array(), r.err == nil
}

// au: numbers; false if there was no room for them.
func (r *reader) ulongs() ([]uint64, bool) {
	valid, n := r.byte(), r.uint32()
	if valid == 0 {
		return nil, false
	}
	if r.err == nil && uint64(n)*8 > uint64(len(r.b)) {
		r.err = errShort
	}
	var all []uint64
	for ; n > 0 && r.err == nil; n-- {
		all = append(all, r.ulong())
	}
	return all, r.err == nil
}

// aAu: attributes, of which those that the object does not have or does not
// tell are left out, and a code that says whether there are such.
func (r *reader) attributes() map[uint32]Attribute {
	all := make(map[uint32]Attribute)
	for n := r.uint32(); n > 0 && r.err == nil; n-- {
		a := Attribute{Type: r.uint32()}
		if r.byte() == 0 {
			continue
		}
		size := r.uint32()
		switch {
		case isUlong(a.Type):
			a.Ulong = r.ulong()
		case isByte(a.Type):
			a.Ulong = uint64(r.byte())
		default:
			a.Bytes = r.array()
		}
		if size > 0 {
			all[a.Type] = a
		}
	}
	r.ulong()
	return all
}
