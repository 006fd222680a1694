package measure

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"imaseal/hash"
)

// maxLine is the length of the longest line: data in hexadecimal, and what is in front.
const maxLine = 2*MaxData + 4096

var errLong = fmt.Errorf("a line of more than %d bytes", maxLine)

// maxBroken is how many bytes of a name with newlines are at most between its first
// line and its last: PATH_MAX.
const maxBroken = 4096

// Lines are joined to records, to see whether these are whole then, until so many bytes
// were looked at in vain: a hostile list would take time by its square.
const (
	maxJoined     = 32 << 20
	maxJoinedEach = 16 // more for each byte that was read
)

// A line of an ASCII list, without its newline.
type line struct {
	text   []byte
	offset int64
	number int64
	err    error // of the reader behind it
	cut    bool  // it has no newline
}

// readLine reads a line; io.EOF is its error if there is none.
func (r *Reader) readLine() line {
	l := line{offset: r.offset, number: r.lines + 1}
	for {
		part, err := r.in.ReadSlice('\n')
		r.offset += int64(len(part))
		if len(l.text)+len(part) <= maxLine {
			l.text = append(l.text, part...)
		} else {
			l.err = errLong
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(l.text) > 0:
			l.cut = true
		case err != nil:
			l.err = err
			return l
		}
		r.lines++
		l.text = bytes.TrimSuffix(l.text, []byte("\n"))
		return l
	}
}

// peekLine returns the line at i behind the one in hand.
func (r *Reader) peekLine(i int) line {
	for len(r.ahead) <= i {
		r.ahead = append(r.ahead, r.readLine())
	}
	return r.ahead[i]
}

// takeLine returns the next line.
func (r *Reader) takeLine() line {
	l := r.peekLine(0)
	r.ahead = r.ahead[1:]
	return l
}

// nextASCII reads a record.
func (r *Reader) nextASCII() (Record, error) {
	l := r.takeLine()
	for l.err == nil && len(bytes.TrimSpace(l.text)) == 0 {
		l = r.takeLine()
	}
	if l.err == io.EOF {
		return Record{}, io.EOF
	}
	r.number++
	if l.err == errLong {
		return Record{}, &RecordError{Number: r.number, Offset: l.offset, Line: l.number, Err: l.err}
	}
	if l.err != nil {
		return Record{}, l.err
	}
	end := func() (Record, error) {
		return Record{}, &RecordError{Number: r.number, Offset: l.offset, Line: l.number, Last: true, Err: &EndError{Part: "it"}}
	}
	rec, err := r.parseLine(l)
	if l.cut && r.number > 1 && (err != nil || rec.IsViolation() || rec.Verify() != nil) {
		return end()
	}
	if rec.Digest == nil || err == nil && rec.Verify() == nil {
		return rec, err
	}
	if whole, ok := r.join(l); ok {
		return whole, nil
	}
	if r.endsIn() {
		r.ahead = nil
		return end()
	}
	return rec, err
}

// join makes a record of a line and of those behind it, if it is one whose name has
// newlines.
func (r *Reader) join(l line) (Record, bool) {
	for i, broken := 0, 0; broken <= maxBroken && r.joined <= maxJoined+maxJoinedEach*r.offset; i++ {
		next := r.peekLine(i)
		if next.err != nil || isHead(next.text) || len(l.text)+len(next.text) > maxLine {
			break
		}
		l.text = append(append(l.text, '\n'), next.text...)
		if whole, err := r.parseLine(l); err == nil && whole.Verify() == nil {
			r.ahead = r.ahead[i+1:]
			return whole, true
		}
		broken += len(next.text) + 1
		r.joined += int64(len(l.text))
	}
	return Record{}, false
}

// endsIn reports whether the list ends in the middle of the record whose first line was
// taken: in one of the lines behind it, which are part of a name.
func (r *Reader) endsIn() bool {
	for _, next := range r.ahead {
		if next.err != nil || isHead(next.text) {
			return false
		}
		if next.cut {
			return true
		}
	}
	return false
}

// isHead reports whether a line begins as a record does.
func isHead(b []byte) bool {
	pcr, rest, ok := bytes.Cut(bytes.TrimLeft(b, " "), []byte(" "))
	if _, err := strconv.ParseUint(string(pcr), 10, 6); err != nil || !ok {
		return false
	}
	digest, _, ok := bytes.Cut(rest, []byte(" "))
	_, err := hex.DecodeString(string(digest))
	return ok && err == nil && len(digest) >= 2*hash.SHA1.Size()
}

// A cursor is a place in a line.
type cursor struct {
	text   string
	column int // from 1
}

// next takes what is in front of the next blank.
func (c *cursor) next() (string, bool) {
	word, rest, ok := strings.Cut(c.text, " ")
	c.text = rest
	c.column += len(word) + 1
	return word, ok
}

// parseLine makes a record of a line. If only the fields are wrong, the rest of it is
// there.
func (r *Reader) parseLine(l line) (Record, error) {
	rec := Record{Layout: r.layout, Number: r.number, Offset: l.offset, Line: l.number}
	fail := func(rec Record, column int, err error) (Record, error) {
		return rec, &RecordError{Number: r.number, Offset: l.offset, Line: l.number, Column: column, Err: err}
	}
	text := strings.TrimLeft(string(l.text), " ")
	c := &cursor{text: text, column: 1 + len(l.text) - len(text)}
	at := c.column
	word, more := c.next()
	pcr, err := strconv.ParseUint(word, 10, 32)
	if err != nil || !more {
		return fail(Record{}, at, fmt.Errorf("a record begins with the number of a PCR, not with %q", cut(word)))
	}
	if pcr > MaxPCR {
		return fail(Record{}, at, fmt.Errorf("PCR index %d, and the highest is %d", pcr, MaxPCR))
	}
	rec.PCR = int(pcr)
	at = c.column
	word, more = c.next()
	digest, where, err := parseHex(word)
	if err != nil {
		return fail(Record{}, at+where, fmt.Errorf("template digest: %w", err))
	}
	if len(digest) != r.layout.Bank.Size() {
		return fail(Record{}, at, fmt.Errorf("a template digest of %d bytes, and those of %s have %d", len(digest), r.layout.Bank, r.layout.Bank.Size()))
	}
	at = c.column
	named := more
	if word, more = c.next(); !named || word == "" {
		return fail(Record{}, at, errors.New("the line ends before the name of the template"))
	}
	if !isTemplateName([]byte(word)) {
		return fail(Record{}, at, fmt.Errorf("%q is no template's name", cut(word)))
	}
	rec.Digest, rec.Template = digest, word
	ids := FieldIDs(rec.Template)
	if ids == nil {
		return rec, nil
	}
	values, column, err := r.parseFields(ids, c, more)
	if err != nil {
		return fail(rec, column, err)
	}
	rec.setFields(ids, values)
	return rec, nil
}

// parseFields parses what is behind the template's name. Where a field is wrong, the
// column of that is returned.
func (r *Reader) parseFields(ids []string, c *cursor, more bool) (values [][]byte, column int, err error) {
	for i, id := range ids {
		at := c.column
		word, last := "", i == len(ids)-1
		switch {
		case more && last && fieldTypes[id].form == formText: // old kernels have blanks in names
			word, c.text, more = c.text, "", false
		case more:
			word, more = c.next()
		case fieldTypes[id].form == formText && id != "xattrnames":
			return nil, at, fmt.Errorf("the line ends before field %s", id)
		}
		value, where, err := r.parseField(id, word)
		if err != nil {
			return nil, at + where, fmt.Errorf("field %s: %w", id, err)
		}
		values = append(values, value)
	}
	if more {
		return nil, c.column, fmt.Errorf("%q behind the last field", cut(c.text))
	}
	return values, 0, nil
}

// parseField returns the bytes that a field has in the data.
func (r *Reader) parseField(id, word string) (value []byte, where int, err error) {
	t := fieldTypes[id]
	if word == "" {
		return nil, 0, nil
	}
	switch t.form {
	case formText:
		value = append([]byte(word), 0)
	case formUint:
		n, err := strconv.ParseUint(word, 10, 8*t.width)
		if err != nil {
			return nil, 0, fmt.Errorf("%q is no number of %d bits", cut(word), 8*t.width)
		}
		if t.width == 2 {
			value = r.layout.order().AppendUint16(nil, uint16(n))
		} else {
			value = r.layout.order().AppendUint32(nil, uint32(n))
		}
	case formDigest:
		i := strings.LastIndexByte(word, ':')
		if i < 0 {
			return nil, 0, fmt.Errorf("%q is no digest with the name of its algorithm and a colon in front", cut(word))
		}
		sum, where, err := parseHex(word[i+1:])
		if err != nil {
			return nil, i + 1 + where, err
		}
		value = append(append([]byte(word[:i+1]), 0), sum...)
	case formHex:
		if value, where, err = parseHex(word); err != nil {
			return nil, where, err
		}
	}
	return value, 0, checkField(id, value)
}

// parseHex parses hexadecimal digits, and tells where they end.
func parseHex(s string) (b []byte, where int, err error) {
	for i, c := range []byte(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return nil, i, fmt.Errorf("%q is no hexadecimal digit", c)
		}
	}
	if len(s)%2 != 0 {
		return nil, len(s), fmt.Errorf("%d hexadecimal digits, which are no whole bytes", len(s))
	}
	b, err = hex.DecodeString(s)
	return b, 0, err
}

// cut shortens what is quoted in messages.
func cut(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// setFields sets the data and the fields.
func (r *Record) setFields(ids []string, values [][]byte) {
	if r.Template == plain {
		r.setPlain(values[0], bytes.TrimSuffix(values[1], []byte{0}))
		return
	}
	r.Data = []byte{}
	for _, v := range values {
		r.Data = r.Layout.order().AppendUint32(r.Data, uint32(len(v)))
		r.Data = append(r.Data, v...)
	}
	r.Fields = make([]Field, len(ids))
	at := 0
	for i, v := range values {
		end := at + 4 + len(v)
		r.Fields[i] = Field{ids[i], r.Data[at+4 : end : end]}
		at = end
	}
}

// AppendASCII appends the line of the record to b, with its newline, as the kernel
// prints it. The error says that the fields are not known.
func (r Record) AppendASCII(b []byte) ([]byte, error) {
	if r.Fields == nil {
		return nil, errors.New("the fields of the record are not known")
	}
	b = fmt.Appendf(b, "%2d %x %s", r.PCR, r.Digest, r.Template)
	for _, f := range r.Fields {
		b = append(b, ' ')
		switch t := fieldTypes[f.ID]; {
		case len(f.Value) == 0:
		case t.form == formText:
			b = append(b, bytes.TrimSuffix(f.Value, []byte{0})...)
		case t.form == formUint:
			n, _ := r.Uint(f.ID)
			b = strconv.AppendUint(b, uint64(n), 10)
		case t.form == formDigest:
			name, sum, _ := bytes.Cut(f.Value, []byte{0})
			b = append(b, name...)
			b = hex.AppendEncode(b, sum)
		default:
			b = hex.AppendEncode(b, f.Value)
		}
	}
	return append(b, '\n'), nil
}
