package rpmfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Types of data. Those without a size are strings.
const (
	typeInt16   = 3
	typeInt32   = 4
	typeInt64   = 5
	typeString  = 6
	typeBinary  = 7
	typeStrings = 8
	typeI18N    = 9
)

// sizes are those of a value of each type, and what offsets are multiples of.
var sizes = [...]int{0: 0, 1: 1, 2: 1, typeInt16: 2, typeInt32: 4, typeInt64: 8, typeString: 0, typeBinary: 1, typeStrings: 0, typeI18N: 0}

const (
	introSize = 16
	entrySize = 16
	// firstTag is the least that is not the one of a region.
	firstTag = 100
	// maxArray is how many values an entry may have that is no binary one: rpm's
	// HEADER_ARRAY_MAX.
	maxArray = 0xfffff
	// sigAlign is what the size of the signature header is padded to.
	sigAlign = 8
)

var headerMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}

// A part is one of the two headers, and what rpm bounds it by.
type part struct {
	name    string
	region  uint32
	maxTags int
	maxData int64
}

var (
	signatureHeader = part{"signature header", tagSignatures, 32, 64 << 20}
	mainHeader      = part{"header", 63, 0xffff, 0x0fffffff}
)

// A FormatError says where a package is damaged.
type FormatError struct {
	Part   string
	Offset int64  // in the package
	Tag    uint32 // 0 for none
	Err    error
}

func (e *FormatError) Error() string {
	tag := ""
	if e.Tag != 0 {
		tag = fmt.Sprintf("tag %d ", e.Tag)
	}
	return fmt.Sprintf("%s: %sat offset %d: %v", e.Part, tag, e.Offset, e.Err)
}
func (e *FormatError) Unwrap() error { return e.Err }

// What can be wrong with a header.
var (
	errMagic    = errors.New("no header begins here")
	errTags     = errors.New("more entries than rpm takes, or none")
	errData     = errors.New("more data than rpm takes")
	errNoRegion = errors.New("the first entry is not that of the region")
	errRegion   = errors.New("the region is not the header's")
	errTrailer  = errors.New("the region's trailer is none")
	errTag      = errors.New("no such tag")
	errType     = errors.New("no such type, or not that of this tag")
	errCount    = errors.New("a count that cannot be")
	errAlign    = errors.New("the offset is no multiple of the size")
	errOverlap  = errors.New("the data begin before the end of the entry before, or overlap the trailer")
	errOutside  = errors.New("the data are not within the header")
	errTwice    = errors.New("it is there twice")
	errUnsorted = errors.New("tags are not sorted, as they must be in format 6")
	errPadding  = errors.New("the padding is not of zeros")
)

// An entry is one of an index, with its data.
type entry struct {
	tag, kind, count uint32
	data             []byte
	isTwice          bool // another one has the tag, too
}

// A header is one of the two.
type header struct {
	part
	at      int64   // in the package
	entries []entry // but that of the region
	trailer uint32  // the tag in that
	raw     []byte  // all of it but the padding
}

// error says what is wrong with a tag, at its place in the index.
func (h *header) error(tag uint32, err error) error {
	at := h.at
	for i := introSize; i+entrySize <= len(h.raw); i += entrySize {
		if binary.BigEndian.Uint32(h.raw[i:]) == tag {
			at += int64(i)
			break
		}
	}
	return &FormatError{Part: h.name, Offset: at, Tag: tag, Err: err}
}

// end is the offset of what comes behind it.
func (h *header) end() int64 {
	end := h.at + int64(len(h.raw))
	if h.region == tagSignatures {
		end += padding(len(h.raw), sigAlign)
	}
	return end
}

// padding is how many bytes an offset is short of a multiple.
func padding(n, of int) int64 {
	if of < 2 {
		return 0
	}
	return int64((of - n%of) % of)
}

// readHeader reads the header at an offset of a package that has so many bytes.
func readHeader(r io.ReaderAt, at, size int64, p part) (*header, error) {
	h := &header{part: p, at: at}
	var intro [introSize]byte
	if err := read(r, intro[:], at); err != nil {
		return nil, h.cut(err)
	}
	if !bytes.Equal(intro[:8], headerMagic) {
		return nil, &FormatError{Part: p.name, Offset: at, Err: errMagic}
	}
	tags, data := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	switch {
	case tags < 1 || int64(tags) > int64(p.maxTags):
		return nil, &FormatError{Part: p.name, Offset: at + 8, Err: errTags}
	case int64(data) > p.maxData:
		return nil, &FormatError{Part: p.name, Offset: at + 12, Err: errData}
	}
	all := introSize + int64(tags)*entrySize + int64(data)
	if all > size-at {
		return nil, h.cut(io.ErrUnexpectedEOF)
	}
	h.raw = make([]byte, all)
	if err := read(r, h.raw, at); err != nil {
		return nil, h.cut(err)
	}
	if h.end() > size {
		return nil, h.cut(io.ErrUnexpectedEOF)
	}
	return h, h.parse(int(tags))
}

// read fills b; less is io.ErrUnexpectedEOF.
func read(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// cut says that the package ends within the header; other errors are the reader's.
func (h *header) cut(err error) error {
	if err == io.ErrUnexpectedEOF {
		return &FormatError{Part: h.name, Offset: h.at, Err: err}
	}
	return err
}

// parse takes the index apart, as strictly as rpm does (hdrblobVerifyRegion and
// hdrblobVerifyInfo in lib/header.cc).
func (h *header) parse(tags int) error {
	index, data := h.raw[introSize:introSize+tags*entrySize], h.raw[introSize+tags*entrySize:]
	own, trailer, err := h.parseRegion(index, data)
	if err != nil {
		return err
	}
	end := 0
	for i := entrySize; i < len(index); i += entrySize {
		e, at := parseEntry(index[i:])
		most := data
		if int64(at) < int64(trailer)+entrySize {
			most = data[:trailer]
		}
		n, err := e.check(most, int64(at), end)
		if err != nil {
			return &FormatError{Part: h.name, Offset: h.at + introSize + int64(i), Tag: e.tag, Err: err}
		}
		e.data = data[at : int(at)+n]
		end = int(at) + n
		h.add(e, i >= own)
	}
	return nil
}

// add adds an entry. One behind the region replaces what is there, and makes that
// entries are sorted, as rpm does when it reads them.
func (h *header) add(e entry, isBehind bool) {
	if !isBehind {
		if first := h.find(e.tag); first != nil {
			first.isTwice = true
		}
		h.entries = append(h.entries, e)
		return
	}
	h.entries = slices.DeleteFunc(h.entries, func(old entry) bool { return old.tag == e.tag })
	h.entries = append(h.entries, e)
	slices.SortStableFunc(h.entries, func(a, b entry) int { return cmp.Compare(a.tag, b.tag) })
}

// parseRegion checks the first entry, and returns the size of the region's index,
// and the offset of the trailer in the data. That of the signature header may have
// entries behind it, which programs left that add signatures.
func (h *header) parseRegion(index, data []byte) (own, trailer int, err error) {
	region, at := parseEntry(index)
	fail := func(offset int, err error) (int, int, error) {
		return 0, 0, &FormatError{Part: h.name, Offset: h.at + int64(offset), Tag: region.tag, Err: err}
	}
	switch {
	case region.tag != h.region:
		if h.region == mainHeader.region || region.tag >= firstTag {
			return 0, 0, ErrFormat3
		}
		return fail(introSize, errNoRegion)
	case region.kind != typeBinary:
		return fail(introSize, errType)
	case region.count != entrySize:
		return fail(introSize, errCount)
	case int64(at)+entrySize > int64(len(data)):
		return fail(introSize, errOutside)
	}
	inPart := introSize + len(index) + int(at)
	t, back := parseEntry(data[at:])
	isOld := h.region == tagSignatures && t.tag == tagImage
	size := -int64(int32(back))
	isWhole := size == int64(len(index)) && int(at)+entrySize == len(data)
	switch {
	case t.tag != h.region && !isOld, t.kind != typeBinary, t.count != entrySize:
		return fail(inPart, errTrailer)
	case size < entrySize, size%entrySize != 0, size > int64(len(index)), h.region != tagSignatures && !isWhole:
		return fail(inPart, errRegion)
	}
	h.trailer = t.tag
	return int(size), int(at), nil
}

func parseEntry(b []byte) (e entry, at uint32) {
	be := binary.BigEndian
	return entry{tag: be.Uint32(b), kind: be.Uint32(b[4:]), count: be.Uint32(b[12:])}, be.Uint32(b[8:])
}

// check returns the size of the data at an offset, which must not begin before the
// end of the entry before.
func (e entry) check(data []byte, at int64, before int) (int, error) {
	switch {
	case e.tag < firstTag || int32(e.tag) < 0:
		return 0, errTag
	case e.kind == 0 || e.kind >= uint32(len(sizes)):
		return 0, errType
	case e.count < 1, e.kind != typeBinary && e.count > maxArray, e.kind == typeString && e.count != 1:
		return 0, errCount
	case at > int64(len(data)):
		return 0, errOutside
	case at < int64(before):
		return 0, errOverlap
	}
	if size := sizes[e.kind]; size > 0 {
		n := int64(e.count) * int64(size)
		switch {
		case at%int64(size) != 0:
			return 0, errAlign
		case n > int64(len(data))-at:
			return 0, errOutside
		}
		return int(n), nil
	}
	n := 0
	for range e.count {
		i := bytes.IndexByte(data[int(at)+n:], 0)
		if i < 0 {
			return 0, errOutside
		}
		n += i + 1
	}
	return n, nil
}

// checkFormat6 checks what is demanded of the signature header there. Tags above 999
// are not allowed either, and are behind the others where some program has put one;
// rpm ignores these, and so are they left alone here.
func (h *header) checkFormat6() error {
	last := uint32(0)
	for _, e := range h.entries {
		switch {
		case e.tag == last:
			return h.error(e.tag, errTwice)
		case e.tag < last:
			return h.error(e.tag, errUnsorted)
		}
		last = e.tag
	}
	return nil
}
