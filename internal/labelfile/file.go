package labelfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Writer writes a file. It is safe for concurrent use.
type Writer struct {
	kind Kind

	mu    sync.Mutex
	out   io.Writer
	total Total
}

// NewWriter returns a writer, which begins with nothing written.
func NewWriter(out io.Writer, k Kind) *Writer { return &Writer{kind: k, out: out} }

// Write writes a record. The error is the writer's.
func (w *Writer) Write(r Record) error {
	b, sum, err := encode(lineOf(w.kind, r))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(b); err != nil {
		return err
	}
	w.total.Add(sum)
	return nil
}

// Add counts records that are there already.
func (w *Writer) Add(t Total) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total.Plus(t)
}

// End writes the end. requests are those that were answered; nil in other files.
func (w *Writer) End(requests *Total) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := line{End: &lineEnd{w.total, requests}}
	l.setKind(w.kind)
	b, _, err := encode(l)
	if err != nil {
		return err
	}
	_, err = w.out.Write(b)
	return err
}

// A lineEnd is an end.
type lineEnd struct {
	Total
	Requests *Total `json:"requests,omitempty"`
}

func encode(l line) ([]byte, Sum, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, Sum{}, err
	}
	text, sum := appendSum(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return append(text, '\n'), sum, nil
}

// maxLine bounds a line: all attributes of a file are much less.
const maxLine = 1 << 20

// A LineError says which line of a file is wrong.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Errors of files.
var (
	// ErrTorn says that a file ends in the middle of a line.
	ErrTorn = errors.New("the file ends in the middle of a line")
	// ErrLong says that a line is longer than any that is written.
	ErrLong = errors.New("longer than any line of such a file")
	// ErrNotWritten says that a line is not as imaseal writes it.
	ErrNotWritten = errors.New("not as imaseal writes it")
)

// A Reader reads a file of one kind, line by line. It is not safe for concurrent
// use.
type Reader struct {
	kind Kind
	in   *bufio.Reader
	long []byte // of a line that in cannot hold

	line, ends int
	at, next   int64 // where the last line begins and ends
	end        int64 // of the last record
	have, want Total
	// Of the requests that labels answer.
	haveAnswered, wantAnswered Total
}

// NewReader returns a reader.
func NewReader(in io.Reader, k Kind) *Reader {
	return &Reader{kind: k, in: bufio.NewReaderSize(in, 64<<10)}
}

// Next returns the next record, and io.EOF after the last. Other errors are
// *LineError, behind which there is nothing to be read.
func (r *Reader) Next() (Record, error) {
	for {
		b, err := r.readLine()
		if err == io.EOF {
			return Record{}, io.EOF
		}
		r.line++
		if err != nil {
			return Record{}, &LineError{r.line, err}
		}
		rec, end, err := parse(r.kind, b)
		switch {
		case err != nil:
			return Record{}, &LineError{r.line, err}
		case end == nil:
			r.have.Add(rec.Sum)
			r.end = r.next
			if rec.Answers != (Sum{}) {
				r.haveAnswered.Add(rec.Answers)
			}
			return rec, nil
		}
		r.ends++
		r.want.Plus(end.Total)
		if end.Requests != nil {
			r.wantAnswered.Plus(*end.Requests)
		}
	}
}

// Line is the number of the line of the last record.
func (r *Reader) Line() int { return r.line }

// At is where in the file the line of the last record begins, in bytes.
func (r *Reader) At() int64 { return r.at }

// End is where in the file the line of the last record ends, in bytes.
func (r *Reader) End() int64 { return r.end }

// Requested is what the ends of requests tell of.
func (r *Reader) Requested() Total { return r.want }

// Whole returns nil if everything that was read is all that was written, else a
// *PartError, or ErrForeign for a file with nothing in it.
func (r *Reader) Whole() error {
	switch {
	case r.line == 0:
		return ErrForeign
	case r.have != r.want:
		return &PartError{Kind: r.kind, Have: r.have, Want: r.want}
	case r.haveAnswered != r.wantAnswered:
		return &PartError{Kind: r.kind, Have: r.haveAnswered, Want: r.wantAnswered, Answered: true}
	}
	return nil
}

// Each calls do with every record that is left, until it returns an error or ctx
// ends. partial takes a file that is not whole. The errors are those of Next, of
// Whole, of do and of ctx.
func (r *Reader) Each(ctx context.Context, partial bool, do func(Record) error) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = do(rec)
		}
		if err != nil {
			return err
		}
	}
	if err := r.Whole(); err != nil && (!partial || err == ErrForeign) {
		return err
	}
	return nil
}

// readLine returns a line without its end, as long as nothing else is read.
func (r *Reader) readLine() ([]byte, error) {
	r.at, r.long = r.next, r.long[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.next += int64(len(part))
		switch {
		case err == io.EOF && len(part)+len(r.long) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, ErrTorn
		case err != nil && err != bufio.ErrBufferFull:
			return nil, err
		case len(r.long)+len(part) > maxLine:
			return nil, ErrLong
		case err == nil && len(r.long) == 0:
			return part[:len(part)-1], nil
		}
		if r.long = append(r.long, part...); err == nil {
			return r.long[:len(r.long)-1], nil
		}
	}
}

// parse parses a line without its end: to a record, or to an end if that is not
// nil.
func parse(k Kind, b []byte) (Record, *lineEnd, error) {
	l, sum, err := parseLine(k, b)
	if err != nil {
		return Record{}, nil, err
	}
	if l.End != nil {
		again := line{End: l.End}
		again.setKind(k)
		if err := written(again, b); err != nil {
			return Record{}, nil, err
		}
		return Record{}, l.End, nil
	}
	r, err := l.record(k, sum)
	if err == nil {
		err = written(lineOf(k, r), b)
	}
	if err != nil {
		return Record{}, nil, err
	}
	return r, nil, nil
}

// written returns ErrNotWritten if a line is not what a Writer makes of it: then
// parsers may not agree on what is in it.
func written(l line, b []byte) error {
	again, _, err := encode(l)
	if err != nil || !bytes.Equal(again[:len(again)-1], b) {
		return ErrNotWritten
	}
	return nil
}
