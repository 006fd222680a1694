// Package undo holds the log of a run's changes, from which they can be taken
// back.
//
// A log is a text file of JSON lines. The first names the format's version and
// the namespace of the attributes:
//
//	{"imaseal_undo":1,"namespace":"security","command":"hash","started":"2026-01-02T03:04:05Z"}
//
// Each of the others is one file, written before the file is changed:
//
//	{"path":"/bin/cat","inode":12,"changes":[{"attr":"security.ima","old":null,"new":"0404…"}]}
//
// A path that is not UTF-8 stands in path_base64. Values are hexadecimal, null
// stands for no attribute. A file that had to be labelled again, because it
// was changing, has a further line with "again": its old values are those
// from before the run. The last line may be torn, if the run was killed: its
// file was then not changed.
package undo

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
)

const version = 1

// A Header is the first line of a log.
type Header struct {
	Namespace string    // "security" or "user"
	Command   string    // that made the log
	Started   time.Time // the run
}

// A Change is one attribute's old and new value; nil is no attribute, which
// is not the same as an empty value.
type Change struct {
	Attr     string
	Old, New []byte
}

// A File is what a run changed of one file.
type File struct {
	Path    string // absolute
	Inode   uint64
	Changes []Change // in the order they were made
	// Again says that an earlier line of the same run has the same file.
	Again bool
}

type headerLine struct {
	Version   int       `json:"imaseal_undo"`
	Namespace string    `json:"namespace"`
	Command   string    `json:"command"`
	Started   time.Time `json:"started"`
}

type fileLine struct {
	Path       string       `json:"path,omitempty"`
	PathBase64 []byte       `json:"path_base64,omitempty"`
	Inode      uint64       `json:"inode"`
	Changes    []changeLine `json:"changes"`
	Again      bool         `json:"again,omitempty"`
}

type changeLine struct {
	Attr string  `json:"attr"`
	Old  *string `json:"old"`
	New  *string `json:"new"`
}

// A Log is being written. Record is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	f      *os.File
	broken error // of a write: the last line may be torn, and must stay the last
}

// Create makes a new log, readable by its owner only: it may tell of files
// that others cannot see. A file that exists is an error. The log and its name
// are on the disk when Create returns.
func Create(name string, h Header) (*Log, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{f: f}
	if err := l.begin(name, h); err != nil {
		f.Close()
		os.Remove(name) // nothing is in it, and the next run may want the name
		return nil, err
	}
	return l, nil
}

// begin brings the first line and the log's name to the disk.
func (l *Log) begin(name string, h Header) error {
	if err := l.write(headerLine{Version: version, Namespace: h.Namespace, Command: h.Command, Started: h.Started}); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot
		return err
	}
	return nil
}

// Stat describes the log file, which a walk should leave alone.
func (l *Log) Stat() (os.FileInfo, error) { return l.f.Stat() }

// Record writes a file's line: when it returns, the kernel has it. After an
// error nothing more is written, and each call returns that error.
func (l *Log) Record(f File) error { return l.write(lineOf(f)) }

func lineOf(f File) fileLine {
	line := fileLine{Path: f.Path, Inode: f.Inode, Again: f.Again}
	if !utf8.ValidString(f.Path) {
		line.Path, line.PathBase64 = "", []byte(f.Path)
	}
	for _, c := range f.Changes {
		line.Changes = append(line.Changes, changeLine{Attr: c.Attr, Old: encode(c.Old), New: encode(c.New)})
	}
	return line
}

// write writes a line in one call, so that no line is torn by another.
func (l *Log) write(line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		if _, err := l.f.Write(append(b, '\n')); err != nil {
			l.broken = fmt.Errorf("writing the undo log: %w", pathless(err))
		}
	}
	return l.broken
}

// pathless drops the log's name from an error that is about another file.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Close brings the log to the disk and closes it.
func (l *Log) Close() error { return errors.Join(l.f.Sync(), l.f.Close()) }

func encode(value []byte) *string {
	if value == nil {
		return nil
	}
	s := hex.EncodeToString(value)
	return &s
}

func decode(s *string) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	b, err := hex.DecodeString(*s)
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// A LineError says that a line of a log is not one that a run wrote.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// A Reader reads a finished log from its end. Memory is one word a line. It is not
// safe for concurrent use.
type Reader struct {
	Header Header
	// Torn says that the log ends in the middle of a line, which is left out.
	Torn bool

	f      *os.File
	starts []int64 // of each line and of the end
	next   int     // index in starts of the line that comes next
}

// maxHeader bounds the first line, so that what is no log is soon found out. The
// others have no bound: a path may have any length.
const maxHeader = 4 << 10

// Open opens a log. The error names the file.
func Open(name string) (*Reader, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo would wait for a writer
	if err != nil {
		return nil, err
	}
	r := &Reader{f: f}
	if err := r.index(); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return r, nil
}

func (r *Reader) index() error {
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not an undo log: no regular file")
	}
	in := bufio.NewReaderSize(r.f, maxHeader)
	first, err := in.ReadSlice('\n')
	if err != nil {
		return errors.New("not an undo log: no first line")
	}
	if r.Header, err = parseHeader(first); err != nil {
		return err
	}
	at := int64(len(first))
	r.starts = append(r.starts, at)
	for {
		part, err := in.ReadSlice('\n')
		at += int64(len(part))
		switch {
		case err == nil:
			r.starts = append(r.starts, at)
		case errors.Is(err, io.EOF):
			r.Torn = at > r.starts[len(r.starts)-1]
			r.next = len(r.starts) - 2
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return &LineError{Line: len(r.starts) + 1, Err: err}
		}
	}
}

func parseHeader(b []byte) (Header, error) {
	var h headerLine
	if err := json.Unmarshal(b, &h); err != nil || h.Version == 0 {
		return Header{}, errors.New("not an undo log: the first line is none of imaseal's")
	}
	if h.Version != version {
		return Header{}, fmt.Errorf("an undo log of version %d, and only version %d is known", h.Version, version)
	}
	if h.Namespace != "security" && h.Namespace != "user" {
		return Header{}, fmt.Errorf("an undo log of the unknown namespace %q", h.Namespace)
	}
	return Header{Namespace: h.Namespace, Command: h.Command, Started: h.Started}, nil
}

// Len returns the number of lines that Prev has not returned yet.
func (r *Reader) Len() int { return r.next + 1 }

// Prev returns the line before the one it returned last, starting with the
// last of the log, and io.EOF after the first. A *LineError is about one line
// only: the next call returns the one before.
func (r *Reader) Prev() (File, error) {
	if r.next < 0 {
		return File{}, io.EOF
	}
	start, end := r.starts[r.next], r.starts[r.next+1]
	number := r.next + 2
	r.next--
	b := make([]byte, end-start)
	if _, err := r.f.ReadAt(b, start); err != nil {
		return File{}, &LineError{Line: number, Err: err}
	}
	f, err := parseFile(b)
	if err != nil {
		return File{}, &LineError{Line: number, Err: err}
	}
	return f, nil
}

// isAttr reports whether runs change the attribute.
func isAttr(name string) bool {
	return name == imaevm.AttrIMA || name == imaevm.AttrEVM || name == imaevm.AttrSELinux
}

// parseFile parses a line. It takes only what Record writes: a line that two
// writes ran together in, or that a hand changed, is not acted upon.
func parseFile(b []byte) (File, error) {
	var line fileLine
	if err := json.Unmarshal(b, &line); err != nil {
		return File{}, err
	}
	f := File{Path: line.Path, Inode: line.Inode, Again: line.Again}
	if line.PathBase64 != nil {
		f.Path = string(line.PathBase64)
	}
	if !filepath.IsAbs(f.Path) || len(line.Changes) == 0 {
		return File{}, errors.New("no absolute path or no changes")
	}
	for _, c := range line.Changes {
		if !isAttr(c.Attr) {
			return File{}, fmt.Errorf("%q is no attribute that runs change", c.Attr)
		}
		old, err := decode(c.Old)
		if err != nil {
			return File{}, fmt.Errorf("old value: %w", err)
		}
		value, err := decode(c.New)
		if err != nil {
			return File{}, fmt.Errorf("new value: %w", err)
		}
		f.Changes = append(f.Changes, Change{Attr: c.Attr, Old: old, New: value})
	}
	if again, err := json.Marshal(lineOf(f)); err != nil || !bytes.Equal(append(again, '\n'), b) {
		return File{}, errors.New("not as imaseal writes it")
	}
	return f, nil
}

// Close closes the log.
func (r *Reader) Close() error { return r.f.Close() }
