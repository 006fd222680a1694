package tarfile

import (
	"slices"

	"imaseal/internal/tarfile/pax"
)

// Attr returns the value of an attribute as the file will have it, and false if
// there is none. The value is the caller's. The error is a *pax.AttrError.
func (e *Entry) Attr(name string) (value []byte, ok bool, err error) {
	value, ok, err = e.records.Attr(name)
	if !ok && err == nil {
		value, ok, err = e.global.Attr(name)
	}
	return value, ok, err
}

// Attrs returns the names of the attributes, each once.
func (e *Entry) Attrs() []string {
	names := e.records.Attrs()
	for _, name := range e.global.Attrs() {
		if !e.records.HasAttr(name) {
			names = append(names, name)
		}
	}
	return names
}

// IsRHT reports whether the file's SELinux label is in a form that only GNU tar
// reads, which Edit changes where it writes another attribute.
func (e *Entry) IsRHT() bool { return e.records.IsRHT() }

// HasGlobal reports whether a global header gives the file an owner or attributes,
// which not all tar programs look at.
func (e *Entry) HasGlobal() bool {
	_, uid := e.global.Value("uid")
	_, gid := e.global.Value("gid")
	return uid || gid || len(e.global.Attrs()) > 0
}

// Edit returns the bytes before the content with attributes changed. Of what is
// there, only their records change (see pax.Records.Set), and with them size and
// checksum of the PAX header. A header that has no record left goes; one that is
// needed and is not there is put right before the entry's own.
//
// The error is a *LimitError, or an *UnsupportedError if an attribute comes from
// a global header and cannot be removed.
func (e *Entry) Edit(changes []pax.Change) ([]byte, error) {
	for _, c := range changes {
		if c.New == nil && e.global.HasAttr(c.Attr) {
			return nil, &UnsupportedError{What: "removing " + c.Attr + ", which a global header gives to all files,"}
		}
	}
	records, err := e.records.Set(changes)
	if err != nil {
		return nil, err
	}
	size := int64(len(records))
	if size > maxMeta {
		return nil, &LimitError{What: "a PAX header", Size: size, Max: maxMeta}
	}
	before, after := e.head[:e.main], e.head[e.main:]
	if e.pax >= 0 {
		before, after = e.head[:e.pax], e.head[e.pax+BlockSize+int(pad(int64(len(e.records)))):]
	}
	if size == 0 {
		return slices.Concat(before, after), nil
	}
	head := append(make([]byte, 0, int64(len(before)+BlockSize+len(after))+pad(size)), before...)
	signed := false
	if e.pax >= 0 {
		head = append(head, e.head[e.pax:e.pax+BlockSize]...)
		signed = isSigned(head[len(before):])
	} else {
		head = appendHeader(head, e.Name)
	}
	header := head[len(before):]
	fieldSize.setNumber(header, size)
	setSum(header, signed)
	head = append(head, records...)
	head = append(head, zeroBlock[:pad(size)-size]...)
	return append(head, after...), nil
}
