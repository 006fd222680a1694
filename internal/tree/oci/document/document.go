// Package document changes JSON documents of images: manifests, configurations,
// indexes. Bytes in, bytes out.
//
// Each of them names others by their digests, so that a layer that changes makes
// all above it anew. Tools and users put members into them that no library knows,
// and of which digests are made as of the others: what is not changed stays as it
// is, byte for byte, with its order and its blanks.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxValues bounds the memory that a document takes: a manifest has some
	// dozens of values, a configuration hundreds.
	maxValues = 100_000
	maxDepth  = 64
)

// A Document is a JSON document, and what is to be changed in it.
type Document struct {
	raw  []byte
	root value
}

// A value is a JSON value, and what takes its place.
type value struct {
	start, end int  // in the document
	first      byte // of its text
	members    []member
	items      []value
	text       []byte // instead of what is there; nil for nothing
}

// A member is one of an object.
type member struct {
	start   int // in the document, -1 if it is not there
	name    string
	rename  string // "" for none
	removed bool
	value   value
}

// A SyntaxError says that something is no document, or not one that all programs
// read in the same way.
type SyntaxError struct {
	Offset int64
	Err    error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at offset %d: %v", e.Offset, e.Err) }
func (e *SyntaxError) Unwrap() error { return e.Err }

// Errors of documents.
var (
	errDepth  = errors.New("it is nested deeper than any document of an image")
	errValues = errors.New("it has more values than any document of an image")
	errBehind = errors.New("something stands behind the document")
)

// A TwiceError says that an object has two members of a name, of which some programs
// read the first and some the last.
type TwiceError struct{ Name string }

func (e *TwiceError) Error() string { return fmt.Sprintf("the name %q is there twice", e.Name) }

// Parse reads a document, which is not to be changed as long as this one is in use.
// The error is a *SyntaxError.
func Parse(raw []byte) (*Document, error) {
	p := parser{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw))}
	p.dec.UseNumber()
	root, err := p.value(0)
	if err == nil {
		if _, behind := p.dec.Token(); behind != io.EOF {
			err = errBehind
		}
	}
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, &SyntaxError{p.dec.InputOffset(), err}
	}
	return &Document{raw, root}, nil
}

type parser struct {
	raw    []byte
	dec    *json.Decoder
	values int
}

// next returns where the next token begins.
func (p *parser) next() int {
	at := int(p.dec.InputOffset())
	for at < len(p.raw) && strings.IndexByte(" \t\r\n,:", p.raw[at]) >= 0 {
		at++
	}
	return at
}

func (p *parser) value(depth int) (value, error) {
	if p.values++; p.values > maxValues {
		return value{}, errValues
	}
	v := value{start: p.next()}
	token, err := p.dec.Token()
	if err != nil {
		return v, err
	}
	v.first = p.raw[v.start]
	if delim, ok := token.(json.Delim); ok {
		if depth == maxDepth {
			return v, errDepth
		}
		if delim == '{' {
			err = p.object(&v, depth+1)
		} else {
			err = p.array(&v, depth+1)
		}
	}
	v.end = int(p.dec.InputOffset())
	return v, err
}

func (p *parser) object(v *value, depth int) error {
	for p.dec.More() {
		m := member{start: p.next()}
		name, err := p.dec.Token()
		if err != nil {
			return err
		}
		m.name, _ = name.(string)
		if m.value, err = p.value(depth); err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	if _, err := p.dec.Token(); err != nil {
		return err
	}
	var names []string
	for _, m := range v.members {
		names = append(names, m.name)
	}
	slices.Sort(names)
	for i := range len(names) - 1 {
		if names[i] == names[i+1] {
			return &TwiceError{names[i]}
		}
	}
	return nil
}

func (p *parser) array(v *value, depth int) error {
	for p.dec.More() {
		item, err := p.value(depth)
		if err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	_, err := p.dec.Token()
	return err
}

// find returns the value at a path of names and numbers, nil if there is none.
func (d *Document) find(path []any) *value {
	v := &d.root
	for _, step := range path {
		switch step := step.(type) {
		case int:
			if step >= len(v.items) {
				return nil
			}
			v = &v.items[step]
		case string:
			i := v.index(step)
			if i < 0 {
				return nil
			}
			v = &v.members[i].value
		}
	}
	return v
}

func (v *value) index(name string) int {
	return slices.IndexFunc(v.members, func(m member) bool { return !m.removed && m.name == name })
}

// A MismatchError says that a document does not have what was read from it, at the
// place where it should: it spells the name in another case.
type MismatchError struct{ Path string }

func (e *MismatchError) Error() string {
	return e.Path + " is not what was read there: its name may be there in upper and lower case"
}

func spell(path []any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(step) + "]")
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// Replace puts new where old is, or returns a *MismatchError if that is not there.
func (d *Document) Replace(old, new any, path ...any) error {
	v := d.find(path)
	if v == nil {
		return &MismatchError{spell(path)}
	}
	var is, want any
	if json.Unmarshal(d.raw[v.start:v.end], &is) != nil || json.Unmarshal(text(old), &want) != nil || is != want {
		return &MismatchError{spell(path)}
	}
	v.text = text(new)
	return nil
}

// Put puts a value at a path: a member is added to an object that has none of the
// name. The error is a *MismatchError if there is no such object.
func (d *Document) Put(new any, path ...any) error {
	if v := d.find(path); v != nil {
		v.text = text(new)
		return nil
	}
	last := len(path) - 1
	parent := d.find(path[:last])
	name, ok := path[last].(string)
	if !ok || parent == nil || parent.first != '{' {
		return &MismatchError{spell(path)}
	}
	parent.members = append(parent.members, member{start: -1, name: name, value: value{text: text(new)}})
	return nil
}

// Remove removes a member of an object, if it is there.
func (d *Document) Remove(path ...any) {
	last := len(path) - 1
	if parent := d.find(path[:last]); parent != nil {
		if i := parent.index(path[last].(string)); i >= 0 {
			parent.members[i].removed = true
		}
	}
}

// Rename gives a member of an object another name, if it is there.
func (d *Document) Rename(name string, path ...any) {
	last := len(path) - 1
	if parent := d.find(path[:last]); parent != nil {
		if i := parent.index(path[last].(string)); i >= 0 {
			parent.members[i].rename = name
		}
	}
}

// Names returns the names of the members of an object; none if there is no object.
func (d *Document) Names(path ...any) []string {
	var names []string
	if v := d.find(path); v != nil {
		for _, m := range v.members {
			if !m.removed {
				names = append(names, m.name)
			}
		}
	}
	return names
}

// Has reports whether there is something at a path.
func (d *Document) Has(path ...any) bool { return d.find(path) != nil }

// text returns a value as JSON.
func text(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // of no value that is put here: strings, numbers, and maps of them
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Bytes returns the document with all changes.
func (d *Document) Bytes() []byte {
	out := append([]byte{}, d.raw[:d.root.start]...)
	out = d.append(out, &d.root)
	return append(out, d.raw[d.root.end:]...)
}

func (d *Document) append(out []byte, v *value) []byte {
	switch {
	case v.text != nil:
		return append(out, v.text...)
	case v.members != nil:
		return d.appendObject(out, v)
	}
	at := v.start
	for i := range v.items {
		out = append(out, d.raw[at:v.items[i].start]...)
		out = d.append(out, &v.items[i])
		at = v.items[i].end
	}
	return append(out, d.raw[at:v.end]...)
}

func (d *Document) appendObject(out []byte, v *value) []byte {
	out = append(out, d.raw[v.start])
	at, first := v.start+1, true // at is behind the member before, first says that none is left
	var lead []byte              // what stands before the first member
	for i := range v.members {
		m := &v.members[i]
		separator := []byte(",")
		if m.start >= 0 {
			if separator = d.raw[at:m.start]; i == 0 {
				lead = separator
			}
			at = m.value.end
		}
		if m.removed {
			continue
		}
		if first {
			separator, first = lead, false
		}
		out = append(out, separator...)
		switch {
		case m.rename != "":
			out = append(append(out, text(m.rename)...), ':')
		case m.start < 0:
			out = append(append(out, text(m.name)...), ':')
		default:
			out = append(out, d.raw[m.start:m.value.start]...)
		}
		out = d.append(out, &m.value)
	}
	return append(out, d.raw[at:v.end]...)
}
