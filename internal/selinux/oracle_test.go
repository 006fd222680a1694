package selinux

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"imaseal/internal/selinux/pcre"
	"imaseal/internal/treetest"
)

var libselinux = flag.String("libselinux", "libselinux.so.1", "the library to compare with")

// A question is a path and the type of its file.
type question struct {
	mode uint32
	path string
}

// An oracle is libselinux.
type oracle struct {
	// isNew says that it is 3.8 or later, which is not the same in corners.
	isNew bool
}

// newOracle skips the test where there is no libselinux. Version 3.8 had
// mistakes that later ones have not.
func newOracle(t *testing.T) oracle {
	t.Helper()
	file := write(t, map[string]string{"": "/x u:r:x:s0\n/y u:r:y:s0\n", ".subs": "/s /x\n/s /y\n"})
	got := ask(t, database{file, []question{{0o100644, "/s"}, {0o100644, "/x\n"}}})[0]
	if got[0] != "u:r:y:s0" {
		t.Skip("libselinux 3.8 takes the aliases the wrong way round")
	}
	return oracle{isNew: got[1] == None}
}

// A database is a file_contexts and what is asked about it.
type database struct {
	file      string
	questions []question
}

const refused = "refused"

// ask returns what libselinux answers, by database. Each answer is a context,
// None, or "error". One that it cannot open has the one answer refused.
func ask(t *testing.T, all ...database) [][]string {
	t.Helper()
	var in, errs bytes.Buffer
	for _, d := range all {
		fmt.Fprintf(&in, "F%s\x00", d.file)
		for _, q := range d.questions {
			fmt.Fprintf(&in, "Q%o\t%s\x00", q.mode, q.path)
		}
	}
	cmd := exec.Command(treetest.Tool(t, "python3"), "testdata/selabel.py", *libselinux)
	cmd.Stdin, cmd.Stderr = &in, &errs
	out, err := cmd.Output()
	if err != nil && strings.HasPrefix(errs.String(), "missing: ") {
		t.Skip(errs.String())
	}
	if err != nil {
		t.Fatalf("libselinux: %v\n%s", err, &errs)
	}
	records := strings.Split(string(out), "\x00")
	var answers [][]string
	for _, d := range all {
		if records[0] == refused {
			answers = append(answers, []string{refused})
		} else {
			answers = append(answers, records[1:1+len(d.questions)])
		}
		records = records[1+len(d.questions):]
	}
	return answers
}

// write writes the files of a policy by their suffixes, and returns the path of
// the one without.
func write(t testing.TB, texts map[string]string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file_contexts")
	for suffix, text := range texts {
		if err := os.WriteFile(file+suffix, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// compare asks libselinux, and reports where Lookup says something else.
func (o oracle) compare(t *testing.T, c *Contexts, file string, questions []question) {
	t.Helper()
	answers := ask(t, database{file, questions})[0]
	if len(answers) != len(questions) {
		t.Fatalf("libselinux does not open %s", file)
	}
	none, skipped := 0, 0
	for i, q := range questions {
		if o.differs(c, q) {
			skipped++
			continue
		}
		got, ok := c.Lookup(q.path, KindOf(q.mode))
		if !ok {
			got = None
		}
		if answers[i] == None {
			none++
		}
		if got != answers[i] {
			s, _ := c.Match(q.path, KindOf(q.mode))
			t.Errorf("%o %q: %s, libselinux: %s; by %+v", q.mode, q.path, got, answers[i], s)
		}
	}
	t.Logf("%d lines, %d paths, %d without context, %d not compared", len(c.specs), len(questions), none, skipped)
	if none == 0 || none > len(questions)/2 || skipped > len(questions)/30 {
		t.Errorf("%d paths without context and %d not compared, of %d: the questions are no good", none, skipped, len(questions))
	}
}

// differs reports whether versions of libselinux answer differently: old ones
// find a path that is a pattern also with a newline behind it; new ones take
// another line of several for one path if they are not told the type.
func (o oracle) differs(c *Contexts, q question) bool {
	path := apply(c.subsDist, apply(c.subs, clean(q.path)))
	bare, hasNewline := strings.CutSuffix(path, "\n")
	return hasNewline && !o.isNew && len(c.paths[bare]) > 0 || q.mode == 0 && o.isNew && len(c.paths[path]) > 1
}

var modes = []uint32{0o100644, 0o100644, 0o100755, 0o040755, 0o120777, 0o020666, 0o060660, 0o140755, 0o010644, 0}

// grow appends a text that an expression of package regexp matches, which is over
// texts with each byte as a character.
func grow(r *rand.Rand, b []byte, e *syntax.Regexp) []byte {
	few := func(low, high int) {
		for range low + r.IntN(high-low+1) {
			b = grow(r, b, e.Sub[0])
		}
	}
	switch e.Op {
	case syntax.OpLiteral:
		for _, c := range e.Rune {
			b = append(b, byte(c))
		}
	case syntax.OpCharClass, syntax.OpAnyChar:
		return append(b, member(r, e))
	case syntax.OpCapture:
		return grow(r, b, e.Sub[0])
	case syntax.OpConcat:
		for _, sub := range e.Sub {
			b = grow(r, b, sub)
		}
	case syntax.OpAlternate:
		return grow(r, b, e.Sub[r.IntN(len(e.Sub))])
	case syntax.OpQuest:
		few(0, 1)
	case syntax.OpStar:
		few(0, 5)
	case syntax.OpPlus:
		few(1, 6)
	case syntax.OpRepeat:
		high := min(e.Max, e.Min+6)
		if e.Max < 0 {
			high = e.Min + 6
		}
		few(e.Min, high)
	}
	return b
}

// member returns a byte of a class, one of the usual ones if there is one.
func member(r *rand.Rand, e *syntax.Regexp) byte {
	const usual = "/abcxyz0189._-+ \n\xc3\xa9"
	in := func(c byte) bool {
		for i := 0; i < len(e.Rune); i += 2 {
			if e.Rune[i] <= rune(c) && rune(c) <= e.Rune[i+1] {
				return true
			}
		}
		return e.Op == syntax.OpAnyChar
	}
	for range 100 {
		c := usual[r.IntN(len(usual))]
		if r.IntN(8) == 0 {
			c = byte(1 + r.IntN(255))
		}
		if in(c) {
			return c
		}
	}
	for c := range 256 {
		if in(byte(c)) {
			return byte(c)
		}
	}
	return 0
}

// grown returns a text that the pattern matches, and false if none was found.
func grown(t *testing.T, r *rand.Rand, pattern string) (string, bool) {
	t.Helper()
	whole, err := pcre.Parse(pattern)
	if err != nil {
		t.Fatal(err)
	}
	e, err := syntax.Parse(whole.Compile().String(), syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	text := string(grow(r, nil, e))
	if r.IntN(10) > 0 {
		text = strings.TrimSuffix(text, "\n") // for which the $ has a place
	}
	return text, len(text) < 1<<12 && whole.Compile().MatchString(text)
}

// questionsFor returns paths that the patterns match, or nearly.
func questionsFor(t *testing.T, c *Contexts, r *rand.Rand, each int) []question {
	t.Helper()
	var all []question
	for i := range c.specs {
		for range each {
			text, _ := grown(t, r, c.specs[i].Pattern)
			path := spoil(r, []byte(text))
			all = append(all, question{modes[r.IntN(len(modes))], path})
		}
	}
	return all
}

// spoil changes a path a little, or not at all.
func spoil(r *rand.Rand, b []byte) string {
	at := 0
	if len(b) > 0 {
		at = r.IntN(len(b))
	}
	switch r.IntN(12) {
	case 0:
		b = append(b, "/x"...)
	case 1:
		b = append(b, '/')
	case 2:
		b = append(b, '\n')
	case 3:
		b = b[:max(0, len(b)-1)]
	case 4:
		b = append(b, byte(1+r.IntN(255)))
	case 5:
		b = append([]byte("/usr"), b...)
	case 6:
		b = append(b[:at:at], append([]byte("/"), b[at:]...)...)
	case 7:
		b = bytes.TrimPrefix(b, []byte("/usr"))
	}
	b = bytes.ReplaceAll(b, []byte{0}, []byte("0"))
	if len(b) == 0 || b[0] != '/' {
		b = append([]byte("/"), b...)
	}
	return string(b)
}

// pieces are what random patterns are made of.
var pieces = []string{
	"/", "/", "/", "/", "/a", "/b", "a", "b", "c", "a", "b", ".", ".*", "(/.*)?", "[^/]*", "[^/]+", "/a(/.*)?", "/a/b/", `\.`, `\-`, `\@`, `\+`,
	"[ab]", "[^a]", "[a-c]", "[]a]", "[^]a]", "[a-]", "[-a]", "[[:digit:]]", "[[:^alpha:]-]", `[\w.]`, `[^\d/]`, `[\.\]]`, "[[a]", "[/b]", "[b-a]", "[",
	`\d`, `\D`, `\w+`, `\W`, `\s`, `\S*`, `\n`, "?", "*", "+", "{2}", "{1,2}", "{0}", "{2,}", "{2,1}", "*?", "+?", "??", "{", "}", "]", "{a}", ")", "(",
	"(a|b)", "(/a|/b)/", "(a|)", "()", "(?:b|c)", "((a)|(b))*", "(a*)*", "|", "^", "$", "(/b|$)", "($)", "(a$|b)", "(^/a|b)", `\`,
	"(?i)", "(?=a)", "a++", `\b`, `\Q`, `\1`, "(?#x)", "[[.a.]]", "{,2}",
}

// isOdd reports whether versions of libselinux do not agree about the leading
// directories of a pattern: up to 3.7 there is one, and it is compared as it is
// written.
func isOdd(pattern string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
	return pattern[0] != '/' || strings.Contains(pattern, "//") || strings.ContainsAny(first, `\)]}`) ||
		strings.Count(stem(pattern), "/") > 2 && (strings.Contains(pattern, "|") || repeatedSlash.MatchString(pattern))
}

var repeatedSlash = regexp.MustCompile(`/[?*{]`)

func randomPattern(r *rand.Rand) string {
	pattern := []string{"/a/", "/a/", "/", ""}[r.IntN(4)]
	for range 1 + r.IntN(6) {
		pattern += pieces[r.IntN(len(pieces))]
	}
	return pattern
}

// TestRandomPatterns has patterns of all kinds mean the same to libselinux: one
// is compiled and matches the same paths, or is wrong, or is refused as one that
// package regexp cannot do.
func TestRandomPatterns(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(9, 6))
	var all []database
	var parsed []*Contexts
	const patterns, paths = 3000, 30
	unknown, wrong := 0, 0
	for range patterns {
		pattern := randomPattern(r)
		if !o.isNew && isOdd(pattern) {
			continue
		}
		file := write(t, map[string]string{"": pattern + " u:r:t:s0\n"})
		c, err := Load(file)
		questions := []question{{0o100644, stem(pattern) + "/x"}}
		p, isPattern := errors.AsType[*pcre.Error](err)
		switch {
		case err == nil:
			for i := range paths {
				text, _ := grown(t, r, pattern)
				b := []byte(text)
				if i%2 == 0 {
					b = []byte("/a/"[:1+2*r.IntN(2)])
					for range 1 + r.IntN(6) {
						b = append(b, "//abc.-1]{}\n\xe9"[r.IntN(13)])
					}
				}
				questions = append(questions, question{0o100644, spoil(r, b)})
			}
		case !isPattern:
			t.Fatalf("%q: %v", pattern, err)
		case p.Unknown:
			unknown++
			continue
		default:
			wrong++
		}
		all, parsed = append(all, database{file, questions}), append(parsed, c)
	}
	matched, missed := 0, 0
	for i, answers := range ask(t, all...) {
		c, d := parsed[i], all[i]
		if c == nil {
			if answers[0] != "error" && answers[0] != refused {
				t.Errorf("%s: libselinux compiles what is taken for wrong, and answers %s", pattern(d), answers[0])
			}
			continue
		}
		for j, q := range d.questions {
			got, ok := c.Lookup(q.path, KindOf(q.mode))
			if !ok {
				got = None
				missed++
			} else {
				matched++
			}
			if got != answers[j] && !o.differs(c, q) {
				t.Errorf("%s, path %q: %s, libselinux: %s", pattern(d), q.path, got, answers[j])
			}
		}
	}
	t.Logf("%d patterns, %d wrong, %d not known; %d paths match, %d do not", patterns, wrong, unknown, matched, missed)
	if unknown > patterns/2 || wrong < 100 || matched < 3000 || missed < 5000 {
		t.Error("the patterns are no good")
	}
}

func pattern(d database) string {
	text, err := os.ReadFile(d.file)
	if err != nil {
		return err.Error()
	}
	return string(bytes.Fields(text)[0])
}
