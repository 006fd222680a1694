// Package pcre has package regexp match what PCRE2 matches: expressions over
// bytes, compiled with the one option PCRE2_DOTALL, between a ^ and a $, as
// libselinux uses them for file contexts (src/regex.c regex_prepare_data(),
// src/label_file.h compile_regex()).
//
// Only whether a text matches counts, so that greedy and lazy quantifiers are the
// same, and so are groups of all kinds that are understood. What has another
// meaning in package regexp, or none, is refused by Parse:
//
//	understood   . [] [^] [:alpha:] \d \s \w \D \S \W \a \e \f \n \r \t
//	             \ before what is no letter and no digit, ^
//	             ( ) (?: ) | * + ? {n} {n,} {n,m} and *? +? ?? and so on
//	             $ where nothing can follow
//	refused      other (? and (*, other \ before letters and digits, possessive
//	             and repeated quantifiers, {,n}, ranges from or to a class,
//	             [. .] and [= =], counts above 1000
//
// The classes are those of the C locale: ASCII alone has letters. The $ matches
// at the end and before a newline that is the last byte. A { or ] or } that has
// no other meaning is itself. See pcre2pattern(3).
package pcre

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

// An Error says that an expression cannot be used.
type Error struct {
	Pattern string
	Offset  int // of What, in bytes
	What    string
	// Unknown says that the expression may be right, but has something that
	// is refused.
	Unknown bool
}

func (e *Error) Error() string {
	if e.Unknown {
		return fmt.Sprintf("pattern %q: %s at byte %d cannot be used here", e.Pattern, e.What, e.Offset+1)
	}
	return fmt.Sprintf("pattern %q: %s at byte %d", e.Pattern, e.What, e.Offset+1)
}

// An Expr is a parsed expression. It is not changed.
type Expr struct {
	text string
	at   int // where the text begins in what was parsed
	root *node
}

// Parse parses an expression, without the ^ and the $ around it, which are put
// there as they are: they belong to the first and the last alternative. The text
// is ASCII. The error is an *Error.
func Parse(text string) (*Expr, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	return &Expr{text, 0, root}, nil
}

// String returns the text of the expression.
func (e *Expr) String() string { return e.text }

// Cut returns what every text that matches begins with, as far as that is
// written as such, and the expression that what follows it must match.
func (e *Expr) Cut() (prefix string, tail *Expr) {
	if len(e.root.subs) > 1 { // alternatives have nothing in common
		return "", e
	}
	items := e.root.subs[0].subs
	for len(items) > 0 && items[0].op == begin { // as it is there already
		items = items[1:]
	}
	rest := func() *Expr {
		at := e.at + len(e.text)
		if len(items) > 0 {
			at = items[0].at
		}
		return &Expr{e.text[at-e.at:], at, &node{op: choice, subs: []*node{{op: concat, subs: items}}}}
	}
	if tail = rest(); tail.root.has(begin) {
		return "", tail // where it looks at what the prefix took
	}
	var b []byte
	for len(items) > 0 {
		c, ok := items[0].char()
		if !ok {
			break
		}
		b = append(b, c)
		items = items[1:]
	}
	return string(b), rest()
}

// Compile makes the expression ready.
func (e *Expr) Compile() *Regexp { return &Regexp{regexp.MustCompile(e.root.anchored())} }

// A Regexp is a compiled expression. It is safe for concurrent use.
type Regexp struct{ over *regexp.Regexp }

// MatchString reports whether the text matches.
func (r *Regexp) MatchString(text string) bool { return r.over.MatchString(latin1(text)) }

// String returns the expression of package regexp, which is over texts that have
// each byte as one character.
func (r *Regexp) String() string { return r.over.String() }

// latin1 returns a text that has each byte as one character, which is how PCRE2
// looks at it without PCRE2_UTF.
func latin1(s string) string {
	isASCII := true
	for i := range len(s) {
		isASCII = isASCII && s[i] < utf8.RuneSelf
	}
	if isASCII {
		return s
	}
	b := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		b = utf8.AppendRune(b, rune(s[i]))
	}
	return string(b)
}
