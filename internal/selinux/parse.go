package selinux

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// A Kind is a type of file, as the second field of a line has it.
type Kind uint8

// The kinds. Any is that of a line without the field, and in a lookup that of a
// file whose type is not known: it takes lines of every kind.
const (
	Any Kind = iota
	Regular
	Directory
	Character
	Block
	Socket
	Pipe
	Link
)

// kinds are the second fields by their kind.
var kinds = [...]string{Any: "", Regular: "--", Directory: "-d", Character: "-c", Block: "-b", Socket: "-s", Pipe: "-p", Link: "-l"}

// String returns the kind as a line has it, "" for Any.
func (k Kind) String() string { return kinds[k] }

// KindOf returns the kind of a file with this st_mode of stat(2), Any for a type
// that stat does not know.
func KindOf(mode uint32) Kind {
	const mask = 0o170000
	switch mode & mask {
	case 0o100000:
		return Regular
	case 0o040000:
		return Directory
	case 0o020000:
		return Character
	case 0o060000:
		return Block
	case 0o140000:
		return Socket
	case 0o010000:
		return Pipe
	case 0o120000:
		return Link
	}
	return Any
}

// None is the context of a line whose files keep what they have.
const None = "<<none>>"

// A Spec is a line that says which context files get.
type Spec struct {
	File    string // the name that the text was given with
	Line    int    // from 1
	Pattern string // as written
	Kind    Kind
	Context string // or None
}

// A LineError says that a line cannot be read. Err is one of the errors below or
// a *pcre.Error.
type LineError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// What is wrong with a line, besides its pattern.
var (
	ErrFields  = errors.New("there is no context behind the pattern")
	ErrKind    = errors.New("the file type is none of -- -d -c -b -s -p -l")
	ErrContext = errors.New("the context is not user:role:type or user:role:type:range")
	ErrASCII   = errors.New("a field has characters that are not ASCII, or do not print")
	ErrAlias   = errors.New("there is no path behind the alias")
	ErrTooLong = errors.New("libselinux does not read lines as long as this")
)

const (
	// maxContext is the longest value of an attribute, less its NUL
	// (XATTR_SIZE_MAX, include/uapi/linux/limits.h).
	maxContext = 64<<10 - 1
	// maxAlias is the longest line of aliases without its newline, beyond
	// which libselinux takes the rest for another line (selabel_subs_init()).
	maxAlias = 1022
)

// isBlank is isspace(3): the blanks of Unicode are none.
func isBlank(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }

// lines calls each with the number of every line that is not empty and no
// comment, and its fields. What it returns becomes a *LineError.
func lines(name string, text []byte, each func(number, length int, fields []string) error) error {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSuffix(line, []byte("\n"))
		fields := strings.FieldsFunc(string(line), isBlank)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if err := each(number, len(line), fields); err != nil {
			return &LineError{File: name, Line: number, Err: err}
		}
	}
	return nil
}

// parseSpecs parses a file of patterns and appends its lines.
func parseSpecs(to []spec, name string, text []byte) ([]spec, error) {
	err := lines(name, text, func(number, _ int, fields []string) error {
		s := spec{Spec: Spec{File: name, Line: number}}
		if err := s.parse(fields); err != nil {
			return err
		}
		to = append(to, s)
		return nil
	})
	return to, err
}

// parse takes the fields of a line.
func (s *spec) parse(fields []string) error {
	if len(fields) < 2 {
		return ErrFields
	}
	s.Pattern, s.Context = fields[0], fields[1]
	if len(fields) > 2 {
		s.Context = fields[2]
		if s.Kind = kindOf(fields[1]); s.Kind == Any {
			return ErrKind
		}
	}
	if !isPrinting(s.Pattern) || !isPrinting(s.Context) {
		return ErrASCII
	}
	if !isContext(s.Context) {
		return ErrContext
	}
	return s.compile()
}

// kindOf returns the kind of a second field, Any if it is none.
func kindOf(field string) Kind {
	for k, f := range kinds {
		if f == field {
			return Kind(k)
		}
	}
	return Any
}

func isPrinting(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// isContext reports whether a kernel could take the context: whether it has a
// user, a role and a type, and, behind the third colon, perhaps a range, which
// may have colons itself (mls_context_to_sid(), security/selinux/ss/mls.c).
func isContext(s string) bool {
	if s == None {
		return true
	}
	parts := strings.SplitN(s, ":", 4)
	for _, part := range parts {
		if part == "" {
			return false
		}
	}
	return len(parts) >= 3 && len(s) <= maxContext
}

// An alias is a directory that is looked up as another one.
type alias struct{ from, to string }

// parseAliases parses a file of aliases. The first one that fits counts, and
// later lines go first.
func parseAliases(name string, text []byte) ([]alias, error) {
	var aliases []alias
	err := lines(name, text, func(_, length int, fields []string) error {
		switch {
		case length > maxAlias:
			return ErrTooLong
		case len(fields) < 2:
			return ErrAlias
		}
		aliases = append(aliases, alias{from: fields[0], to: fields[1]})
		return nil
	})
	for i, j := 0, len(aliases)-1; i < j; i, j = i+1, j-1 {
		aliases[i], aliases[j] = aliases[j], aliases[i]
	}
	return aliases, err
}

// apply returns the path with the alias that it lies in replaced.
func apply(aliases []alias, path string) string {
	for _, a := range aliases {
		rest, ok := strings.CutPrefix(path, a.from)
		switch {
		case !ok || rest != "" && rest[0] != '/':
		case rest != "" && a.to == "/":
			return rest
		default:
			return a.to + rest
		}
	}
	return path
}
