package ber_test

import (
	"bytes"
	"errors"
	"testing"

	"imaseal/keys/ber"
)

// A step calls one method, and returns what it read.
type step func(*ber.Reader, *[]ber.Frame) (ber.Element, bool, error)

func leaf(tag byte) step {
	return func(r *ber.Reader, _ *[]ber.Frame) (ber.Element, bool, error) {
		e, err := r.Leaf(tag)
		return e, err == nil, err
	}
}

func optional(tag byte) step {
	return func(r *ber.Reader, _ *[]ber.Frame) (ber.Element, bool, error) { return r.LeafOptional(tag) }
}

func anything(r *ber.Reader, _ *[]ber.Frame) (ber.Element, bool, error) {
	e, err := r.Any()
	return e, err == nil, err
}

func anyOptional(r *ber.Reader, _ *[]ber.Frame) (ber.Element, bool, error) { return r.AnyOptional() }

func open(tag byte) step {
	return func(r *ber.Reader, open *[]ber.Frame) (ber.Element, bool, error) {
		f, err := r.Open(tag)
		*open = append(*open, f)
		return ber.Element{}, err == nil, err
	}
}

func openOptional(tag byte) step {
	return func(r *ber.Reader, open *[]ber.Frame) (ber.Element, bool, error) {
		f, ok, err := r.OpenOptional(tag)
		if ok {
			*open = append(*open, f)
		}
		return ber.Element{}, ok, err
	}
}

func shut(r *ber.Reader, open *[]ber.Frame) (ber.Element, bool, error) {
	f := (*open)[len(*open)-1]
	*open = (*open)[:len(*open)-1]
	e, err := r.Close(f)
	return e, err == nil, err
}

func more(r *ber.Reader, open *[]ber.Frame) (ber.Element, bool, error) {
	ok, err := r.More((*open)[len(*open)-1])
	return ber.Element{}, ok, err
}

// What the last step of a test does, besides reading a value.
const (
	fails   = "it fails"
	nothing = "it finds nothing"
)

var readerTests = map[string]struct {
	in    string
	steps []step
	want  string
}{
	"leaf":                        {"\x02\x01\x05", []step{leaf(ber.Integer)}, "\x05"},
	"empty leaf":                  {"\x02\x00", []step{leaf(ber.Integer)}, ""},
	"nothing at all":              {"", []step{leaf(ber.Integer)}, fails},
	"a byte":                      {"\x02", []step{leaf(ber.Integer)}, fails},
	"other tag":                   {"\x04\x01\x05", []step{leaf(ber.Integer)}, fails},
	"constructed leaf":            {"\x22\x01\x05", []step{leaf(ber.Integer)}, fails},
	"long tag":                    {"\x1f\x02\x01", []step{anything}, fails},
	"long tag, optional":          {"\x1f\x02\x01", []step{optional(ber.Integer)}, fails},
	"length too great":            {"\x02\x02\x05", []step{leaf(ber.Integer)}, fails},
	"length of one byte more":     {"\x02\x81\x01\x05", []step{leaf(ber.Integer)}, "\x05"},
	"length of two bytes more":    {"\x02\x82\x00\x01\x05", []step{leaf(ber.Integer)}, "\x05"},
	"length of three bytes more":  {"\x02\x83\x00\x00\x01\x05", []step{leaf(ber.Integer)}, fails},
	"length cut short":            {"\x02\x82\x00", []step{leaf(ber.Integer)}, fails},
	"long length too great":       {"\x02\x82\x01\x00\x05", []step{leaf(ber.Integer)}, fails},
	"indefinite leaf":             {"\x02\x80\x00\x00", []step{leaf(ber.Integer)}, fails},
	"optional, there":             {"\x02\x01\x05", []step{optional(ber.Integer)}, "\x05"},
	"optional, another":           {"\x02\x01\x05", []step{optional(ber.OID), leaf(ber.Integer)}, "\x05"},
	"optional, nothing":           {"", []step{optional(ber.Integer)}, nothing},
	"optional, a byte":            {"\x02", []step{optional(ber.Integer)}, fails},
	"sequence":                    {"\x30\x03\x02\x01\x05rest", []step{open(ber.Sequence), leaf(ber.Integer), shut}, "\x02\x01\x05"},
	"sequence marked primitive":   {"\x10\x03\x02\x01\x05", []step{open(ber.Sequence), leaf(ber.Integer), shut}, "\x02\x01\x05"},
	"primitive and indefinite":    {"\x10\x80\x02\x01\x05\x00\x00", []step{open(ber.Sequence)}, fails},
	"empty sequence":              {"\x30\x00", []step{open(ber.Sequence), shut}, ""},
	"more in it":                  {"\x30\x03\x02\x01\x05", []step{open(ber.Sequence), shut}, fails},
	"less in it":                  {"\x30\x00\x02\x01\x05", []step{open(ber.Sequence), leaf(ber.Integer)}, fails},
	"optional at its end":         {"\x30\x00\x02\x01\x05", []step{open(ber.Sequence), optional(ber.Integer)}, nothing},
	"optional sequence":           {"\xa0\x00", []step{openOptional(ber.Explicit(0)), shut}, ""},
	"optional sequence, another":  {"\xa1\x00", []step{openOptional(ber.Explicit(0))}, nothing},
	"implicit":                    {"\x82\x01x", []step{leaf(ber.Context(2))}, "x"},
	"indefinite sequence":         {"\x30\x80\x02\x01\x05\x00\x00", []step{open(ber.Sequence), leaf(ber.Integer), shut}, "\x02\x01\x05"},
	"no end":                      {"\x30\x80\x02\x01\x05", []step{open(ber.Sequence), leaf(ber.Integer), shut}, fails},
	"half an end":                 {"\x30\x80\x02\x01\x05\x00\x07", []step{open(ber.Sequence), leaf(ber.Integer), shut}, fails},
	"another end":                 {"\x30\x80\x02\x01\x05\x02\x00", []step{open(ber.Sequence), leaf(ber.Integer), shut}, fails},
	"indefinite, cut short":       {"\x30\x80\x00", []step{open(ber.Sequence)}, fails},
	"end is anything":             {"\x30\x80\x00\x00", []step{open(ber.Sequence), anyOptional}, ""},
	"any":                         {"\x30\x03\x02\x01\x05", []step{anything}, "\x02\x01\x05"},
	"any, optional":               {"", []step{anyOptional}, nothing},
	"any, indefinite":             {"\x30\x80\x02\x01\x05\x00\x00x", []step{anything}, "\x02\x01\x05\x00\x00"},
	"any, nested":                 {"\x30\x80\x31\x80\x02\x01\x05\x00\x00\x00\x00", []step{anything}, "\x31\x80\x02\x01\x05\x00\x00\x00\x00"},
	"any, nested long tag":        {"\x30\x80\x1f\x81\x01\x01x\x00\x00", []step{anything}, "\x1f\x81\x01\x01x\x00\x00"},
	"any, nested long length":     {"\x30\x80\x04\x87\x00\x00\x00\x00\x00\x00\x01x\x00\x00", []step{anything}, "\x04\x87\x00\x00\x00\x00\x00\x00\x01x\x00\x00"},
	"any, nested too long length": {"\x30\x80\x04\x88\x00\x00\x00\x00\x00\x00\x00\x01x\x00\x00", []step{anything}, fails},
	"any, nested too great":       {"\x30\x80\x04\x87\x01\x00\x00\x00\x00\x00\x01x\x00\x00", []step{anything}, fails},
	"any, nested cut short":       {"\x30\x80\x04\x82\x00", []step{anything}, fails},
	"any, nested tag cut short":   {"\x30\x80\x1f\x81", []step{anything}, fails},
	"any, nested primitive":       {"\x30\x80\x04\x80\x00\x00\x00\x00", []step{anything}, fails},
	"any, no end":                 {"\x30\x80\x02\x01\x05", []step{anything}, fails},
	"any, half an end":            {"\x30\x80\x00\x01", []step{anything}, fails},
	"sequence of":                 {"\x30\x06\x02\x01\x05\x02\x01\x06", []step{open(ber.Sequence), leaf(ber.Integer), more, leaf(ber.Integer), more}, nothing},
	"indefinite sequence of":      {"\x30\x80\x02\x01\x05\x00\x00", []step{open(ber.Sequence), leaf(ber.Integer), more}, nothing},
	"its end cut short":           {"\x30\x80\x02\x01\x05\x00", []step{open(ber.Sequence), leaf(ber.Integer), more}, fails},
}

// TestReader: the last step reads the value, or finds nothing, or fails, and none
// before it fails.
func TestReader(t *testing.T) {
	for name, test := range readerTests {
		r := ber.NewReader([]byte(test.in))
		var frames []ber.Frame
		var got string
		for i, s := range test.steps {
			e, ok, err := s(r, &frames)
			switch syntax, isSyntax := errors.AsType[*ber.SyntaxError](err); {
			case err != nil && (!isSyntax || syntax.Error() == "" || ok):
				t.Errorf("%s: error %v, ok %v", name, err, ok)
			case err != nil:
				got = fails
			case !ok:
				got = nothing
			default:
				got = string(e.Value)
			}
			if err != nil && i < len(test.steps)-1 {
				t.Errorf("%s: step %d: %v", name, i, err)
				break
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestRaw: an element is given with its header, and the reader tells where it is.
func TestRaw(t *testing.T) {
	in := []byte("\x30\x82\x00\x05\x02\x01\x05\x05\x00rest")
	r := ber.NewReader(in)
	f, err := r.Open(ber.Sequence)
	for range 2 {
		if err == nil && r.AtEnd() {
			t.Error("at the end before it")
		}
		if err == nil {
			_, err = r.Any()
		}
	}
	if err != nil || !r.AtEnd() {
		t.Fatal(err, r.AtEnd())
	}
	e, err := r.Close(f)
	if err != nil || e.Tag != ber.Sequence || !bytes.Equal(e.Raw, in[:9]) || r.Offset() != 9 || r.AtEnd() {
		t.Errorf("%+v, %v, offset %d", e, err, r.Offset())
	}
}
