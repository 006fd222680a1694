package pcre

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// An op says what a node is.
type op uint8

const (
	set    op = iota // one of some bytes
	concat           // the nodes below, one after the other
	choice           // one of those below, which are concats
	repeat           // the one below, from min to max times
	begin            // ^
	end              // $
)

// A node is a piece of an expression.
type node struct {
	op       op
	at       int // where it begins in the pattern
	bytes    byteSet
	subs     []*node
	min, max int // max is many for no limit
	size     int // of the node, with everything repeated
	times    int // how often what is below can be there, at most
}

const many = -1

const (
	// maxNesting is how deep PCRE2 lets parentheses be (PARENS_NEST_LIMIT).
	maxNesting = 250
	// maxSize bounds the size of a compiled expression, as PCRE2 does, where
	// that is 64 KiB.
	maxSize = 64 << 10
	// maxRepeat is the highest count that package regexp takes.
	maxRepeat = 1000
)

// A parser parses a pattern.
type parser struct {
	text    string
	at      int
	nesting int
}

// parse parses an expression. The root is a choice, perhaps of one. The error is
// a *Error.
func parse(pattern string) (*node, error) {
	p := &parser{text: pattern}
	root, err := p.choice()
	if err == nil && p.at < len(p.text) {
		err = p.wrong(p.at, "a ) without its (")
	}
	if err == nil {
		err = p.check(root, true)
	}
	if err != nil {
		return nil, err
	}
	return root, nil
}

func (p *parser) wrong(at int, what string) error {
	return &Error{Pattern: p.text, Offset: at, What: what}
}

func (p *parser) unknown(at int, what string) error {
	return &Error{Pattern: p.text, Offset: at, What: what, Unknown: true}
}

// next reports whether the text goes on with c, and passes it.
func (p *parser) next(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// choice parses up to the end, or to a ).
func (p *parser) choice() (*node, error) {
	n := &node{op: choice, at: p.at}
	for {
		branch, err := p.concat()
		if err != nil {
			return nil, err
		}
		n.subs = append(n.subs, branch)
		n.size += branch.size
		n.times = max(n.times, branch.times)
		if !p.next('|') {
			return n, nil
		}
	}
}

// concat parses up to the end, or to a ) or |.
func (p *parser) concat() (*node, error) {
	n := &node{op: concat, at: p.at}
	for p.at < len(p.text) && p.text[p.at] != ')' && p.text[p.at] != '|' {
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		n.subs = append(n.subs, item)
		n.times = max(n.times, item.times)
		if n.size += item.size; n.size > maxSize {
			return nil, p.unknown(item.at, "an expression as large as this")
		}
	}
	return n, nil
}

// item parses an atom and what says how often it is there.
func (p *parser) item() (*node, error) {
	n, err := p.atom()
	if err != nil {
		return nil, err
	}
	at := p.at
	low, high, ok, err := p.quantifier()
	switch {
	case err != nil || !ok:
		return n, err
	case n.op == begin || n.op == end:
		return nil, p.unknown(at, "a quantifier of ^ or $")
	case high != many && low > high:
		return nil, p.wrong(at, "a range of counts that is upside down")
	case max(low, high) > maxRepeat/max(n.times, 1):
		return nil, p.unknown(at, "a count above "+strconv.Itoa(maxRepeat))
	}
	p.next('?') // lazy: the same paths match
	if p.at < len(p.text) {
		switch after := p.text[p.at:]; {
		case strings.IndexByte("?*+", after[0]) >= 0, isCount(after):
			return nil, p.unknown(p.at, "a second quantifier")
		}
	}
	r := &node{op: repeat, at: n.at, subs: []*node{n}, min: low, max: high}
	r.times = max(low, high, 1) * max(n.times, 1)
	r.size = 1 + n.size*max(low, high, 1)
	return r, nil
}

// counts is a quantifier in braces.
var counts = regexp.MustCompile(`^\{(\d+)(,(\d*))?\}`)

func isCount(text string) bool { return text[0] == '{' && counts.MatchString(text) }

// quantifier parses one, if there is one.
func (p *parser) quantifier() (low, high int, ok bool, err error) {
	switch {
	case p.next('*'):
		return 0, many, true, nil
	case p.next('+'):
		return 1, many, true, nil
	case p.next('?'):
		return 0, 1, true, nil
	case p.at == len(p.text) || p.text[p.at] != '{':
		return 0, 0, false, nil
	}
	m := counts.FindStringSubmatch(p.text[p.at:])
	if m == nil { // a literal, perhaps
		return 0, 0, false, nil
	}
	p.at += len(m[0])
	low, _ = strconv.Atoi(m[1]) // the highest number where it is too high
	switch {
	case m[2] == "":
		high = low
	case m[3] == "":
		high = many
	default:
		high, _ = strconv.Atoi(m[3])
	}
	return low, high, true, nil
}

// atom parses what a quantifier can follow.
func (p *parser) atom() (*node, error) {
	at := p.at
	c := p.text[at]
	p.at++
	one := func(b byteSet) (*node, error) { return &node{op: set, at: at, bytes: b, size: 1}, nil }
	switch c {
	case '(':
		return p.group(at)
	case '[':
		b, err := p.class(at)
		if err != nil {
			return nil, err
		}
		return one(b)
	case '.':
		return one(byteSet{}.not())
	case '^':
		return &node{op: begin, at: at, size: 1}, nil
	case '$':
		return &node{op: end, at: at, size: 1}, nil
	case '\\':
		b, err := p.escape(at)
		if err != nil {
			return nil, err
		}
		return one(b)
	case '?', '*', '+':
		return nil, p.wrong(at, "a quantifier of nothing")
	case '{':
		switch rest := p.text[at:]; {
		case isCount(rest):
			return nil, p.wrong(at, "a quantifier of nothing")
		case strings.HasPrefix(rest, "{,"):
			return nil, p.unknown(at, "a {,") // a quantifier since PCRE2 10.43
		}
	}
	return one(byteOf(c))
}

// group parses what is behind a (.
func (p *parser) group(at int) (*node, error) {
	if p.nesting++; p.nesting > maxNesting {
		return nil, p.wrong(at, "a ( too deep in others")
	}
	switch rest := p.text[p.at:]; {
	case strings.HasPrefix(rest, "?:"):
		p.at += 2
	case strings.HasPrefix(rest, "?"), strings.HasPrefix(rest, "*"):
		return nil, p.unknown(at, fmt.Sprintf("a (%c", rest[0]))
	}
	n, err := p.choice()
	if err != nil {
		return nil, err
	}
	if !p.next(')') {
		return nil, p.wrong(at, "a ( without its )")
	}
	p.nesting--
	n.at = at
	return n, nil
}

// check returns an error for a $ that something may follow: package regexp
// cannot look at a newline without taking it. Last says that nothing does.
func (p *parser) check(n *node, last bool) error {
	if n.op == end && !last {
		return p.unknown(n.at, "a $ before the end")
	}
	for i, sub := range n.subs {
		last := last
		switch n.op {
		case concat:
			last = last && i == len(n.subs)-1
		case repeat:
			last = last && n.max == 1
		}
		if err := p.check(sub, last); err != nil {
			return err
		}
	}
	return nil
}
