package plan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// A Class is what a selected file should carry.
type Class string

// The classes.
const (
	Sign Class = "sign"
	Hash Class = "hash"
	Skip Class = "skip"
)

// A Rule gives files that match a class.
type Rule struct {
	Class   Class
	Pattern string // a doublestar pattern relative to the tree, or a content class
}

// The content classes.
const (
	Executable = "@executable" // ELF, or an x bit
	Module     = "@module"     // a kernel module
	Firmware   = "@firmware"   // below lib/firmware
	Any        = "@any"
)

// Rules decide the class of files: the first that matches.
type Rules []Rule

// DefaultRules are those of runs without a file of rules. A signed file cannot
// be changed under enforcement, a hashed one is relabelled by the kernel when
// root changes it: so what is only ever replaced is signed, the rest hashed.
func DefaultRules(key bool) Rules {
	if !key {
		return Rules{{Hash, Any}}
	}
	return Rules{{Sign, Module}, {Sign, Firmware}, {Sign, Executable}, {Hash, Any}}
}

// Only returns the rules that give every file the same class.
func Only(c Class) Rules { return Rules{{c, Any}} }

// A RuleError says which line of a file of rules is wrong, or all of it.
type RuleError struct {
	Line int // 0 for all
	What string
}

func (e *RuleError) Error() string {
	if e.Line == 0 {
		return e.What
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

// ParseRules reads rules, one a line: a class, blanks, and a pattern, which
// goes to the end of the line. Lines that are empty or begin with # do not
// count. The error is a *RuleError or the reader's.
func ParseRules(r io.Reader) (Rules, error) {
	var rules Rules
	in := bufio.NewScanner(r)
	line := 0
	for in.Scan() {
		line++
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		rule, err := parseRule(text)
		if err != nil {
			return nil, &RuleError{Line: line, What: err.Error()}
		}
		rules = append(rules, rule)
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &RuleError{Line: line + 1, What: "longer than any rule"}
	case err != nil:
		return nil, err
	}
	if len(rules) == 0 {
		return nil, &RuleError{What: "there are no rules"}
	}
	return rules, nil
}

func parseRule(text string) (Rule, error) {
	word, pattern, _ := strings.Cut(text, " ")
	if before, after, ok := strings.Cut(text, "\t"); ok && len(before) < len(word) {
		word, pattern = before, after
	}
	pattern = strings.TrimSpace(pattern)
	rule := Rule{Class: Class(word), Pattern: pattern}
	if rule.Class != Sign && rule.Class != Hash && rule.Class != Skip {
		return Rule{}, fmt.Errorf("%q is none of sign, hash and skip", word)
	}
	switch {
	case pattern == "":
		return Rule{}, fmt.Errorf("%s without a pattern", word)
	case pattern == Executable, pattern == Module, pattern == Firmware, pattern == Any:
		return rule, nil
	case pattern[0] == '@':
		return Rule{}, fmt.Errorf("%q is none of @executable, @module, @firmware and @any", pattern)
	}
	rule.Pattern = path.Clean(strings.TrimLeft(pattern, "/"))
	if rule.Pattern == "." || rule.Pattern == ".." || strings.HasPrefix(rule.Pattern, "../") {
		return Rule{}, fmt.Errorf("%q matches no file; @any matches all", pattern)
	}
	if !doublestar.ValidatePattern(rule.Pattern) {
		return Rule{}, fmt.Errorf("%q is not a pattern", pattern)
	}
	if rule.Pattern[0] == '@' || strings.TrimSpace(rule.Pattern) != rule.Pattern {
		return Rule{}, fmt.Errorf("%q could be taken for another: put @ at its beginning, and blanks there or at its end, in brackets", pattern)
	}
	return rule, nil
}

// String prints the rule as ParseRules reads it.
func (r Rule) String() string { return string(r.Class) + " " + r.Pattern }

// Uses reports whether a rule gives the class.
func (rs Rules) Uses(c Class) bool {
	for _, r := range rs {
		if r.Class == c {
			return true
		}
	}
	return false
}

// Class returns the class of a file by its path relative to the tree; skip if
// no rule matches. executable is asked once at most, and only if a rule depends
// on it.
func (rs Rules) Class(rel string, executable func() (bool, error)) (Class, error) {
	for _, r := range rs {
		match := false
		switch r.Pattern {
		case Any:
			match = true
		case Module:
			match = IsModule(rel)
		case Firmware:
			match = isFirmware(rel)
		case Executable:
			var err error
			if match, err = executable(); err != nil {
				return "", err
			}
		default:
			match = matchesBelow(r.Pattern, rel)
		}
		if match {
			return r.Class, nil
		}
	}
	return Skip, nil
}

// matchesBelow reports whether the pattern matches the path or a directory
// above it.
func matchesBelow(pattern, rel string) bool {
	for ; rel != "." && rel != "/"; rel = path.Dir(rel) {
		if doublestar.MatchUnvalidated(pattern, rel) {
			return true
		}
	}
	return false
}

// IsModule reports whether a path is that of a kernel module: it goes by the
// names that kmod loads, depmod.d(5).
func IsModule(rel string) bool {
	for _, packed := range []string{".gz", ".xz", ".zst"} {
		rel = strings.TrimSuffix(rel, packed)
	}
	return strings.HasSuffix(rel, ".ko")
}

// isFirmware goes by the kernel's search path, below /lib/firmware.
func isFirmware(rel string) bool {
	return strings.HasPrefix(rel, "lib/firmware/") || strings.HasPrefix(rel, "usr/lib/firmware/")
}
