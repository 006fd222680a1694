package cli

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"imaseal/internal/cmdline"
)

// checkExcluded refuses what Python would refuse, too. Expressions that only Python
// knows, as those that look ahead, are Keylime's to check.
func checkExcluded(expressions []string) error {
	for _, e := range expressions {
		_, err := syntax.Parse(e, syntax.Perl)
		wrong, ok := errors.AsType[*syntax.Error](err)
		if e == "" {
			return conflict("--policy-exclude is empty, and would have every path accepted", "a shell variable may be unset")
		}
		if ok && !onlyPython(wrong) {
			return &cmdline.UsageError{Err: fmt.Errorf("--policy-exclude %q: %s: %q", e, wrong.Code, wrong.Expr), Advice: `a regular expression of Python, which has \ before what stands for itself: '/var/tmp/.*'`}
		}
		if not := notPython(e); not != "" {
			return &cmdline.UsageError{Err: fmt.Errorf("--policy-exclude %q: Python takes no %q there", e, not), Advice: "a regular expression of Python, which Keylime joins to others: flags are (?i:…) around a part"}
		}
	}
	return nil
}

// onlyPython reports whether Python may know what Go does not.
func onlyPython(wrong *syntax.Error) bool {
	switch wrong.Code {
	case syntax.ErrInvalidPerlOp, syntax.ErrInvalidEscape, syntax.ErrInvalidRepeatSize:
		return true
	case syntax.ErrInvalidNamedCapture:
		return strings.HasPrefix(wrong.Expr, "(?<=") || strings.HasPrefix(wrong.Expr, "(?<!")
	}
	return false
}

// ownToGo finds what Go's regular expressions have, and Python's may not: escapes, names of
// groups, and flags that are not around a part, which are refused since Keylime puts
// parentheses around each expression (valid_exclude_list, keylime/common/validators.py).
var ownToGo = regexp.MustCompile(`\\x\{|\\(?s:.)|\(\?<[^=!]|\(\?[A-Za-z]*U|\(\?[A-Za-z-]+\)`)

// notPython returns what of an expression Python refuses, "" if that is not known.
func notPython(e string) string {
	const escapes = "AbBdDsSwWZafnrtvxuUN" // letters; what is no letter stands for itself
	for _, found := range ownToGo.FindAllString(e, -1) {
		letter := found[1:]
		if found[0] != '\\' || len(letter) > 1 && letter[0] == 'x' {
			return found
		}
		if c := letter[0]; (c|0x20 >= 'a' && c|0x20 <= 'z') && !strings.ContainsRune(escapes, rune(c)) {
			return found
		}
	}
	return ""
}
