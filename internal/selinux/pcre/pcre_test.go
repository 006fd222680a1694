package pcre

import (
	"errors"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		pattern string
		offset  int
		unknown bool
	}{
		{"/a(b", 2, false},
		{"/a)b.", 2, false},
		{"/a[b", 2, false},
		{"/*?*", 3, true},
		{"/(*)", 1, true},
		{"/(+)", 2, false},
		{"/|*", 2, false},
		{"/a{2,1}", 2, false},
		{"/[b-a]", 1, false},
		{`/\`, 1, true},
		{"/(?=a)", 1, true},
		{"/(?i)a", 1, true},
		{"/(?<n>a)", 1, true},
		{`/(a)\1`, 4, true},
		{`/\ba`, 1, true},
		{`/\x41`, 1, true},
		{`/\Qa\E`, 1, true},
		{"/a++", 3, true},
		{"/a{2}{3}", 5, true},
		{"/a{,3}", 2, true},
		{"/a{1001}", 2, true},
		{"/a{99999999999999999999}", 2, true},
		{"/(a{100}){11}", 9, true},
		{"/(abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop){1000}", 1, true},
		{"/a$b", 2, true},
		{"/(a$)*b", 3, true},
		{"/($|a)b", 2, true},
		{"/^*", 2, true},
		{"/[[.a.]]", 1, true},
		{"/[:alpha:]", 1, true},
		{"/[[:nothing:]]", 1, true},
		{"/[[:alpha:]-z]", 1, true},
		{`/[a-\d]`, 1, true},
		{"/" + strings.Repeat("(", 251) + strings.Repeat(")", 251), 251, false},
	} {
		_, err := Parse(test.pattern)
		p, ok := errors.AsType[*Error](err)
		if !ok || p.Pattern != test.pattern || p.Offset != test.offset || p.Unknown != test.unknown {
			t.Errorf("%q: %+v %v", test.pattern, p, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "pattern ") {
			t.Errorf("%q: %v", test.pattern, err)
		}
	}
}

// matches matches the whole expression and the tail behind its prefix, which have
// to be of one opinion.
func matches(e *Expr, text string) bool {
	whole := e.Compile().MatchString(text)
	prefix, tail := e.Cut()
	rest, ok := strings.CutPrefix(text, prefix)
	if in := ok && tail.Compile().MatchString(rest); in != whole {
		panic(e.String() + " and " + prefix + " with " + tail.String() + " do not agree about " + text)
	}
	return whole
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern string
		match   []string
		differ  []string
	}{
		{"^/a$", []string{"/a", "/a\n"}, []string{"/ab", "/a\n\n"}},
		{"/a(/.*|$)", []string{"/a", "/a/b", "/a\n"}, []string{"/ab"}},
		{"/a.b", []string{"/a\nb", "/a\xffb"}, []string{"/a\xc3\xa9b", "/ab"}},
		{"/a[^/]b", []string{"/a\nb", "/a\xe9b"}, []string{"/a/b"}},
		{"/a{b}", []string{"/a{b}"}, []string{"/ab"}},
		{"/a{x", []string{"/a{x"}, nil},
		{"/[]]a", []string{"/]a"}, []string{"/a"}},
		{"/[^]]a", []string{"/xa"}, []string{"/]a"}},
		{"/[a-]b", []string{"/-b", "/ab"}, []string{"/bb"}},
		{`/[\]\\x]b`, []string{"/]b", `/\b`, "/xb"}, []string{"/b"}},
		{"/[.]b", []string{"/.b"}, []string{"/xb"}},
		{"/[[:upper:]_]b", []string{"/Xb", "/_b"}, []string{"/xb"}},
		{`/\w\d\s.`, []string{"/a1\vx", "/_2 x"}, []string{"/-1 x", "/ab x"}},
		{`/\W\D\S.`, []string{"/-axx", "/\xe9aax"}, []string{"/a1 x"}},
		{`/a\tb?`, []string{"/a\tb", "/a\t"}, nil},
		{"/a{2,3}", []string{"/aa", "/aaa"}, []string{"/a", "/aaaa"}},
		{"/ba{0}", []string{"/b"}, []string{"/ba"}},
		{"/a+?b*?", []string{"/a", "/aabb"}, []string{"/b"}},
		{"/(?:a|b){2}", []string{"/ab", "/bb"}, []string{"/a"}},
		{"/a()b.", []string{"/abc"}, []string{"/ab"}},
		{`/[^\d\D]`, nil, []string{"/a", "/1", "/\xff"}},
	} {
		e, err := Parse(test.pattern)
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		for _, text := range test.match {
			if !matches(e, text) {
				t.Errorf("%q does not match %q", test.pattern, text)
			}
		}
		for _, text := range test.differ {
			if matches(e, text) {
				t.Errorf("%q matches %q", test.pattern, text)
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct{ pattern, prefix, tail string }{
		{"/a(/.*)?", "/a", "(/.*)?"},
		{`^/a\.b.*`, "/a.b", ".*"},
		{`/a\.b`, "/a.b", ""},
		{"/ab?", "/a", "b?"},
		{"/a[b]c+", "/ab", "c+"},
		{"/a$", "/a", "$"},
		{"/a|/b", "", "/a|/b"},
		{"/a(^b)?", "", "/a(^b)?"},
		{".*", "", ".*"},
		{"", "", ""},
	} {
		e, err := Parse(test.pattern)
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		prefix, tail := e.Cut()
		if prefix != test.prefix || tail.String() != test.tail {
			t.Errorf("%q: %q and %q", test.pattern, prefix, tail)
		}
		if again, rest := tail.Cut(); again != "" || rest.String() != test.tail {
			t.Errorf("%q: %q and %q of the tail %q", test.pattern, again, rest, tail)
		}
	}
}

// FuzzParse has every expression compile that is parsed, and say the same as its
// parts. Every other one is refused with a place that it has.
func FuzzParse(f *testing.F) {
	f.Add(`/a(/.*)?`, "/a/b")
	f.Add(`^/[^]a-c[:digit:]\w]{2,3}?(x|y$)|\.\n`, "/x\n")
	f.Add(`/(a{3}b*){2,}[^\d\D]`, "\xff")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		e, err := Parse(pattern)
		if err != nil {
			p, ok := errors.AsType[*Error](err)
			if !ok || e != nil || p.Offset < 0 || p.Offset > len(pattern) {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(text) < 1<<10 {
			matches(e, text)
		}
	})
}
