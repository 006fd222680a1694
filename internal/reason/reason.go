// Package reason is why something came out as it did, for programs and for
// people: a code that stays the same, and words that may get better.
//
// Whoever decides defines the codes of its decisions and fills in the words;
// reports print both; advice is found by the code, never by a piece of the words.
package reason

import (
	"fmt"
	"slices"
	"strings"
)

// A Code names a kind of reason, in lower case with hyphens, such as no-keys. It
// never changes its meaning. The man page lists those that JSON has.
type Code string

// A Reason is one reason. The words are a phrase without a full stop, that can
// stand behind a colon, and may name keys, rules and digests.
type Reason struct {
	Code  Code   `json:"code"`
	Words string `json:"reason"`
}

// New returns a reason whose words are made as fmt.Sprintf makes them.
func New(c Code, format string, args ...any) Reason {
	return Reason{Code: c, Words: fmt.Sprintf(format, args...)}
}

// A List is all the reasons of one decision, the most telling first.
type List []Reason

// With returns the reasons of both lists, each once. It leaves l as it is.
func (l List) With(more ...Reason) List {
	all := slices.Clone(l)
	for _, r := range more {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// Has reports whether one of the reasons has one of the codes.
func (l List) Has(codes ...Code) bool {
	return slices.ContainsFunc(l, func(r Reason) bool { return slices.Contains(codes, r.Code) })
}

// Code returns the code of the first reason, nothing if there is none.
func (l List) Code() Code {
	if len(l) == 0 {
		return ""
	}
	return l[0].Code
}

// String returns the words of all reasons, with semicolons between them.
func (l List) String() string {
	words := make([]string, len(l))
	for i, r := range l {
		words[i] = r.Words
	}
	return strings.Join(words, "; ")
}
