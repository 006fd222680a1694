package p11kit

import (
	"bytes"
	"testing"
)

// TestFields writes and reads fields, and reads every beginning of them.
func TestFields(t *testing.T) {
	var w writer
	w.bytes([]byte("signature"))
	w.ulong(1<<63 + 5)
	w.attributes([]Attribute{{Type: Class, Ulong: PrivateKey}, {Type: ID, Bytes: []byte{1, 2}}})
	w.ulong(0)
	read := func(b []byte) (sig []byte, n uint64, all map[uint32]Attribute, err error) {
		r := &reader{b: b}
		sig, _ = r.bytes()
		n, all = r.ulong(), r.attributes()
		return sig, n, all, r.err
	}
	sig, n, all, err := read(w.b)
	if err != nil || string(sig) != "signature" || n != 1<<63+5 || len(all) != 2 ||
		all[Class].Ulong != PrivateKey || !bytes.Equal(all[ID].Bytes, []byte{1, 2}) {
		t.Errorf("%q, %d, %v, %v", sig, n, all, err)
	}
	for size := range w.b {
		if _, _, _, err := read(w.b[:size]); err != errShort {
			t.Errorf("of %d bytes %d: %v", len(w.b), size, err)
		}
	}
}

func TestTextIsPadded(t *testing.T) {
	r := &reader{b: []byte("\x00\x00\x00\x06a b   \x00\x00\x00\x01 ")}
	if a, b := r.text(), r.text(); a != "a b" || b != "" || r.err != nil {
		t.Errorf("%q, %q, %v", a, b, r.err)
	}
}

// TestMechanism writes what versions of p11-kit want.
func TestMechanism(t *testing.T) {
	for version, want := range map[byte]string{
		0: "\x00\x00\x10\x41\xff\xff\xff\xff", 1: "\x00\x00\x10\x41\xff\xff\xff\xff", 2: "\x00\x00\x10\x41",
	} {
		var w writer
		if w.mechanism(ECDSA, version); string(w.b) != want {
			t.Errorf("version %d: %x", version, w.b)
		}
	}
}

// FuzzAnswer reads any bytes as the fields of answers: nothing is taken that is
// not there.
func FuzzAnswer(f *testing.F) {
	var w writer
	w.bytes([]byte("signature"))
	f.Add(w.b)
	w = writer{}
	w.attributes([]Attribute{{Type: Class, Ulong: 3}, {Type: ID, Bytes: []byte{1}}})
	w.ulong(0)
	f.Add(w.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{b: b}
		if sig, ok := r.bytes(); ok != (r.err == nil && b[0] != 0) || len(sig) > len(b) {
			t.Errorf("%x: %x, %v, %v", b, sig, ok, r.err)
		}
		r = &reader{b: b}
		if all, ok := r.ulongs(); len(all)*8 > len(b) || ok && r.err != nil {
			t.Errorf("%x: %d numbers", b, len(all))
		}
		r = &reader{b: b}
		size := 0
		for _, a := range r.attributes() {
			size += len(a.Bytes)
		}
		if size > len(b) {
			t.Errorf("%x: attributes of %d bytes", b, size)
		}
	})
}
