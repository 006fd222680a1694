// Package sparse reads files with holes as tar archives have them: a map of the
// pieces that are there, and the pieces, one behind the other. GNU tar has had
// four forms of the map ("Storing Sparse Files" in its manual); those that are
// text are read here, and that of its old headers where headers are.
package sparse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"

	"imaseal/internal/tarfile/pax"
)

// MaxPieces is how many pieces a file may have.
const MaxPieces = 1 << 18

// The records of sparse files.
const (
	KeyMajor  = "GNU.sparse.major"
	KeyMinor  = "GNU.sparse.minor"
	KeyName   = "GNU.sparse.name"
	KeySize   = "GNU.sparse.size"
	KeyReal   = "GNU.sparse.realsize"
	KeyMap    = "GNU.sparse.map"
	KeyBlocks = "GNU.sparse.numblocks"
	keyOffset = "GNU.sparse.offset"
	keyBytes  = "GNU.sparse.numbytes"
)

// A Piece is a part of a file: what is not in one is a hole.
type Piece struct {
	Off, Size int64 // in the file, in bytes

	at int64 // in what is stored
}

// Errors of maps.
var (
	ErrTooMany  = fmt.Errorf("the map of a sparse file has more than %d pieces", MaxPieces)
	ErrNoNumber = errors.New("the map of a sparse file has something else than numbers")
	ErrNoEnd    = errors.New("the map of a sparse file does not end in the content")
	ErrMisfit   = errors.New("the map of a sparse file does not fit its content: its pieces are not in order, or too large, or too small")
)

// Append appends a piece. The error is ErrTooMany.
func Append(pieces []Piece, off, size int64) ([]Piece, error) {
	if len(pieces) == MaxPieces {
		return nil, ErrTooMany
	}
	return append(pieces, Piece{Off: off, Size: size}), nil
}

// New returns a file of a size, whose pieces are in stored from at to end. The
// error is ErrMisfit.
func New(stored io.ReaderAt, pieces []Piece, at, end, size int64) (io.ReaderAt, error) {
	var last int64
	pieces = slices.Clone(pieces)
	for i := range pieces {
		p := &pieces[i]
		if p.Off < last || p.Size < 0 || p.Size > size-p.Off || p.Size > end-at {
			return nil, ErrMisfit
		}
		p.at = at
		at += p.Size
		last = p.Off + p.Size
	}
	if at != end {
		return nil, ErrMisfit
	}
	return &file{stored: stored, pieces: pieces, size: size}, nil
}

type file struct {
	stored io.ReaderAt
	pieces []Piece
	size   int64
}

// ReadAt implements io.ReaderAt: holes are zeros.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= f.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(b)) > f.size-off {
		b, end = b[:f.size-off], io.EOF
	}
	i := sort.Search(len(f.pieces), func(i int) bool { return f.pieces[i].Off+f.pieces[i].Size > off })
	for done := 0; done < len(b); {
		pos, n := off+int64(done), int64(len(b)-done)
		if i == len(f.pieces) || pos < f.pieces[i].Off {
			if i < len(f.pieces) {
				n = min(n, f.pieces[i].Off-pos)
			}
			clear(b[done : done+int(n)])
			done += int(n)
			continue
		}
		p := f.pieces[i]
		n = min(n, p.Off+p.Size-pos)
		got, err := f.stored.ReadAt(b[done:done+int(n)], p.at+pos-p.Off)
		if done += got; int64(got) < n {
			return done, err
		}
		i++
	}
	return len(b), end
}

// FromRecords reads the map in records: one record for each number (version 0.0),
// or one for all of them (0.1).
func FromRecords(records pax.Records) ([]Piece, error) {
	var pieces []Piece
	if list, ok := records.Value(KeyMap); ok {
		for rest := list; len(rest) > 0; {
			var off, size []byte
			off, rest, _ = bytes.Cut(rest, []byte{','})
			size, rest, _ = bytes.Cut(rest, []byte{','})
			var err error
			if pieces, err = appendText(pieces, off, size); err != nil {
				return nil, err
			}
		}
		return pieces, nil
	}
	var off []byte
	for r := range records.All() {
		switch string(r.Key) {
		case keyOffset:
			off = r.Value
		case keyBytes:
			var err error
			if pieces, err = appendText(pieces, off, r.Value); err != nil {
				return nil, err
			}
			off = nil
		}
	}
	return pieces, nil
}

func appendText(pieces []Piece, off, size []byte) ([]Piece, error) {
	o, err := number(off)
	n, sizeErr := number(size)
	if err != nil || sizeErr != nil {
		return nil, ErrNoNumber
	}
	return Append(pieces, o, n)
}

func number(b []byte) (int64, error) {
	n, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil {
		return 0, ErrNoNumber
	}
	return int64(n), nil
}

// FromContent reads the map before the pieces (version 1.0): how many there are,
// then two numbers for each, a line each, and zeros to the end of a block. It
// returns where the pieces begin.
func FromContent(stored io.Reader) (pieces []Piece, at int64, err error) {
	lines := lineReader{in: stored}
	count, err := lines.next()
	if err != nil {
		return nil, 0, err
	}
	if count > MaxPieces {
		return nil, 0, ErrTooMany
	}
	for range count {
		off, err := lines.next()
		if err != nil {
			return nil, 0, err
		}
		size, err := lines.next()
		if err != nil {
			return nil, 0, err
		}
		if pieces, err = Append(pieces, off, size); err != nil {
			return nil, 0, err
		}
	}
	return pieces, lines.read, nil
}

const blockSize = 512

// A lineReader reads numbers, a line each, in whole blocks.
type lineReader struct {
	in   io.Reader
	read int64  // bytes, of blocks
	rest []byte // of the last block
	b    [blockSize]byte
}

func (l *lineReader) next() (int64, error) {
	const most = 20 // digits
	var line []byte
	for {
		if len(l.rest) == 0 {
			_, err := io.ReadFull(l.in, l.b[:])
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return 0, ErrNoEnd
			}
			if err != nil {
				return 0, err
			}
			l.read += blockSize
			l.rest = l.b[:]
		}
		text, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		line, l.rest = append(line, text...), rest
		if ok {
			return number(line)
		}
		if len(line) > most {
			return 0, ErrNoNumber
		}
	}
}
