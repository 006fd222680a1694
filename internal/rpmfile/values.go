package rpmfile

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// find returns the entry of a tag, nil for none.
func (h *header) find(tag uint32) *entry {
	i := slices.IndexFunc(h.entries, func(e entry) bool { return e.tag == tag })
	if i < 0 {
		return nil
	}
	return &h.entries[i]
}

// of returns the entry of a tag, which must be there once and of a type; nil for
// none.
func (h *header) of(tag uint32, kinds ...uint32) (*entry, error) {
	e := h.find(tag)
	switch {
	case e == nil:
		return nil, nil
	case e.isTwice:
		return nil, h.error(tag, errTwice)
	case !slices.Contains(kinds, e.kind):
		return nil, h.error(tag, errType)
	}
	return e, nil
}

// text returns the string of a tag, empty for none.
func (h *header) text(tag uint32) (string, error) {
	e, err := h.of(tag, typeString)
	if e == nil {
		return "", err
	}
	return string(e.data[:len(e.data)-1]), nil
}

// strings returns those of a tag, nil for none.
func (h *header) strings(tag uint32) ([]string, error) {
	e, err := h.of(tag, typeStrings)
	if e == nil {
		return nil, err
	}
	all := make([]string, 0, e.count)
	for rest := e.data; len(rest) > 0; {
		i := bytes.IndexByte(rest, 0)
		all = append(all, string(rest[:i]))
		rest = rest[i+1:]
	}
	return all, nil
}

// numbers returns those of a tag of one type, nil for none.
func (h *header) numbers(tag, kind uint32) ([]uint64, error) {
	e, err := h.of(tag, kind)
	if e == nil {
		return nil, err
	}
	all := make([]uint64, e.count)
	for i := range all {
		switch kind {
		case typeInt16:
			all[i] = uint64(binary.BigEndian.Uint16(e.data[2*i:]))
		case typeInt32:
			all[i] = uint64(binary.BigEndian.Uint32(e.data[4*i:]))
		case typeInt64:
			all[i] = binary.BigEndian.Uint64(e.data[8*i:])
		}
	}
	return all, nil
}

// number returns that of a tag of 32 bits, 0 for none.
func (h *header) number(tag uint32) (uint64, error) {
	all, err := h.numbers(tag, typeInt32)
	switch {
	case err != nil || all == nil:
		return 0, err
	case len(all) != 1:
		return 0, h.error(tag, errCount)
	}
	return all[0], nil
}

// insert puts an entry where it belongs among sorted ones.
func insert(entries []entry, e entry) []entry {
	i := slices.IndexFunc(entries, func(other entry) bool { return other.tag > e.tag })
	if i < 0 {
		i = len(entries)
	}
	return slices.Insert(entries, i, e)
}

// dataSize is the size of the data of entries, with that of the region.
func dataSize(entries []entry) int64 {
	n := 0
	for _, e := range entries {
		n += int(padding(n, sizes[e.kind])) + len(e.data)
	}
	return int64(n) + entrySize
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// encode returns the signature header with these entries, and its padding, as rpm
// writes it (headerExport in lib/header.cc, rpmWriteSignature in
// lib/signature.cc).
func (h *header) encode(entries []entry) []byte {
	be := binary.BigEndian
	index := make([]byte, 0, (len(entries)+1)*entrySize)
	put := func(b []byte, tag, kind, at, count uint32) []byte {
		for _, n := range []uint32{tag, kind, at, count} {
			b = be.AppendUint32(b, n)
		}
		return b
	}
	size := dataSize(entries)
	index = put(index, h.region, typeBinary, uint32(size-entrySize), entrySize)
	data := make([]byte, 0, size)
	for _, e := range entries {
		data = append(data, make([]byte, padding(len(data), sizes[e.kind]))...)
		index = put(index, e.tag, e.kind, uint32(len(data)), e.count)
		data = append(data, e.data...)
	}
	data = put(data, h.trailer, typeBinary, uint32(-cap(index)), entrySize)
	b := slices.Clone(headerMagic)
	b = be.AppendUint32(b, uint32(len(entries)+1))
	b = be.AppendUint32(b, uint32(size))
	b = append(append(b, index...), data...)
	return append(b, make([]byte, padding(len(b), sigAlign))...)
}
