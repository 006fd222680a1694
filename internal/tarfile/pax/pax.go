// Package pax reads and changes the records of PAX headers in tar archives, each
// of the form "LENGTH KEY=VALUE\n", where LENGTH counts all of it in bytes, as a
// decimal number (POSIX.1-2017, pax, "pax Extended Header"). What is not changed
// keeps its order and its bytes.
package pax

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Records are the body of a PAX header. What the methods return shares its
// memory. All but Check need records that Check has passed.
type Records []byte

// A Record is one of them.
type Record struct {
	Raw        []byte // with the length and the newline
	Key, Value []byte
}

// A RecordError says that a body is not one of records.
type RecordError struct {
	At  int // in the body, in bytes
	Why string
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("PAX record at byte %d %s", e.At, e.Why)
}

// Check returns a *RecordError if these are no records.
func (b Records) Check() error {
	for rest := b; len(rest) > 0; {
		_, next, why := rest.cut()
		if why != "" {
			return &RecordError{At: len(b) - len(rest), Why: why}
		}
		rest = next
	}
	return nil
}

// cut returns the first record, and what is wrong with it, if something is.
func (b Records) cut() (r Record, rest Records, why string) {
	digits, _, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return r, nil, "has no length"
	}
	n, err := strconv.ParseUint(string(digits), 10, 31)
	if err != nil || int(n) > len(b) || int(n) < len(digits)+len(" k=\n") {
		return r, nil, "has a wrong length"
	}
	raw := b[:n]
	if raw[n-1] != '\n' {
		return r, nil, "does not end where its length says"
	}
	key, value, ok := bytes.Cut(raw[len(digits)+1:n-1], []byte{'='})
	if !ok || len(key) == 0 || bytes.IndexByte(key, 0) >= 0 {
		return r, nil, "has no key"
	}
	return Record{Raw: raw, Key: key, Value: value}, b[n:], ""
}

// All goes through the records.
func (b Records) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for len(b) > 0 {
			r, rest, _ := b.cut()
			if !yield(r) {
				return
			}
			b = rest
		}
	}
}

// Append appends a record.
func Append(b Records, key string, value []byte) Records {
	rest := len(" =\n") + len(key) + len(value)
	n := rest
	for n != rest+len(strconv.Itoa(n)) { // the length counts its own digits
		n = rest + len(strconv.Itoa(n))
	}
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

// Value returns the value of a key: the last, if there are several.
func (b Records) Value(key string) (value []byte, ok bool) {
	for r := range b.All() {
		if string(r.Key) == key {
			value, ok = r.Value, true
		}
	}
	return value, ok
}

// HasPrefix returns a key that begins so, if there is one.
func (b Records) HasPrefix(prefix string) (key string, ok bool) {
	for r := range b.All() {
		if strings.HasPrefix(string(r.Key), prefix) {
			return string(r.Key), true
		}
	}
	return "", false
}

// Under returns the records of both: those of b whose keys other does not have,
// and other's.
func (b Records) Under(other Records) Records {
	has := make(map[string]bool)
	for r := range other.All() {
		has[string(r.Key)] = true
	}
	var merged Records
	for r := range b.All() {
		if !has[string(r.Key)] {
			merged = append(merged, r.Raw...)
		}
	}
	return append(merged, other...)
}
