package pcre

import (
	"fmt"
	"strings"
)

// A byteSet is a set of bytes.
type byteSet [256 / 64]uint64

func (b byteSet) has(c byte) bool { return b[c/64]>>(c%64)&1 != 0 }

func (b byteSet) with(from, to byte) byteSet {
	for c := int(from); c <= int(to); c++ {
		b[c/64] |= 1 << (c % 64)
	}
	return b
}

func (b byteSet) or(o byteSet) byteSet {
	for i := range b {
		b[i] |= o[i]
	}
	return b
}

func (b byteSet) not() byteSet {
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

func byteOf(c byte) byteSet { return byteSet{}.with(c, c) }

// bytesOf returns the set of what a class such as "a-z_" has, without escapes.
func bytesOf(class string) byteSet {
	var b byteSet
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			b = b.with(class[i], class[i+2])
			i += 2
		} else {
			b = b.with(class[i], class[i])
		}
	}
	return b
}

// named are the classes of [:name:] in the C locale, which is PCRE2's own.
var named = map[string]byteSet{
	"alnum": bytesOf("0-9A-Za-z"), "alpha": bytesOf("A-Za-z"), "ascii": bytesOf("\x00-\x7f"),
	"blank": bytesOf("\t "), "cntrl": bytesOf("\x00-\x1f\x7f"), "digit": bytesOf("0-9"),
	"graph": bytesOf("!-~"), "lower": bytesOf("a-z"), "print": bytesOf(" -~"),
	"punct": bytesOf("!-/:-@[-`{-~"), "space": bytesOf("\t-\r "), "upper": bytesOf("A-Z"),
	"word": bytesOf("0-9A-Z_a-z"), "xdigit": bytesOf("0-9A-Fa-f"),
}

// generic are the escapes for classes. In upper case they are their opposites.
var generic = map[byte]string{'d': "digit", 's': "space", 'w': "word"}

// control are the escapes for single bytes.
var control = map[byte]byte{'a': '\a', 'e': 0x1b, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape parses what is behind a backslash.
func (p *parser) escape(at int) (byteSet, error) {
	if p.at == len(p.text) {
		return byteSet{}, p.unknown(at, `a \ at the end`) // libselinux's $ is behind it
	}
	c := p.text[p.at]
	p.at++
	lower := c | 0x20
	switch {
	case !named["alnum"].has(c):
		return byteOf(c), nil
	case control[c] != 0:
		return byteOf(control[c]), nil
	case generic[c] != "":
		return named[generic[c]], nil
	case generic[lower] != "":
		return named[generic[lower]].not(), nil
	}
	return byteSet{}, p.unknown(at, `\`+string(rune(c)))
}

// class parses what is behind a [.
func (p *parser) class(at int) (byteSet, error) {
	var b byteSet
	if looksNamed(p.text[p.at:]) {
		return b, p.unknown(at, "a [: . or = outside of a class")
	}
	negated := p.next('^')
	for first := true; first || !p.next(']'); first = false {
		from, single, err := p.member(at)
		if err != nil {
			return b, err
		}
		to := from
		rest := p.text[p.at:]
		if len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			p.at++
			var isByte bool
			if to, isByte, err = p.member(at); err != nil {
				return b, err
			}
			low, high := from.only(), to.only()
			switch {
			case !single || !isByte:
				return b, p.unknown(at, "a range from or to a class")
			case low > high:
				return b, p.wrong(at, "a range that is upside down")
			}
			to = byteSet{}.with(low, high)
		}
		b = b.or(from).or(to)
	}
	if negated {
		b = b.not()
	}
	return b, nil
}

// looksNamed reports whether what follows a [ could be :name: and its ].
func looksNamed(rest string) bool {
	inside, _, ok := strings.Cut(rest, "]")
	return ok && len(inside) > 1 && strings.IndexByte(":.=", inside[0]) >= 0 && inside[0] == inside[len(inside)-1]
}

// member parses one member of a class; single says that it is a byte.
func (p *parser) member(at int) (b byteSet, single bool, err error) {
	if p.at == len(p.text) {
		return b, false, p.wrong(at, "a [ without its ]")
	}
	c := p.text[p.at]
	p.at++
	rest := p.text[p.at:]
	switch {
	case c == '\\':
		here := p.at - 1
		b, err = p.escape(here)
		return b, err == nil && b == byteOf(b.only()), err
	case c == '[' && rest != "" && strings.IndexByte(":.=", rest[0]) >= 0:
		b, err = p.name(at)
		return b, false, err
	}
	return byteOf(c), true, nil
}

// name parses what is behind the [ of [:name:].
func (p *parser) name(at int) (byteSet, error) {
	name, _, ok := strings.Cut(p.text[p.at:], "]")
	p.at += len(name) + 1
	name, begins := strings.CutPrefix(name, ":")
	name, ends := strings.CutSuffix(name, ":")
	name, negated := strings.CutPrefix(name, "^")
	b, known := named[name]
	switch {
	case !ok || !begins || !ends || !known:
		return b, p.unknown(at, "a [: . or = in a class")
	case negated:
		b = b.not()
	}
	return b, nil
}

// only returns the byte of a set of one, and the first of others.
func (b byteSet) only() byte {
	for c := range 256 {
		if b.has(byte(c)) {
			return byte(c)
		}
	}
	return 0
}

// char returns the byte that a node is, if it is one.
func (n *node) char() (byte, bool) {
	if n.op != set {
		return 0, false
	}
	c := n.bytes.only()
	return c, n.bytes == byteOf(c)
}

// has reports whether the operation is anywhere in the node.
func (n *node) has(o op) bool {
	for _, sub := range n.subs {
		if sub.has(o) {
			return true
		}
	}
	return n.op == o
}

// anchored returns the node as an expression of package regexp for latin1 text,
// between a ^ and a $.
func (n *node) anchored() string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	n.write(&b, true)
	b.WriteString(`\n?\z`)
	return b.String()
}

// write writes the node; open says that a choice needs no parentheses.
func (n *node) write(b *strings.Builder, open bool) {
	switch n.op {
	case set:
		n.bytes.write(b)
	case begin:
		b.WriteString(`\A`)
	case end:
		b.WriteString(`(?:\n?\z)`)
	case concat:
		for _, sub := range n.subs {
			sub.write(b, false)
		}
	case choice:
		if !open {
			b.WriteString("(?:")
		}
		for i, sub := range n.subs {
			if i > 0 {
				b.WriteByte('|')
			}
			sub.write(b, false)
		}
		if !open {
			b.WriteByte(')')
		}
	case repeat:
		n.subs[0].write(b, false)
		switch {
		case n.max == many:
			fmt.Fprintf(b, "{%d,}", n.min)
		default:
			fmt.Fprintf(b, "{%d,%d}", n.min, n.max)
		}
	}
}

// write writes the set: a dot for all, else ranges of bytes in hexadecimal.
func (b byteSet) write(to *strings.Builder) {
	if b == (byteSet{}).not() {
		to.WriteByte('.')
		return
	}
	if b == (byteSet{}) { // which no path has
		to.WriteString(`[^\x{0}-\x{10ffff}]`)
		return
	}
	to.WriteByte('[')
	for c := 0; c < 256; c++ {
		from := c
		for c < 256 && b.has(byte(c)) {
			c++
		}
		if c > from {
			fmt.Fprintf(to, `\x{%x}-\x{%x}`, from, c-1)
		}
	}
	to.WriteByte(']')
}
