package pax

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

const (
	prefixSchily     = "SCHILY.xattr."
	prefixLibarchive = "LIBARCHIVE.xattr."
	// keySELinux is what GNU tar --selinux writes.
	keySELinux  = "RHT.security.selinux"
	attrSELinux = "security.selinux"
)

// A form is how a record holds an attribute.
type form uint8

const (
	noAttr form = iota
	schily
	libarchive
	selinux
)

// An AttrError says that an attribute's value cannot be told from the records.
type AttrError struct{ Attr, Why string }

func (e *AttrError) Error() string { return "the records of " + e.Attr + " " + e.Why }

// attr returns the name of the attribute that a record holds.
func (r Record) attr() (name string, f form) {
	switch key := string(r.Key); {
	case strings.HasPrefix(key, prefixSchily):
		return key[len(prefixSchily):], schily
	case strings.HasPrefix(key, prefixLibarchive):
		name := key[len(prefixLibarchive):]
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		return name, libarchive
	case key == keySELinux:
		return attrSELinux, selinux
	}
	return "", noAttr
}

// Attr returns the value of an attribute as the file will have it, and false if
// there is none. The value is the caller's. The error is an *AttrError.
func (b Records) Attr(name string) (value []byte, ok bool, err error) {
	var values [selinux + 1][]byte
	var has [selinux + 1]bool
	for r := range b.All() {
		if found, f := r.attr(); f != noAttr && found == name {
			values[f], has[f] = r.Value, true
		}
	}
	switch {
	case has[libarchive]:
		value, err := decode(values[libarchive])
		if err != nil {
			return nil, false, &AttrError{Attr: name, Why: "are no base64"}
		}
		if has[schily] && !bytes.Equal(value, values[schily]) {
			return nil, false, &AttrError{Attr: name, Why: "say different values, in the forms SCHILY and LIBARCHIVE"}
		}
		return value, true, nil
	case has[schily]:
		return append([]byte{}, values[schily]...), true, nil
	case has[selinux]:
		return terminated(values[selinux]), true, nil
	}
	return nil, false, nil
}

// decode decodes base64, which libarchive writes without padding.
func decode(b []byte) ([]byte, error) {
	return base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(string(b), "="))
}

// terminated returns a SELinux label as the kernel stores it, with a zero byte.
func terminated(text []byte) []byte {
	return append(bytes.TrimRight(bytes.Clone(text), "\x00"), 0)
}

// Attrs returns the names of the attributes, each once.
func (b Records) Attrs() []string {
	var names []string
	var seen map[string]bool // there may be very many
	for r := range b.All() {
		name, f := r.attr()
		if f == noAttr || seen[name] {
			continue
		}
		if seen == nil {
			seen = make(map[string]bool)
		}
		seen[name] = true
		names = append(names, name)
	}
	return names
}

// HasAttr reports whether a record holds the attribute.
func (b Records) HasAttr(name string) bool {
	for r := range b.All() {
		if found, f := r.attr(); f != noAttr && found == name {
			return true
		}
	}
	return false
}

// IsRHT reports whether the SELinux label is in the form that only GNU tar reads.
func (b Records) IsRHT() bool {
	is := false
	for r := range b.All() {
		switch name, f := r.attr(); {
		case f == selinux:
			is = true
		case name == attrSELinux:
			return false
		}
	}
	return is
}

// A Change gives an attribute another value; nil is no attribute.
type Change struct {
	Attr string
	New  []byte
}

// Set returns records with attributes changed. A value is written in the form
// SCHILY, in the place of the record that it replaces, or behind all others.
// Where one is written, a SELinux label of the form that GNU tar alone reads
// gets the form SCHILY, too.
func (b Records) Set(changes []Change) (Records, error) {
	if b.IsRHT() && slices.ContainsFunc(changes, func(c Change) bool { return c.New != nil }) &&
		!slices.ContainsFunc(changes, func(c Change) bool { return c.Attr == attrSELinux }) {
		label, _, err := b.Attr(attrSELinux)
		if err != nil {
			return nil, err
		}
		changes = append(slices.Clip(changes), Change{Attr: attrSELinux, New: label})
	}
	var out Records
	done := make([]bool, len(changes))
	for r := range b.All() {
		name, f := r.attr()
		i := slices.IndexFunc(changes, func(c Change) bool { return f != noAttr && c.Attr == name })
		if i < 0 {
			out = append(out, r.Raw...)
			continue
		}
		if c := changes[i]; c.New != nil && !done[i] {
			out = Append(out, prefixSchily+c.Attr, c.New)
		}
		done[i] = true
	}
	for i, c := range changes {
		if c.New != nil && !done[i] {
			out = Append(out, prefixSchily+c.Attr, c.New)
		}
	}
	return out, nil
}
