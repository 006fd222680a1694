package audit

import (
	"bufio"
	"bytes"
	"io"
)

// maxLine bounds a line. The kernel's records have less than 9 KiB
// (MAX_AUDIT_MESSAGE_LENGTH), an object of the journal about one some more. Longer
// lines are about something else.
const maxLine = 256 << 10

// A Reader reads a log. Its memory does not depend on the log's length. It is not
// safe for concurrent use.
type Reader struct {
	in        *bufio.Reader
	parser    parser
	next      int // in what the parser has
	lines     int64
	damagedAt int64 // the first line that could not be read, from 1
}

// NewReader returns a Reader of a log that is not compressed: see Decompress.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, maxLine), parser: parser{known: make(map[string]string)}}
}

// Next returns what the log says next. It skips everything that is not about
// integrity. The error is io.EOF at the end, and else one of reading the log,
// after which there may be more. What Next returned is not changed afterwards.
func (r *Reader) Next() (Entry, error) {
	for {
		if r.next < len(r.parser.out) {
			e := r.parser.out[r.next]
			r.next++
			return e, nil
		}
		r.parser.out, r.next = r.parser.out[:0], 0
		line, err := r.line()
		if err != nil {
			return Entry{}, err
		}
		r.lines++
		line = bytes.Trim(line, "\x00\x1e\r\n") // blocks of a crash, and json-seq's mark
		switch {
		case len(line) == 0:
		case line[0] == '{':
			r.parser.logged++
			r.parser.journal(line)
		default:
			r.parser.line(line)
		}
		if r.damagedAt == 0 && r.parser.damaged > 0 {
			r.damagedAt = r.lines
		}
	}
}

// line returns the next line that is not too long. The last one need not be whole.
func (r *Reader) line() ([]byte, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		switch {
		case err == nil, err == io.EOF && len(line) > 0:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
		for err == bufio.ErrBufferFull {
			_, err = r.in.ReadSlice('\n')
		}
		r.lines++
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
}

// Lines returns how many lines were read.
func (r *Reader) Lines() int64 { return r.lines }

// Logged returns how many lines were as the kernel, auditd or the journal write them,
// whatever they are about. Other programs' lines of a syslog do not count.
func (r *Reader) Logged() int64 { return r.parser.logged }

// Damaged returns how many lines or records seemed to be about integrity, and
// could not be read.
func (r *Reader) Damaged() int64 { return r.parser.damaged }

// DamagedAt returns the number of the first line with what Damaged counts, from 1; 0
// for none.
func (r *Reader) DamagedAt() int64 { return r.damagedAt }
