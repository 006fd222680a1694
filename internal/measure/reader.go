package measure

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// A Form is how a list is written.
type Form uint8

// The forms. The zero value is none.
const (
	Binary Form = iota + 1
	ASCII
)

// String names the form.
func (f Form) String() string {
	switch f {
	case Binary:
		return "binary"
	case ASCII:
		return "ascii"
	}
	return "unknown"
}

// A Layout says how a list is written. What is zero is to be found out by Open.
type Layout struct {
	Form Form
	Bank hash.Algorithm // of the template digests
	// Order is that of the machine whose list it is. Numbers of an ASCII list have it
	// too where digests cover them.
	Order binary.ByteOrder
}

// order returns an order that appends. That of most machines stands in for none.
func (l Layout) order() order {
	if l.Order == binary.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// A RecordError says what is wrong with a record, and where.
type RecordError struct {
	Number int64 // of the record, from 1
	Offset int64 // of its first byte in the list
	Line   int64 // in an ASCII list, from 1, else 0
	Column int   // in the line, in bytes from 1; 0 if there is none
	Last   bool  // what is behind it cannot be read
	Err    error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: %v", Place(e.Number, e.Offset, e.Line, e.Column), e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Place says where in a list something is, for messages; line and column may be 0.
func Place(number, offset, line int64, column int) string {
	switch {
	case line == 0:
		return fmt.Sprintf("record %d (at byte %d)", number, offset)
	case column == 0:
		return fmt.Sprintf("record %d (line %d)", number, line)
	}
	return fmt.Sprintf("record %d (line %d, column %d)", number, line, column)
}

// A FormatError says that something is no measurement list.
type FormatError struct{ Err error }

func (e *FormatError) Error() string { return "no measurement list: " + e.Err.Error() }

func (e *FormatError) Unwrap() error { return e.Err }

// A Reader reads the records of a list, one after the other. It holds one record. It
// belongs to one goroutine.
type Reader struct {
	in     *bufio.Reader
	layout Layout

	number, offset int64
	lines          int64
	ahead          []line // read, and not given out
	joined         int64  // bytes of lines that were joined in vain
	ended          bool
}

// buffer is how much of a list is looked at to find out how it is written.
const buffer = 64 << 10

// Open returns a Reader of a list. What the layout leaves open is found out by the
// first records, most of it by their template digests; a bank that they do not tell is
// that of the first algorithm with the size. The error is a *FormatError, or that of in.
// An empty list is one, too.
func Open(in io.Reader, l Layout) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, buffer), layout: l}
	start, err := r.in.Peek(buffer)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(start) == 0 {
		r.layout = l.or(Layout{Binary, hash.SHA1, binary.LittleEndian})
		return r, nil
	}
	r.layout, err = detect(start, l)
	return r, err
}

// or fills in what is not known.
func (l Layout) or(other Layout) Layout {
	if l.Form == 0 {
		l.Form = other.Form
	}
	if l.Bank == 0 {
		l.Bank = other.Bank
	}
	if l.Order == nil {
		l.Order = other.Order
	}
	return l
}

// enough is how many records tell how a list is written.
const enough = 8

// detect finds out how a list is written that begins with start: as most of its digests
// fit, else so that the first record can be read.
func detect(start []byte, want Layout) (Layout, error) {
	var best Layout
	most := -1
	var wrong error
	for _, form := range []Form{ASCII, Binary} {
		if want.or(Layout{Form: formOf(start)}).Form != form {
			continue
		}
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			for _, bank := range pcr.Banks() {
				l := want.or(Layout{form, bank, order})
				if l.Bank != bank || l.Order != order {
					continue
				}
				fit, err := tryLayout(start, l)
				if fit > most {
					best, most = l, fit
				}
				if wrong == nil {
					wrong = err
				}
			}
		}
	}
	switch {
	case most >= 0:
		return best, nil
	case wrong == nil:
		wrong = fmt.Errorf("no TPM has a bank of %s", want.Bank)
	}
	return Layout{}, &FormatError{wrong}
}

// formOf tells the form by the first number: that of a PCR has zero bytes in a binary
// list.
func formOf(start []byte) Form {
	if bytes.IndexByte(start[:min(len(start), 4)], 0) >= 0 {
		return Binary
	}
	return ASCII
}

// tryLayout returns how many of the first records have digests that fit, and -1 if none
// can be read.
func tryLayout(start []byte, l Layout) (fit int, wrong error) {
	r := &Reader{in: bufio.NewReader(bytes.NewReader(start)), layout: l}
	readable := false
	for range enough {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		_, cut := errors.AsType[*EndError](err)
		readable = readable || rec.Digest != nil || cut && len(start) == buffer
		if wrong == nil {
			wrong = err
		}
		if err == nil && !rec.IsViolation() && rec.Verify() == nil {
			fit++
		}
	}
	if !readable {
		return -1, wrong
	}
	return fit, nil
}

// Layout returns how the list is written.
func (r *Reader) Layout() Layout { return r.layout }

// Next returns the next record, and io.EOF behind the last one. What is wrong with a
// record is a *RecordError, or an error of the reader below. If only its data are
// wrong, there is a record with the error that has PCR, Digest and Template; else its
// Digest is nil. After a RecordError the next record can be read, unless it is Last.
func (r *Reader) Next() (Record, error) {
	if r.ended {
		return Record{}, io.EOF
	}
	read := r.nextBinary
	if r.layout.Form == ASCII {
		read = r.nextASCII
	}
	rec, err := read()
	if wrong, ok := errors.AsType[*RecordError](err); err != nil && (!ok || wrong.Last) {
		r.ended = true
	}
	return rec, err
}

// BankOfName returns the bank that the name of a list tells, as the kernel names its
// lists: binary_runtime_measurements_sha256, or one with tpm_alg_27 at its end.
func BankOfName(name string) (hash.Algorithm, bool) {
	name = name[strings.LastIndexByte(name, '/')+1:]
	_, suffix, ok := strings.Cut(name, "_runtime_measurements_")
	if !ok {
		return 0, false
	}
	if number, ok := strings.CutPrefix(suffix, "tpm_alg_"); ok {
		id, err := strconv.ParseUint(number, 16, 16)
		if err != nil {
			return 0, false
		}
		return pcr.Bank(uint16(id))
	}
	a, err := hash.Parse(suffix)
	return a, err == nil && slices.Contains(pcr.Banks(), a)
}
