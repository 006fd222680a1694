package rpmfile

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	magicSize     = 6
	newc          = "070701"
	newcChecksum  = "070702" // which rpm does not look at
	stripped      = "07070X"
	newcFields    = 13
	fieldSize     = 8
	fieldFileSize = 6
	fieldNameSize = 11
	cpioAlign     = 4
	cpioTrailer   = "TRAILER!!!"
	maxName       = 4096
)

// What can be wrong with a payload.
var (
	errCPIO     = errors.New("no entry of an archive begins here")
	errNumber   = errors.New("a number of an entry is none")
	errNameSize = errors.New("the name of an entry is longer than any, or has no end")
	errFile     = errors.New("an entry is of a file that the header does not have")
)

// A Payload reads what is in an archive (lib/cpio.cc of rpm): entries as those of
// cpio -H newc, or with the number of a file in the header alone. Of hard links the
// last has the content.
type Payload struct {
	p     *Package
	in    io.Reader
	at    int64 // in the archive
	left  int64 // of the entry
	index map[string]int
	seen  []bool
}

// NewPayload reads the payload of a package, which in gives unpacked.
func (p *Package) NewPayload(in io.Reader) *Payload {
	a := &Payload{p: p, in: in, index: make(map[string]int, len(p.Files)), seen: make([]bool, len(p.Files))}
	for i := range p.Files {
		a.index[p.Files[i].Path] = i
	}
	return a
}

func (a *Payload) error(err error) error {
	return &FormatError{Part: "payload, unpacked", Offset: a.at, Err: err}
}

// fill reads all of b.
func (a *Payload) fill(b []byte) error {
	n, err := io.ReadFull(a.in, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == io.ErrUnexpectedEOF {
		err = a.error(err)
	}
	a.at += int64(n)
	return err
}

// skip reads over bytes.
func (a *Payload) skip(n int64) error {
	done, err := io.CopyN(io.Discard, a.in, n)
	if err == io.EOF {
		err = a.error(io.ErrUnexpectedEOF)
	}
	a.at += done
	return err
}

func (a *Payload) align() error { return a.skip((cpioAlign - a.at%cpioAlign) % cpioAlign) }

// Next goes to the next file that the archive has, whose index it returns, and how
// many bytes of content there are to Read. The error is io.EOF at the end, a
// *FormatError, or the reader's.
func (a *Payload) Next() (int, int64, error) {
	err := a.skip(a.left)
	if err == nil {
		err = a.align()
	}
	a.left = 0
	if err != nil {
		return 0, 0, err
	}
	var magic [magicSize]byte
	if err := a.fill(magic[:]); err != nil {
		return 0, 0, err
	}
	var i int
	var size int64
	switch string(magic[:]) {
	case newc, newcChecksum:
		i, size, err = a.newc()
	case stripped:
		i, size, err = a.stripped()
	default:
		a.at -= magicSize
		err = a.error(errCPIO)
	}
	if err != nil {
		return 0, 0, err
	}
	if a.seen[i] {
		return 0, 0, a.error(fmt.Errorf("%s: %w", a.p.Files[i].Path, errTwice))
	}
	a.seen[i] = true
	a.left = size
	return i, size, nil
}

// newc reads the rest of an entry of cpio's form.
func (a *Payload) newc() (int, int64, error) {
	var fields [newcFields * fieldSize]byte
	if err := a.fill(fields[:]); err != nil {
		return 0, 0, err
	}
	size, err := a.number(fields[fieldFileSize*fieldSize:])
	if err != nil {
		return 0, 0, err
	}
	nameSize, err := a.number(fields[fieldNameSize*fieldSize:])
	switch {
	case err != nil:
		return 0, 0, err
	case nameSize < 1 || nameSize > maxName:
		return 0, 0, a.error(errNameSize)
	}
	b := make([]byte, nameSize)
	if err := a.fill(b); err != nil {
		return 0, 0, err
	}
	name, isEnded := strings.CutSuffix(string(b), "\x00")
	switch {
	case !isEnded:
		return 0, 0, a.error(errNameSize)
	case name == cpioTrailer:
		return 0, 0, io.EOF
	}
	if err := a.align(); err != nil {
		return 0, 0, err
	}
	i, ok := a.index["/"+strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")]
	if !ok {
		return 0, 0, a.error(fmt.Errorf("%w: %q", errFile, name))
	}
	if want := a.stored(i); !a.p.Files[i].Ghost && size != want {
		return 0, 0, a.error(fmt.Errorf("%s has %d bytes, and the header says %d", a.p.Files[i].Path, size, want))
	}
	return i, size, nil
}

// stripped reads the rest of an entry that has a number alone.
func (a *Payload) stripped() (int, int64, error) {
	var field [fieldSize]byte
	if err := a.fill(field[:]); err != nil {
		return 0, 0, err
	}
	n, err := a.number(field[:])
	switch {
	case err != nil:
		return 0, 0, err
	case n == 0xffffffff:
		return 0, 0, io.EOF
	case n >= int64(len(a.p.Files)):
		return 0, 0, a.error(errFile)
	}
	return int(n), a.stored(int(n)), a.align()
}

// stored is how many bytes of content the entry of a file has.
func (a *Payload) stored(i int) int64 {
	f := &a.p.Files[i]
	switch {
	case f.IsRegular() && f.Last == i && !f.Ghost, f.IsSymlink():
		return f.Size
	}
	return 0
}

// number parses the hexadecimal digits at the beginning of b.
func (a *Payload) number(b []byte) (int64, error) {
	n, err := strconv.ParseUint(string(b[:fieldSize]), 16, 32)
	if err != nil {
		return 0, a.error(errNumber)
	}
	return int64(n), nil
}

// Read implements io.Reader, for the content of the file that Next went to.
func (a *Payload) Read(b []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.in.Read(b[:min(int64(len(b)), a.left)])
	a.at += int64(n)
	a.left -= int64(n)
	if err == io.EOF && a.left > 0 {
		err = a.error(io.ErrUnexpectedEOF)
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

// Missing returns the files that Next did not come to, and should have: all but
// those that are not in a payload.
func (a *Payload) Missing() []int {
	var missing []int
	for i := range a.seen {
		if !a.seen[i] && !a.p.Files[i].Ghost {
			missing = append(missing, i)
		}
	}
	return missing
}
