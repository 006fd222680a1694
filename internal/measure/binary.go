package measure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// chunk is how much is allocated at once for a length that may be a lie.
const chunk = 64 << 10

// take reads n bytes.
func (r *Reader) take(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, chunk))
	for len(b) < n {
		part := min(n-len(b), chunk)
		b = append(b, make([]byte, part)...)
		got, err := io.ReadFull(r.in, b[len(b)-part:])
		r.offset += int64(got)
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (r *Reader) uint32() (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return r.layout.order().Uint32(b), nil
}

// ends says in which part of a record a list ends, if that is why it could not be read.
func ends(part string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &EndError{Part: part}
	}
	return &readError{err}
}

// A readError is an error of what a list is read from.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// An EndError says that a list ends in the middle of a record.
type EndError struct{ Part string }

func (e *EndError) Error() string { return "the list ends in the middle of " + e.Part }

// nextBinary reads a record. What comes behind one whose lengths are wrong cannot be
// found any more.
func (r *Reader) nextBinary() (Record, error) {
	rec := Record{Layout: r.layout, Number: r.number + 1, Offset: r.offset}
	fail := func(err error) (Record, error) {
		if below, ok := err.(*readError); ok {
			return Record{}, below.err
		}
		return Record{}, &RecordError{Number: rec.Number, Offset: rec.Offset, Last: true, Err: err}
	}
	head, err := r.take(4)
	if err == io.EOF {
		return Record{}, io.EOF
	}
	r.number++
	if err != nil {
		return fail(ends("its PCR index", err))
	}
	pcr := r.layout.order().Uint32(head)
	if pcr > MaxPCR {
		return fail(fmt.Errorf("PCR index %d, and the highest is %d", pcr, MaxPCR))
	}
	rec.PCR = int(pcr)
	if rec.Digest, err = r.take(r.layout.Bank.Size()); err != nil {
		return fail(ends("its template digest", err))
	}
	n, err := r.uint32()
	if err != nil {
		return fail(ends("the length of its template's name", err))
	}
	if n == 0 || n > MaxName {
		return fail(fmt.Errorf("a template's name of %d bytes; it has 1 to %d", n, MaxName))
	}
	name, err := r.take(int(n))
	if err != nil {
		return fail(ends("its template's name", err))
	}
	if !isTemplateName(name) {
		return fail(fmt.Errorf("%q is no template's name", name))
	}
	rec.Template = string(name)
	if rec.Template == plain {
		return r.plainData(rec, fail)
	}
	if n, err = r.uint32(); err != nil {
		return fail(ends("the length of its data", err))
	}
	if n > MaxData {
		return fail(fmt.Errorf("data of %d bytes, which is more than %d", n, MaxData))
	}
	if rec.Data, err = r.take(int(n)); err != nil {
		return fail(ends("its data", err))
	}
	if rec.Fields, err = split(rec.Template, rec.Data, r.layout.order()); err != nil {
		return rec, &RecordError{Number: rec.Number, Offset: rec.Offset, Err: err}
	}
	return rec, nil
}

// isTemplateName reports whether a name could be that of a template, which is printed.
func isTemplateName(name []byte) bool {
	return len(name) <= MaxName && !bytes.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' })
}

// plainData reads the data of the template "ima".
func (r *Reader) plainData(rec Record, fail func(error) (Record, error)) (Record, error) {
	digest, err := r.take(20)
	if err != nil {
		return fail(ends("its digest", err))
	}
	n, err := r.uint32()
	if err != nil {
		return fail(ends("the length of its name", err))
	}
	if n > MaxName {
		return fail(fmt.Errorf("a name of %d bytes, and the longest has %d", n, MaxName))
	}
	name, err := r.take(int(n))
	if err != nil {
		return fail(ends("its name", err))
	}
	rec.setPlain(digest, name)
	if bytes.IndexByte(name, 0) >= 0 {
		rec.Fields = nil
		return rec, &RecordError{Number: rec.Number, Offset: rec.Offset, Err: errors.New("field n: a zero byte in the name")}
	}
	return rec, nil
}

// setPlain sets the data and the fields of the template "ima".
func (r *Record) setPlain(digest, name []byte) {
	r.Data = append(r.Data[:0:0], digest...)
	r.Data = r.Layout.order().AppendUint32(r.Data, uint32(len(name)))
	r.Data = append(r.Data, name...)
	at := len(digest)
	r.Fields = []Field{{"d", r.Data[:at:at]}, {"n", r.Data[at+4:]}}
}

// AppendBinary appends the record to b as a binary list of its layout's bank and order
// has it. The error says that the data are not known, or a field out of its range.
func (r Record) AppendBinary(b []byte) ([]byte, error) {
	switch {
	case r.Data == nil:
		return nil, errNoData
	case r.PCR < 0 || r.PCR > MaxPCR, len(r.Digest) != r.Layout.Bank.Size(), len(r.Template) == 0 || len(r.Template) > MaxName, len(r.Data) > MaxData:
		return nil, errors.New("a field is out of its range")
	}
	order := r.Layout.order()
	b = order.AppendUint32(b, uint32(r.PCR))
	b = append(b, r.Digest...)
	b = order.AppendUint32(b, uint32(len(r.Template)))
	b = append(b, r.Template...)
	if r.Template != plain {
		b = order.AppendUint32(b, uint32(len(r.Data)))
	}
	return append(b, r.Data...), nil
}

// An order is a byte order that appends too.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}
