package answer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
)

// An Allow is what the owner of a key is ready to sign. The zero value allows
// everything.
type Allow struct {
	Algorithms []hash.Algorithm // of contents and of EVM's signatures; nil for all
	Classes    []string         // nil for all
	// EVM are kinds of EVM labels, 0 standing for none; nil for all.
	EVM []imaevm.Type
	// Paths are patterns, of which one has to match; nil for all.
	Paths plan.Rules
	// Files is how many requests there may be; 0 for any number.
	Files uint64
}

// An AllowError says which line of a file is wrong.
type AllowError struct {
	Line int // 0 for all
	What string
}

func (e *AllowError) Error() string {
	if e.Line == 0 {
		return e.What
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

// ParseAllow reads what is allowed. A line is a word and what it allows:
//
//	algorithm  names, such as sha256 sha512
//	class      sign, hash
//	evm        kinds, such as none portable
//	path       a pattern as in a file of rules, to the end of the line; or @module,
//	           @firmware or @any
//	files      how many there may be at most
//
// Of what no line is about everything is allowed, and of what several are about,
// what one of them allows; files has one. Lines that are empty or begin with #
// do not count. What is not known is an error, and so is a file without lines. The
// error is an *AllowError or the reader's.
func ParseAllow(r io.Reader) (*Allow, error) {
	a := new(Allow)
	in := bufio.NewScanner(r)
	n, lines := 0, 0
	for in.Scan() {
		n++
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		lines++
		word, rest := text, ""
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			word, rest = text[:i], strings.TrimSpace(text[i:])
		}
		if err := a.add(word, rest); err != nil {
			return nil, &AllowError{n, err.Error()}
		}
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &AllowError{n + 1, "longer than any line"}
	case err != nil:
		return nil, err
	case lines == 0:
		return nil, &AllowError{What: "nothing is allowed, and nothing limited"}
	}
	return a, nil
}

func (a *Allow) add(word, rest string) error {
	known := map[string]func(string) error{"algorithm": a.algorithm, "class": a.class, "evm": a.evm, "files": a.files}
	if word == "path" {
		return a.path(rest)
	}
	take, ok := known[word]
	values := strings.Fields(rest)
	switch {
	case !ok:
		return fmt.Errorf("%q is none of algorithm, class, evm, path and files", word)
	case len(values) == 0:
		return fmt.Errorf("%s without a value", word)
	case word == "files" && len(values) > 1:
		return errors.New("files has one number")
	}
	for _, v := range values {
		if err := take(v); err != nil {
			return err
		}
	}
	return nil
}

func (a *Allow) algorithm(name string) error {
	alg, err := hash.Parse(name)
	a.Algorithms = append(a.Algorithms, alg)
	return err
}

func (a *Allow) class(name string) error {
	if name != string(plan.Sign) && name != string(plan.Hash) {
		return fmt.Errorf("%q is none of sign and hash", name)
	}
	a.Classes = append(a.Classes, name)
	return nil
}

func (a *Allow) evm(name string) error {
	kind, ok := map[string]imaevm.Type{"none": 0, "portable": imaevm.TypePortable, "signature": imaevm.TypeSignature}[name]
	if !ok {
		return fmt.Errorf("%q is none of none, portable and signature", name)
	}
	a.EVM = append(a.EVM, kind)
	return nil
}

func (a *Allow) files(number string) error {
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no number of files", number)
	}
	if a.Files != 0 {
		return errors.New("files is there twice")
	}
	a.Files = n
	return nil
}

func (a *Allow) path(pattern string) error {
	if pattern == plan.Executable {
		return errors.New("a request does not tell whether a file is executable")
	}
	rules, err := plan.ParseRules(strings.NewReader("sign " + pattern))
	if wrong, ok := errors.AsType[*plan.RuleError](err); ok {
		return errors.New(wrong.What)
	}
	a.Paths = append(a.Paths, rules...)
	return err
}

// A DeniedError says what of a request is not allowed.
type DeniedError struct{ What string }

func (e *DeniedError) Error() string { return "not allowed: " + e.What }

// check returns a *DeniedError for a request that is not allowed; what it says of
// itself is believed. files is how many there were, with this one.
func (a *Allow) check(r *labelfile.Record, files uint64) error {
	kind := imaevm.Type(0)
	if r.EVM != nil {
		kind = r.EVM.Kind
	}
	switch {
	case a.Files != 0 && files > a.Files:
		return &DeniedError{fmt.Sprintf("more than %d files", a.Files)}
	case a.Classes != nil && !slices.Contains(a.Classes, r.Class):
		return &DeniedError{"class " + r.Class}
	case a.Algorithms != nil && !slices.Contains(a.Algorithms, r.Digest.Algorithm()):
		return &DeniedError{"algorithm " + r.Digest.Algorithm().String()}
	case a.Algorithms != nil && kind != 0 && !slices.Contains(a.Algorithms, r.EVM.Algo):
		return &DeniedError{"algorithm " + r.EVM.Algo.String() + " for EVM"}
	case a.EVM != nil && !slices.Contains(a.EVM, kind):
		if kind == 0 {
			return &DeniedError{"no EVM label"}
		}
		return &DeniedError{"evm " + labelfile.KindName(kind)}
	case a.Paths == nil:
		return nil
	}
	// Nothing is asked for the content: Executable is none of them.
	class, err := a.Paths.Class(r.Path, func() (bool, error) { return false, nil })
	if err != nil || class != plan.Sign {
		return &DeniedError{"this path"}
	}
	return nil
}
