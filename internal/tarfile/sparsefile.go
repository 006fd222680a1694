package tarfile

import (
	"io"
	"strconv"

	"imaseal/internal/tarfile/sparse"
)

// A sparseForm is how an archive tells where the pieces of a sparse file are.
type sparseForm uint8

const (
	notSparse    sparseForm = iota
	sparseBlocks            // in the header block, and in blocks behind it
	sparseRecords
	sparseContent
)

const (
	// sparseEntry is the size of a piece's offset and size in a header.
	sparseEntry = 24
	// keyStarSize comes with a form of star, which nobody else reads.
	keyStarSize = "SCHILY.realsize"
)

// Content returns the content of a file, whose stored bytes are read by stored.
// The error says that the map of a sparse file is malformed.
func (e *Entry) Content(stored io.ReaderAt) (io.ReaderAt, error) {
	var pieces []sparse.Piece
	var at int64 // where in stored they begin
	var err error
	switch e.sparse {
	case notSparse:
		return io.NewSectionReader(stored, 0, e.Size), nil
	case sparseBlocks:
		pieces, err = e.oldMap()
	case sparseRecords:
		pieces, err = sparse.FromRecords(e.records)
	case sparseContent:
		pieces, at, err = sparse.FromContent(io.NewSectionReader(stored, 0, e.Stored))
	}
	if err != nil {
		return nil, err
	}
	return sparse.New(stored, pieces, at, e.Stored, e.Size)
}

// oldMap reads the map in header blocks, which ends where an offset is none.
func (e *Entry) oldMap() ([]sparse.Piece, error) {
	var pieces []sparse.Piece
	block, f := e.head[e.main:e.main+BlockSize], fieldSparse
	for next := e.main + BlockSize; ; next += BlockSize {
		for at := f.at; at < f.at+f.size; at += sparseEntry {
			if block[at] == 0 {
				return pieces, nil
			}
			off, err := field{"offset of a piece", at, sparseEntry / 2}.number(block)
			if err != nil {
				return nil, err
			}
			size, err := field{"size of a piece", at + sparseEntry/2, sparseEntry / 2}.number(block)
			if err != nil {
				return nil, err
			}
			if pieces, err = sparse.Append(pieces, off, size); err != nil {
				return nil, err
			}
		}
		if next >= len(e.head) {
			return pieces, nil
		}
		block, f = e.head[next:next+BlockSize], extendedSparse
	}
}

// setSparse finds out whether a file is sparse, and how, and what is its size
// then. The error says that it cannot be read.
func (e *Entry) setSparse(block []byte) (err error) {
	major, hasMajor := e.value(sparse.KeyMajor)
	minor, _ := e.value(sparse.KeyMinor)
	_, hasMap := e.value(sparse.KeyMap)
	_, hasBlocks := e.value(sparse.KeyBlocks)
	_, isStar := e.value(keyStarSize)
	version := string(major) + "." + string(minor)
	switch {
	case isStar:
		return &UnsupportedError{What: "a sparse file of star"}
	case block[typeAt] == 'S':
		if string(fieldMagic.of(block)) != magicGNU {
			return &UnsupportedError{What: "a sparse file of another program than GNU tar"}
		}
		e.sparse = sparseBlocks
		e.Size, err = fieldRealSize.number(block)
		return err
	case version == "1.0":
		e.sparse = sparseContent
	case hasMajor && version != "0.0" && version != "0.1":
		return &UnsupportedError{What: "a sparse file of version " + strconv.Quote(version)}
	case hasMap || hasBlocks:
		e.sparse = sparseRecords
	case hasMajor:
		return &UnsupportedError{What: "a sparse file without a map"}
	default:
		return nil
	}
	size, ok, err := e.decimal(sparse.KeyReal)
	if !ok && err == nil {
		size, ok, err = e.decimal(sparse.KeySize)
	}
	if err == nil && !ok {
		err = &UnsupportedError{What: "a sparse file without its size"}
	}
	e.Size = size
	return err
}
