package audit

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"
)

// A parser parses lines.
type parser struct {
	known   map[string]string // strings that come again and again
	out     []Entry           // what a line said
	damaged int64             // lines or records that could not be read
	logged  int64             // lines as logs have them
	machine machine           // whose lines they are
}

// A machine is what the journal says of whose an entry is.
type machine struct{ node, boot string }

// emit hands over what a line said.
func (p *parser) emit(e Entry) {
	switch m := p.machine; {
	case m == machine{}:
	case e.Record != nil:
		e.Record.Node, e.Record.Boot = m.node, m.boot
	case e.Loss != nil:
		e.Loss.Boot = m.boot
	case e.Boot != nil:
		e.Boot.ID = m.boot
	}
	p.out = append(p.out, e)
}

// What a parser remembers is bounded: so many strings, up to so long ones.
const (
	maxKnown       = 4096
	maxKnownLength = 256
)

// text returns a string that is shared with others like it.
func (p *parser) text(b []byte) string {
	if s, ok := p.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.known) < maxKnown && len(s) <= maxKnownLength {
		p.known[s] = s
	}
	return s
}

// number parses the digits that b begins with, and returns the rest.
func number(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		if n > (1<<64-10)/10 {
			return 0, b, false
		}
		n = n*10 + uint64(b[i]-'0')
		i++
	}
	return n, b[i:], i > 0
}

// stamp parses "audit(SECONDS.MILLISECONDS:SERIAL): " and returns what is behind.
func stamp(b []byte) (t time.Time, serial uint64, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte("audit("))
	if !ok {
		return t, 0, nil, false
	}
	seconds, b, ok1 := number(b)
	b, ok2 := bytes.CutPrefix(b, []byte("."))
	ms, b, ok3 := number(b)
	b, ok4 := bytes.CutPrefix(b, []byte(":"))
	serial, b, ok5 := number(b)
	b, ok6 := bytes.CutPrefix(b, []byte("):"))
	const lastSecond = 253402300799 // of the year 9999, as RFC 3339 can have it
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || ms > 999 || seconds > lastSecond {
		return t, 0, nil, false
	}
	return time.Unix(int64(seconds), int64(ms)*1e6).UTC(), serial, b, true
}

// A field is a piece of a record.
type field struct {
	key, value []byte
	quoted     bool // value was between quotes
	cut        bool // the record ends in the middle of it, or may do so
}

// next returns the first field, and what is behind it. Words that are no fields
// belong to the value of the field before them.
func next(b []byte) (f field, rest []byte, ok bool) {
	for {
		b = bytes.TrimLeft(b, " \x1d")
		if len(b) == 0 {
			return f, nil, false
		}
		n := keyLength(b)
		if n > 0 {
			f.key, b = b[:n], b[n+1:]
			break
		}
		b = b[wordLength(b):]
	}
	if len(b) > 0 && b[0] == '"' {
		end := bytes.IndexByte(b[1:], '"')
		f.quoted = true
		if end < 0 {
			f.value, f.cut = b[1:], true
			return f, nil, true
		}
		f.value = b[1 : 1+end]
		return f, b[2+end:], true
	}
	end := wordLength(b)
	for end < len(b) && b[end] == ' ' {
		word := b[end+1:]
		if len(word) == 0 || keyLength(word) > 0 || word[0] == '\x1d' {
			break
		}
		end += 1 + wordLength(word)
	}
	f.value, f.cut = b[:end], end == len(b)
	return f, b[end:], true
}

// keyLength returns the length of the key that b begins with, 0 for none.
func keyLength(b []byte) int {
	for i, c := range b {
		switch {
		case c == '=':
			return i
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return 0
		}
	}
	return 0
}

// wordLength returns the length of the word that b begins with.
func wordLength(b []byte) int {
	for i, c := range b {
		if c == ' ' || c == '\x1d' {
			return i
		}
	}
	return len(b)
}

// untrusted returns the text of a field that somebody else chose, and false for
// one that is cut or was not there (audit_log_untrustedstring(), kernel/audit.c).
func (f field) untrusted() ([]byte, bool) {
	switch {
	case f.quoted:
		return f.value, !f.cut
	case string(f.value) == "(null)":
		return nil, false
	}
	if len(f.value)%2 != 0 || f.cut {
		return nil, false
	}
	text := make([]byte, hex.DecodedLen(len(f.value)))
	if _, err := hex.Decode(text, f.value); err != nil {
		return nil, false
	}
	return text, true
}

// fields parses the fields of a record whose type is set.
func (p *parser) fields(r *Record, b []byte) {
	r.UID, r.AUID, r.Session = NoID, NoID, NoID
	if r.Type == PolicyRule {
		p.rule(r, b)
		return
	}
	complete := false
	for {
		f, rest, ok := next(b)
		if !ok {
			break
		}
		// The last value of a record is whole if it is the last one that there
		// is; of one that is cut it may be a part.
		isLast := len(bytes.TrimLeft(rest, " ")) == 0
		b = rest
		switch key := string(f.key); key {
		case "res":
			r.Result = result(f.value)
			complete = r.Result != Untold
		case "errno":
			r.Errno, _ = strconv.Atoi(string(f.value))
		case "hash":
			if text, ok := f.untrusted(); ok {
				r.Digest, complete = string(text), true
			}
		default:
			if complete || !isLast || f.quoted {
				p.field(r, key, f)
			}
		}
	}
	r.Cut = !complete
}

func result(value []byte) Result {
	switch string(value[:wordLength(value)]) {
	case "0", "no":
		return Failure
	case "1", "yes":
		return Success
	}
	return Untold
}

// field takes one field of a record.
func (p *parser) field(r *Record, key string, f field) {
	switch key {
	case "pid":
		r.PID, _ = strconv.Atoi(string(f.value))
	case "uid":
		r.UID = id(f.value)
	case "auid":
		r.AUID = id(f.value)
	case "ses":
		r.Session = id(f.value)
	case "subj":
		r.Subject = p.text(f.value)
	case "op":
		r.Op = p.text(f.value)
	case "cause":
		r.Cause = p.text(f.value)
	case "ino":
		r.Inode, _ = strconv.ParseUint(string(f.value), 10, 64)
	case "comm", "name", "file", "dev", "xattr":
		text, ok := f.untrusted()
		if !ok {
			return
		}
		switch key {
		case "comm":
			r.Comm = p.text(text)
		case "dev":
			r.Dev = p.text(text)
		case "xattr":
			r.Xattr = p.text(text)
		default:
			r.Name = string(text)
		}
	}
}

// id parses a user id or a session's.
func id(b []byte) uint32 {
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		return NoID
	}
	return uint32(n)
}

// rule takes the fields of a rule of a policy, which are words of it, and
// comparisons among them (ima_log_string_op(), security/integrity/ima/ima_policy.c).
func (p *parser) rule(r *Record, b []byte) {
	rest, after, ok := cutLast(b, " res=")
	if ok {
		r.Result = result(after)
	}
	r.Cut = r.Result == Untold
	rest = bytes.TrimSpace(rest)
	rest = bytes.TrimPrefix(rest, []byte("action="))
	r.Rule = p.text(rest)
}

// cutLast cuts around the last separator.
func cutLast(b []byte, separator string) (before, after []byte, ok bool) {
	i := bytes.LastIndex(b, []byte(separator))
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+len(separator):], true
}
