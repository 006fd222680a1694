package policy

import (
	"fmt"
	"strings"
)

// An Error says where and why a kernel would refuse a policy.
type Error struct {
	Line, Column int    // counted from 1, columns in bytes
	Item         string // what stands there, if one item is to blame
	Problem      string
	Says         string // what the kernel answers; empty if it would not see the fault
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Fault())
}

// Fault is the error without its place.
func (e *Error) Fault() string {
	var b strings.Builder
	if e.Item != "" {
		fmt.Fprintf(&b, "%q: ", shorten(e.Item))
	}
	b.WriteString(e.Problem)
	if e.Says != "" {
		fmt.Fprintf(&b, " (the kernel answers %s)", e.Says)
	}
	return b.String()
}

// shorten keeps messages readable where an item has thousands of bytes.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// invalid is the kernel's answer to nearly everything.
const invalid = "EINVAL"

// NoRule is the Problem of a text that holds no rule.
const NoRule = "the policy has no rule"

// MaxLine is the longest line without its newline that the kernel takes: it
// reads at most a page less one byte at once (ima_write_policy(), ima_fs.c),
// and takes what follows for another rule.
const MaxLine = 4096 - 1

// Parse parses a policy as the kernel does that reads it line by line. What
// the kernel would refuse is an *Error, the first one; so is a text without a
// rule, with a NUL byte, or with a line longer than MaxLine. A newline behind
// the last rule is not asked for, though loading by path needs it.
func Parse(text string, k Kernel) (Policy, error) {
	p, errs := parse(text, k, false)
	if len(errs) > 0 {
		return Policy{}, errs[0]
	}
	return p, nil
}

// ParseAll returns the rules of text that the kernel would take, and an error
// for each line that it would refuse.
func ParseAll(text string, k Kernel) (Policy, []*Error) { return parse(text, k, false) }

// ParseShown parses what the kernel shows in its policy file. It may be empty,
// and the kernel prints appraise_type= before digest_type=, an order that 6.12
// itself would refuse.
func ParseShown(text string, k Kernel) (Policy, error) {
	p, errs := parse(text, k, true)
	if len(errs) > 0 {
		return Policy{}, errs[0]
	}
	return p, nil
}

// parse returns the rules and, for each line that is wrong, an error. shown says
// that the text is what the kernel shows.
func parse(text string, k Kernel, shown bool) (Policy, []*Error) {
	var pol Policy
	var errs []*Error
	last, length := 1, 0
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		last, length = number, len(line)
		r, ok, err := parseLine(line, k, shown)
		if err != nil {
			err.Line = number
			errs = append(errs, err)
			continue
		}
		if ok {
			r.Line = number
			pol.Rules = append(pol.Rules, r)
		}
	}
	if len(pol.Rules) == 0 && len(errs) == 0 && !shown {
		errs = append(errs, &Error{
			Line: last, Column: length + 1, Problem: NoRule,
			Says: "EINVAL at close: a load needs at least one",
		})
	}
	return pol, errs
}

// ParseRule parses one rule.
func ParseRule(line string, k Kernel) (Rule, error) {
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		return Rule{}, &Error{Line: 1, Column: i + 1, Problem: "a newline inside a rule"}
	}
	r, ok, err := parseLine(line, k, false)
	if err == nil && !ok {
		err = &Error{Column: len(line) + 1, Problem: "no rule"}
	}
	if err != nil {
		err.Line = 1
		return Rule{}, err
	}
	return r, nil
}

// parseLine returns false for blank lines and comments.
func parseLine(line string, k Kernel, shown bool) (Rule, bool, *Error) {
	if i := strings.IndexByte(line, 0); i >= 0 {
		return Rule{}, false, &Error{Column: i + 1,
			Problem: "a NUL byte: not a policy, or one in another encoding"}
	}
	if len(line) > MaxLine {
		return Rule{}, false, &Error{Column: MaxLine + 1,
			Problem: fmt.Sprintf("a line of %d bytes; the kernel reads at most %d at once", len(line), MaxLine)}
	}
	start := strings.TrimLeft(line, " \t")
	if start == "" || start[0] == '#' {
		return Rule{}, false, nil
	}
	p := parser{kernel: k, shown: shown}
	for off := 0; off < len(line); {
		if line[off] == ' ' || line[off] == '\t' {
			off++
			continue
		}
		end := off
		for end < len(line) && line[end] != ' ' && line[end] != '\t' {
			end++
		}
		if line[off] == '#' && k.AtLeast(7, 2) {
			break
		}
		p.items = append(p.items, item{text: line[off:end], column: off + 1})
		if err := p.item(line[off:end]); err != nil {
			err.Column, err.Item = off+1, line[off:end]
			strange(err, line[off:end], off == 0)
			return Rule{}, false, err
		}
		off = end
	}
	if err := p.validate(); err != nil {
		return Rule{}, false, err
	}
	return p.rule, true, nil
}

// strange makes the error about what an item has that its writer may not see.
func strange(e *Error, text string, isFirst bool) {
	switch {
	case strings.HasSuffix(text, "\r"):
		e.Problem = "a carriage return: lines end with a newline alone"
	case isFirst && strings.HasPrefix(text, "\ufeff"):
		e.Problem = "a byte order mark in front of the first word: save the file without it"
	case isFirst && text[0] == '/':
		e.Problem, e.Says = "a path, and the kernel reads the policy from there: name that file here", ""
	case strings.ContainsFunc(text, func(r rune) bool { return r == '\v' || r == '\f' || r == '\u00a0' }):
		e.Problem = "blanks and tabs alone separate items, this holds another kind of space"
	}
}

type item struct {
	text   string
	column int
}

// A parser collects one rule. Kernel: ima_parse_rule(), ima_policy.c.
type parser struct {
	kernel Kernel
	shown  bool
	items  []item
	rule   Rule
}

// fault makes an error whose place the caller fills in.
func fault(says, format string, args ...any) *Error {
	return &Error{Problem: fmt.Sprintf(format, args...), Says: says}
}

// permitDirectIO is the only option without a value.
const permitDirectIO = "permit_directio"

// item takes one word of the rule. The kernel's patterns want at least one
// character behind the sign (match_token(), lib/parser.c).
func (p *parser) item(text string) *Error {
	if text == permitDirectIO {
		p.rule.DirectIO = true
		return nil
	}
	i := strings.IndexAny(text, "=<>")
	if i < 0 {
		return p.action(text)
	}
	name, sign, value := text[:i], text[i], text[i+1:]
	if id := p.id(name); id != nil {
		return p.number(id, name, sign, value)
	}
	take, ok := valued[name]
	switch {
	case !ok:
		return p.unknown(text, name)
	case sign != '=':
		return fault(invalid, "%s is compared with = only", name)
	case value == "":
		return fault(invalid, "%s has no value", name)
	}
	return take(p, value)
}

func (p *parser) action(text string) *Error {
	for a := Measure; a <= DontHash; a++ {
		if a.String() != text {
			continue
		}
		switch {
		case a == DontAudit && !p.kernel.AtLeast(7, 2):
			return fault(invalid, "dont_audit is known since 7.2, not by %s", p.kernel)
		case p.rule.Action != 0:
			return fault(invalid, "a second action behind %s", p.rule.Action)
		}
		p.rule.Action = a
		return nil
	}
	return p.unknown(text, text)
}

func (p *parser) unknown(text, name string) *Error {
	lower := strings.ToLower(name)
	_, isValued := valued[lower]
	isWord := lower == permitDirectIO || isAction(lower)
	switch {
	case text[0] == '#':
		return fault(invalid, "a comment behind a rule is known since 7.2, not by %s", p.kernel)
	case name != lower && (isValued || isWord || p.id(lower) != nil):
		return fault(invalid, "items are case sensitive, this one is %s", lower)
	case isValued || p.id(name) != nil:
		return fault(invalid, "%s has no value", name)
	}
	if isWord {
		return fault(invalid, "%s takes no value", name)
	}
	return fault(invalid, "unknown item")
}

// id returns the field of a condition on a number.
func (p *parser) id(name string) *ID {
	switch name {
	case "uid":
		return &p.rule.UID
	case "euid":
		return &p.rule.EUID
	case "gid":
		return &p.rule.GID
	case "egid":
		return &p.rule.EGID
	case "fowner":
		return &p.rule.FOwner
	case "fgroup":
		return &p.rule.FGroup
	}
	return nil
}

// number takes a condition on a user or group. uid and euid share one place
// in the kernel's rule, and so do gid and egid.
func (p *parser) number(id *ID, name string, sign byte, value string) *Error {
	other := map[string]*ID{
		"uid": &p.rule.EUID, "euid": &p.rule.UID,
		"gid": &p.rule.EGID, "egid": &p.rule.GID,
	}[name]
	switch {
	case value == "":
		return fault(invalid, "%s has no value", name)
	case value[0] == '=':
		return fault(invalid, "there is no %s%c=, only =, < and >", name, sign)
	case id.IsSet():
		return fault(invalid, "%s is given twice", name)
	case other != nil && other.IsSet():
		return fault(invalid, "uid and euid, and gid and egid, exclude each other")
	}
	n, err := parseUint(value, 10)
	if err != nil {
		return err
	}
	if n >= 1<<32-1 {
		return fault(invalid, "ids go up to 4294967294")
	}
	*id = ID{Op: map[byte]Op{'=': Equal, '<': Less, '>': Greater}[sign], Value: uint32(n)}
	return nil
}
