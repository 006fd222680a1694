// Package config reads the file of options that the hooks of other programs have
// imaseal take, /etc/imaseal/config. It is a TOML document (toml.io, version 1.0)
// without tables, of names and values:
//
//	policy = "/etc/ima/ima-policy"
//	trust = ["/etc/keys/ima", "/etc/keys/vendor.der"]
//	allow-writers = true
//
// A value is a text, a whole number, true or false, or an array of texts. The
// package knows no names, and what they may be set to.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A Kind is that of a value.
type Kind string

// Kinds of values.
const (
	Text   Kind = "a text"
	Number Kind = "a number"
	Bool   Kind = "true or false"
	Texts  Kind = "an array of texts"
)

// A Setting is a name with its value.
type Setting struct {
	Name   string
	Kind   Kind
	Values []string // one, but any number if the kind is Texts
	Line   int      // counted from one
}

// An Error says what is wrong with a file, and in which line.
type Error struct {
	Line   int
	Err    error
	Advice string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// MaxSize bounds a file, in bytes.
const MaxSize = 1 << 16

// Parse returns the settings of a file in their order. The same name may be there
// more than once. The error is an *Error.
func Parse(text []byte) ([]Setting, error) {
	if len(text) > MaxSize {
		return nil, &Error{Line: 1, Err: fmt.Errorf("has more than %d bytes: this is no configuration", MaxSize)}
	}
	var found []Setting
	var p unstable.Parser
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // editors of Windows write it
	p.Reset(text)
	for p.NextExpression() {
		s, err := setting(&p, text, p.Expression())
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	if err := p.Error(); err != nil {
		return nil, syntaxError(&p, text, err)
	}
	return found, nil
}

// setting reads an expression.
func setting(p *unstable.Parser, text []byte, e *unstable.Node) (Setting, error) {
	if e.Kind != unstable.KeyValue {
		return Setting{}, &Error{
			Line: tableLine(text, e), Err: errors.New("there are no tables here"), Advice: "leave out the line in brackets",
		}
	}
	var names []string
	s := Setting{}
	for k := e.Key(); k.Next(); {
		if s.Line == 0 {
			s.Line = lineAt(text, int(k.Node().Raw.Offset))
		}
		names = append(names, string(k.Node().Data))
	}
	s.Name = strings.Join(names, ".")
	var err error
	if s.Kind, s.Values, err = value(e.Value()); err != nil {
		return Setting{}, &Error{Line: s.Line, Err: fmt.Errorf("%s: %w", s.Name, err)}
	}
	if strings.Contains(s.Name+strings.Join(s.Values, ""), "\x00") {
		return Setting{}, &Error{Line: s.Line, Err: fmt.Errorf("%s: no name and no path has a NUL", Quote(s.Name)), Advice: `leave out the \u0000`}
	}
	return s, nil
}

func value(v *unstable.Node) (Kind, []string, error) {
	switch v.Kind {
	case unstable.String:
		return Text, []string{string(v.Data)}, nil
	case unstable.Bool:
		return Bool, []string{string(v.Data)}, nil
	case unstable.Integer:
		n, err := strconv.ParseInt(string(v.Data), 0, 64)
		if err != nil {
			return "", nil, fmt.Errorf("%s is too large", v.Data)
		}
		return Number, []string{strconv.FormatInt(n, 10)}, nil
	case unstable.Array:
		var all []string
		for c := v.Children(); c.Next(); {
			if c.Node().Kind != unstable.String {
				return "", nil, errors.New("an array holds texts only")
			}
			all = append(all, string(c.Node().Data))
		}
		return Texts, all, nil
	}
	return "", nil, errors.New("a value is a text, a whole number, true or false, or an array of texts")
}

// lineAt returns the number of the line with the byte at offset.
func lineAt(text []byte, offset int) int {
	return 1 + bytes.Count(text[:min(offset, len(text))], []byte("\n"))
}

// tableLine returns the number of the line of a table's name.
func tableLine(text []byte, e *unstable.Node) int {
	for k := e.Key(); k.Next(); {
		return lineAt(text, int(k.Node().Raw.Offset))
	}
	return 1
}

// syntaxError says where a file is no TOML.
func syntaxError(p *unstable.Parser, text []byte, err error) error {
	e := &Error{Line: 1, Err: err}
	if syntax, ok := errors.AsType[*unstable.ParserError](err); ok {
		e.Err = errors.New(syntax.Message)
		offset := int(p.Range(syntax.Highlight).Offset)
		e.Line = lineAt(text, offset)
		start := bytes.LastIndexByte(text[:min(offset, len(text))], '\n') + 1
		line, _, _ := bytes.Cut(text[start:], []byte("\n"))
		if name, rest, ok := bytes.Cut(line, []byte("=")); ok && !bytes.ContainsAny(rest, "\"'[") {
			e.Advice = fmt.Sprintf("a text stands in quotes: %s = %s", bytes.TrimSpace(name), Quote(string(bytes.TrimSpace(rest))))
		}
	}
	return e
}

// String returns the setting as a line of a file, which Parse reads again.
func (s Setting) String() string {
	v := strings.Join(s.Values, "")
	switch s.Kind {
	case Text:
		v = Quote(v)
	case Texts:
		quoted := make([]string, len(s.Values))
		for i, v := range s.Values {
			quoted[i] = Quote(v)
		}
		v = "[" + strings.Join(quoted, ", ") + "]"
	}
	return quoteName(s.Name) + " = " + v
}

// quoteName quotes a name that needs it.
func quoteName(name string) string {
	bare := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
	if bare {
		return name
	}
	return Quote(name)
}

// Quote returns a text as it is written in a file.
func Quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
