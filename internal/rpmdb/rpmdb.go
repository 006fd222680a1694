// Package rpmdb reads the signatures of files that an RPM database has: those that
// vendors put into their packages (package rpmfile). It asks the program rpm, which
// knows every kind of database there is: sqlite, ndb, and what older ones had.
//
// rpm is asked for one line for each package, with an equals sign alone, and one for
// each of its files:
//
//	'NAME' 'SIGNATURE' 'DIGEST' ALGORITHM FLAGS MODE
//
// Strings are quoted as for a shell, a quote in them as '\”: names may hold blanks,
// newlines and quotes. Signature and digest are in hexadecimal digits, the
// algorithm is OpenPGP's number. What a package does not have is (none).
// (lib/formats.cc of rpm)
package rpmdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"imaseal/hash"
	"imaseal/internal/rpmfile"
)

// A File is one that a package in the database has a signature of.
type File struct {
	Path   string // relative to the root directory
	Digest hash.Digest
	Label  []byte // the value of security.ima
}

// Counts say what there is in a database.
type Counts struct {
	Packages, Files int
	// Signed are the files that have a signature, but for those below.
	Signed int
	// Config are %config files that nobody may execute: rpm writes no labels of
	// them either, since they are there to be changed (plugins/ima.c).
	Config int
	// Malformed are those whose entry cannot be read.
	Malformed int
}

// format is what rpm prints.
const format = `=\n[%{FILENAMES:shescape} %{FILESIGNATURES:shescape} %{FILEDIGESTS:shescape} %{=FILEDIGESTALGO} %{FILEFLAGS} %{FILEMODES}\n]`

// places are where databases lie, and files that they are: Fedora and SUSE have
// theirs in the first, others in the second.
var places = []string{"usr/lib/sysimage/rpm", "var/lib/rpm"}
var databases = []string{"rpmdb.sqlite", "Packages.db", "Packages"}

// Errors about databases.
var (
	// ErrNone says that there is no database.
	ErrNone = errors.New("there is no RPM database (usr/lib/sysimage/rpm or var/lib/rpm)")
	// ErrProgram says that there is no program to read it with.
	ErrProgram = errors.New("the program rpm, which reads the database, is not there")
	errLine    = errors.New("rpm printed a line that is none of those that it was asked for")
)

// An RPMError says that rpm failed.
type RPMError struct {
	Err  error  // nil where its exit status was 0
	Said string // on standard error, the last of it
}

func (e *RPMError) Error() string {
	text := "rpm read nothing"
	if e.Err != nil {
		text = "rpm: " + e.Err.Error()
	}
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}
func (e *RPMError) Unwrap() error { return e.Err }

// find returns the directory of the database.
func (r *Root) find() (string, error) {
	for _, place := range places {
		dir := filepath.Join(r.abs, r.follow(place)) // it may be a link
		for _, name := range databases {
			if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
				return dir, nil
			}
		}
	}
	return "", &os.PathError{Op: "open", Path: r.name, Err: ErrNone}
}

const (
	// maxLine is more than any name, signature and digest take.
	maxLine = 1 << 20
	// maxSaid is how much is kept of what rpm says on standard error.
	maxSaid = 1 << 10
	// killAfter is how long rpm has to end when it is asked to.
	killAfter = 5 * time.Second
)

// Read calls each with the signed files of the database below a root directory, in
// the order of its packages. Nothing is written below root: a copy of the database
// goes to tempDir where need be, or where os.TempDir says if that is empty. The error
// is that of each, ErrNone, ErrProgram, ErrChanging, an *RPMError, or about what rpm
// printed.
func Read(ctx context.Context, root *Root, tempDir string, each func(File) error) (Counts, error) {
	var n Counts
	dir, err := root.find()
	if err != nil {
		return n, err
	}
	program, err := exec.LookPath("rpm")
	if err != nil {
		return n, ErrProgram
	}
	dir, done, err := root.readable(ctx, dir, tempDir)
	if err != nil {
		return n, err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, program, "--dbpath", dir, "--nodigest", "--nosignature", "-qa", "--qf", format)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = killAfter
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	said := new(tail)
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return n, err
	}
	if err := cmd.Start(); err != nil {
		return n, &RPMError{Err: err}
	}
	readErr := n.read(out, func(f File) error {
		f.Path = root.In(f.Path)
		return each(f)
	})
	if readErr != nil {
		cancel(readErr)
		io.Copy(io.Discard, out)
	}
	waitErr := cmd.Wait()
	switch {
	case context.Cause(ctx) != nil:
		return n, context.Cause(ctx)
	case waitErr != nil, n.Packages == 0 && len(said.b) > 0:
		return n, &RPMError{Err: waitErr, Said: said.String()}
	}
	return n, nil
}

// A tail keeps the last of what is written.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-maxSaid):]
	return len(b), nil
}

// String is in one line.
func (t *tail) String() string {
	return strings.Join(strings.FieldsFunc(string(t.b), func(r rune) bool { return r < ' ' }), "; ")
}

// read takes apart what rpm prints.
func (n *Counts) read(in io.Reader, each func(File) error) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := readLine(lines)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if string(line) == "=" {
			n.Packages++
			continue
		}
		f, err := n.parse(line)
		if err != nil {
			return err
		}
		if f.Label == nil {
			continue
		}
		n.Signed++
		if err := each(f); err != nil {
			return err
		}
	}
}

// readLine reads a line to the newline that is not within quotes.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	isQuoted, isEscaped := false, false
	for {
		part, err := in.ReadSlice('\n')
		for _, c := range part {
			switch {
			case isEscaped:
				isEscaped = false
			case c == '\'':
				isQuoted = !isQuoted
			case c == '\\' && !isQuoted:
				isEscaped = true
			}
		}
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, errLine
		case err == io.EOF && len(line) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, fmt.Errorf("%w: %w", errLine, io.ErrUnexpectedEOF)
		case err != nil && err != bufio.ErrBufferFull:
			return nil, err
		case err == nil && !isQuoted:
			return line[:len(line)-1], nil
		}
	}
}

// parse parses the line of a file; one without a label is not to be labelled.
func (n *Counts) parse(line []byte) (File, error) {
	var texts [3]string
	for i := range texts {
		text, rest, ok := unquote(line)
		if !ok {
			return File{}, errLine
		}
		texts[i], line = text, rest
	}
	fields := strings.Fields(string(line))
	if len(fields) != 3 {
		return File{}, errLine
	}
	n.Files++
	name, signature, digest := texts[0], texts[1], texts[2]
	if signature == "" || signature == none {
		return File{}, nil
	}
	flags, flagsErr := strconv.ParseUint(fields[1], 10, 32)
	mode, modeErr := strconv.ParseUint(fields[2], 10, 32)
	label, labelErr := hex.DecodeString(signature)
	f := File{Path: strings.TrimPrefix(filepath.Clean(name), "/"), Label: label}
	var digestErr error
	f.Digest, digestErr = parseDigest(fields[0], digest)
	switch {
	case errors.Join(flagsErr, modeErr, labelErr, digestErr) != nil, !strings.HasPrefix(name, "/"), strings.Contains(name, "\x00"):
		n.Malformed++
		return File{}, nil
	case len(label) >= zeros && bytes.Equal(label[:zeros], make([]byte, zeros)):
		return File{}, nil // for rpm, too, it is none
	case len(label) < zeros || label[0] != signatureType:
		n.Malformed++
		return File{}, nil
	case flags&config != 0 && mode&0o111 == 0:
		n.Config++
		return File{}, nil
	}
	return f, nil
}

const (
	none   = "(none)"
	config = 1   // RPMFILE_CONFIG of include/rpm/rpmfiles.h
	zeros  = 9   // of a label that is none; so long is a signature's header, too
	noAlgo = "1" // MD5, which packages have that do not say
	// signatureType is the first byte of signatures (EVM_IMA_XATTR_DIGSIG).
	signatureType = 3
)

func parseDigest(algo, digest string) (hash.Digest, error) {
	if algo == none {
		algo = noAlgo
	}
	number, err := strconv.ParseUint(algo, 10, 32)
	if err != nil {
		return hash.Digest{}, err
	}
	a, ok := rpmfile.Algorithm(number)
	if !ok {
		return hash.Digest{}, errLine
	}
	sum, err := hex.DecodeString(digest)
	if err != nil {
		return hash.Digest{}, err
	}
	return hash.NewDigest(a, sum)
}

// unquote takes a quoted string, and a blank behind it, from the beginning of b. A
// value that rpm does not have is not quoted.
func unquote(b []byte) (text string, rest []byte, ok bool) {
	if rest, ok := bytes.CutPrefix(b, []byte(none+" ")); ok {
		return none, rest, true
	}
	var s []byte
	isQuoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\'':
			isQuoted = !isQuoted
		case isQuoted:
			s = append(s, c)
		case c == '\\' && i+1 < len(b):
			i++
			s = append(s, b[i])
		case c == ' ' && i > 0:
			return string(s), b[i+1:], true
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}
