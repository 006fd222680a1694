package audit

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// decode decodes an object of the journal's JSON, whose members are strings,
// numbers that are bytes in an array where a value is not UTF-8, arrays of those
// where there are several values, of which the first counts, and null for what
// was too large (systemd, src/shared/logs-show.c output_json()). Member says
// where a value goes; nil drops it. It returns false for what is no such object.
//
// encoding/json takes ten times as long, and a night's journal has a million
// objects, each with thirty members.
func decode(b []byte, member func(name []byte) *[]byte) bool {
	d := decoder{b: b}
	if !d.next('{') {
		return false
	}
	for first := true; !d.next('}'); first = false {
		if !first && !d.next(',') {
			return false
		}
		name, ok := d.string()
		if !ok || !d.next(':') {
			return false
		}
		value, ok := d.value(maxNested)
		if !ok {
			return false
		}
		if to := member(name); to != nil {
			*to = value
		}
	}
	d.blanks()
	return d.at == len(d.b)
}

// maxNested bounds arrays in arrays. The journal has two.
const maxNested = 8

// A decoder reads JSON.
type decoder struct {
	b  []byte
	at int
}

func (d *decoder) blanks() {
	for d.at < len(d.b) && isJSONBlank(d.b[d.at]) {
		d.at++
	}
}

func isJSONBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next reports whether c comes next, and passes it.
func (d *decoder) next(c byte) bool {
	d.blanks()
	if d.at < len(d.b) && d.b[d.at] == c {
		d.at++
		return true
	}
	return false
}

// value reads any value. Of what has no text it returns nil.
func (d *decoder) value(nested int) ([]byte, bool) {
	d.blanks()
	if d.at == len(d.b) {
		return nil, false
	}
	switch c := d.b[d.at]; c {
	case '"':
		return d.string()
	case '[':
		d.at++
		return d.array(nested)
	case '{':
		return nil, false
	}
	return d.word()
}

// word reads a number, or null, true or false, as text; null is nil.
func (d *decoder) word() ([]byte, bool) {
	from := d.at
	for d.at < len(d.b) && !isJSONBlank(d.b[d.at]) && bytes.IndexByte([]byte(",]}"), d.b[d.at]) < 0 {
		d.at++
	}
	word := d.b[from:d.at]
	if string(word) == "null" {
		return nil, true
	}
	return word, len(word) > 0 && !bytes.ContainsAny(word, `"[{:`)
}

// array reads an array: of bytes, or of values.
func (d *decoder) array(nested int) ([]byte, bool) {
	var text, first []byte
	isText, count := true, 0
	for ; !d.next(']'); count++ {
		if count > 0 && !d.next(',') {
			return nil, false
		}
		d.blanks()
		isNumber := d.at < len(d.b) && '0' <= d.b[d.at] && d.b[d.at] <= '9'
		if nested == 0 {
			return nil, false
		}
		value, ok := d.value(nested - 1)
		if !ok {
			return nil, false
		}
		if n, rest, ok := number(value); isNumber && ok && len(rest) == 0 && n < 256 {
			text = append(text, byte(n))
		} else {
			isText = false
		}
		if count == 0 {
			first = value
		}
	}
	if isText {
		return text, true
	}
	return first, true
}

// string reads a string. Where nothing is escaped it is a part of the input.
func (d *decoder) string() ([]byte, bool) {
	if !d.next('"') {
		return nil, false
	}
	rest := d.b[d.at:]
	end := bytes.IndexAny(rest, `"\`)
	if end < 0 {
		return nil, false
	}
	if rest[end] == '"' {
		d.at += end + 1
		return rest[:end], true
	}
	text := append([]byte(nil), rest[:end]...)
	d.at += end
	for d.at < len(d.b) {
		c := d.b[d.at]
		d.at++
		switch c {
		case '"':
			return text, true
		case '\\':
			var ok bool
			if text, ok = d.escape(text); !ok {
				return nil, false
			}
		default:
			text = append(text, c)
		}
	}
	return nil, false
}

// escapes are the characters that a backslash makes of others.
var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what is behind a backslash.
func (d *decoder) escape(text []byte) ([]byte, bool) {
	if d.at == len(d.b) {
		return nil, false
	}
	c := d.b[d.at]
	d.at++
	if c != 'u' {
		e, ok := escapes[c]
		return append(text, e), ok
	}
	r, ok := d.hex4()
	if !ok {
		return nil, false
	}
	if utf16.IsSurrogate(r) && bytes.HasPrefix(d.b[d.at:], []byte(`\u`)) {
		at := d.at
		d.at += 2
		low, ok := d.hex4()
		if !ok {
			return nil, false
		}
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return utf8.AppendRune(text, both), true
		}
		d.at = at
	}
	return utf8.AppendRune(text, r), true
}

// hex4 reads four hexadecimal digits.
func (d *decoder) hex4() (rune, bool) {
	var r rune
	for range 4 {
		if d.at == len(d.b) {
			return 0, false
		}
		c := d.b[d.at]
		d.at++
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
