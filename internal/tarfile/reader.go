package tarfile

import (
	"errors"
	"io"

	"imaseal/internal/tarfile/pax"
)

// An Input is what an archive is read from.
type Input interface {
	io.Reader
	// Skip goes n bytes further. The error is io.ErrUnexpectedEOF if there
	// are not so many.
	Skip(n int64) error
}

// A Reader reads an archive from its beginning: entries, and the content of each
// behind it. It belongs to one goroutine.
type Reader struct {
	in     Input
	off    int64 // of what is read next
	block  [BlockSize]byte
	have   int         // bytes in block that are not taken yet
	global pax.Records // of the global headers so far

	entry *Entry // the last one
	left  int64  // of its content and padding
	zeros bool   // a zero block came since the last entry
	ended bool   // the end was there, since the last entry
	after bool   // the end was there at all
}

// NewReader returns a Reader.
func NewReader(in Input) *Reader { return &Reader{in: in} }

// Offset returns where what is read next stands, in bytes: behind an entry's
// headers, where its content begins.
func (r *Reader) Offset() int64 { return r.off }

// Read reads the content of the last entry, and then its padding.
func (r *Reader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(b[:min(int64(len(b)), r.left)])
	r.off += int64(n)
	r.left -= int64(n)
	if err == io.EOF {
		err = nil
		if r.left > 0 {
			err = r.truncated("in the content")
		}
	}
	return n, err
}

// skip goes over what was not read of the last entry's content.
func (r *Reader) skip() error {
	if r.left == 0 {
		return nil
	}
	err := r.in.Skip(r.left)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.truncated("in the content")
	}
	r.off += r.left
	r.left = 0
	return err
}

func (r *Reader) truncated(where string) error {
	return &FormatError{Entry: r.entry.Name, Offset: r.entry.Offset, Err: &TruncatedError{What: where}}
}

// Next returns the next entry. The error is io.EOF at the end of a whole archive,
// a *FormatError, or one of the input. The entry shares no memory with others but
// the records of global headers, which do not change.
//
// What stands behind the end of the archive is read on: GNU tar
// --ignore-zeros, and what was made by joining archives, has entries there.
func (r *Reader) Next() (*Entry, error) {
	if err := r.skip(); err != nil {
		return nil, err
	}
	e := &Entry{Offset: r.off, pax: -1, global: r.global, AfterEnd: r.after}
	r.entry = e
	n, err := r.fill()
	switch {
	case err != nil:
		return nil, err
	case n < BlockSize && r.ended && n > 0:
		e.Kind, e.head = Rest, r.take(nil)
		return e, nil
	case n == 0 && r.ended:
		return nil, io.EOF
	case n < BlockSize && n > 0:
		return nil, e.fail(&TruncatedError{What: "in a header"})
	case n == 0 && r.zeros:
		return nil, e.fail(&TruncatedError{What: "after one block of zeros, and two end an archive", NoEnd: true})
	case n == 0:
		return nil, e.fail(&TruncatedError{What: "without the two blocks of zeros that end one", NoEnd: true})
	case isZero(r.block[:]):
		return e, r.zeroBlocks(e)
	}
	if err := checkSum(r.block[:]); err != nil {
		if !r.ended {
			return nil, e.fail(err)
		}
		return e, r.rest(e)
	}
	if err := r.headers(e); err != nil {
		return nil, err
	}
	r.left = e.Padded()
	r.zeros, r.ended = false, false
	return e, nil
}

func (e *Entry) fail(err error) error {
	if _, ok := errors.AsType[*FormatError](err); ok {
		return err
	}
	return &FormatError{Entry: e.Name, Offset: e.Offset, Err: err}
}

// fill reads a block, or what there is of it, and returns its size.
func (r *Reader) fill() (int, error) {
	if r.have > 0 {
		return r.have, nil
	}
	n, err := io.ReadFull(r.in, r.block[:])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	r.have = n
	return n, err
}

// take appends the bytes that fill has read, and moves on.
func (r *Reader) take(b []byte) []byte {
	b = append(b, r.block[:r.have]...)
	r.off += int64(r.have)
	r.have = 0
	return b
}

// zeroBlocks reads blocks of zeros to the last.
func (r *Reader) zeroBlocks(e *Entry) error {
	e.Kind = Zeros
	for {
		n, err := r.fill()
		if err != nil {
			return err
		}
		if n < BlockSize || !isZero(r.block[:]) {
			r.ended = r.ended || e.Stored > BlockSize || r.zeros
			r.zeros, r.after = true, true
			return nil
		}
		r.have = 0
		r.off += BlockSize
		e.Stored += BlockSize
	}
}

// restSize is how much of what is no entry is read at a time.
const restSize = 64 << 10

// rest reads blocks that are neither zeros nor headers.
func (r *Reader) rest(e *Entry) error {
	e.Kind = Rest
	for len(e.head) < restSize {
		n, err := r.fill()
		if err != nil {
			return err
		}
		if n == 0 || n == BlockSize && (isZero(r.block[:]) || checkSum(r.block[:]) == nil) {
			return nil
		}
		e.head = r.take(e.head)
	}
	return nil
}

// headers reads all headers of an entry.
func (r *Reader) headers(e *Entry) error {
	var longName, longLink []byte
	for {
		block := r.block[:]
		switch block[typeAt] {
		case 'x', 'X', 'g', 'L', 'K':
		default:
			return r.ownHeader(e, longName, longLink)
		}
		at := len(e.head)
		body, err := r.meta(e)
		if err != nil {
			return e.fail(err)
		}
		twice := false
		switch typ := e.head[at+typeAt]; typ {
		case 'x':
			if twice = e.pax >= 0; !twice {
				e.pax, e.records = at, body
				err = e.records.Check()
			}
		case 'g':
			return r.globalHeader(e, at, body)
		case 'L':
			twice, longName = longName != nil, body
		case 'K':
			twice, longLink = longLink != nil, body
		default:
			err = &UnsupportedError{What: "a PAX header of Solaris (type X)"}
		}
		if twice {
			err = &UnsupportedError{What: "more than one header of type " + string(rune(e.head[at+typeAt])) + " before one entry"}
		}
		if err != nil {
			return e.fail(err)
		}
		if err := r.nextHeader(e); err != nil {
			return err
		}
	}
}

// nextHeader fills the block with a header that must come.
func (r *Reader) nextHeader(e *Entry) error {
	n, err := r.fill()
	switch {
	case err != nil:
		return err
	case n < BlockSize:
		return e.fail(&TruncatedError{What: "in the headers of an entry"})
	case isZero(r.block[:]):
		return e.fail(&TruncatedError{What: "after a header that belongs to an entry"})
	}
	if err := checkSum(r.block[:]); err != nil {
		return e.fail(err)
	}
	return nil
}

// meta reads a header of an entry's header and its body, whose last byte is that
// of the padding, and returns the body.
func (r *Reader) meta(e *Entry) ([]byte, error) {
	size, err := fieldSize.number(r.block[:])
	switch {
	case err != nil:
		return nil, err
	case size > maxMeta:
		return nil, &LimitError{What: "a header of type " + string(rune(r.block[typeAt])), Size: size, Max: maxMeta}
	}
	at := len(e.head) + BlockSize
	e.head = r.take(e.head)
	e.head = append(e.head, make([]byte, pad(size))...)
	n, err := io.ReadFull(r.in, e.head[at:])
	r.off += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = &TruncatedError{What: "in a header"}
	}
	return e.head[at : at+int(size) : at+int(size)], err
}

func (r *Reader) globalHeader(e *Entry, at int, body pax.Records) error {
	if at > 0 {
		return e.fail(&UnsupportedError{What: "a global header between an entry and its PAX header"})
	}
	if err := body.Check(); err != nil {
		return e.fail(err)
	}
	if key, ok := body.HasPrefix("GNU.sparse."); ok {
		return e.fail(&UnsupportedError{What: "a global header with " + short(key)})
	}
	merged := r.global.Under(body)
	if len(merged) > maxGlobal {
		return e.fail(&LimitError{What: "the records of global headers", Size: int64(len(merged)), Max: maxGlobal})
	}
	e.Kind, r.global = Other, merged
	return nil
}

// ownHeader reads the block of an entry itself, with what belongs to it of GNU's
// old sparse files, and says what the entry is.
func (r *Reader) ownHeader(e *Entry, longName, longLink []byte) error {
	e.main = len(e.head)
	e.head = r.take(e.head)
	block := e.head[e.main:]
	isOld := block[typeAt] == 'S' && string(fieldMagic.of(block)) == magicGNU
	for more := isOld && fieldExtended.of(block)[0] != 0; more; {
		n, err := r.fill()
		switch {
		case err != nil:
			return err
		case n < BlockSize:
			return e.fail(&TruncatedError{What: "in a sparse map"})
		case len(e.head)-e.main > maxExtension:
			return e.fail(&LimitError{What: "a sparse map", Size: int64(len(e.head) - e.main), Max: maxExtension})
		}
		e.head = r.take(e.head)
		more = extendedGoingOn.of(e.head[len(e.head)-BlockSize:])[0] != 0
	}
	if err := e.setNames(longName, longLink); err != nil {
		return e.fail(err)
	}
	if err := e.interpret(); err != nil {
		return e.fail(err)
	}
	return nil
}
