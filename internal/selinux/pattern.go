package selinux

import (
	"strings"
	"sync"

	"imaseal/internal/selinux/pcre"
)

// maxPattern is the longest pattern that libselinux compiles (compile_regex()).
const maxPattern = 4095

// A spec is a line that is ready for use.
type spec struct {
	Spec
	// isPath says that the pattern is the path itself, which is path. All below
	// is empty then.
	isPath bool
	path   string
	// dir is the directory that a path must lie in to be tried, with a slash
	// at its end, or "".
	dir string
	// prefix is what every path that matches begins with.
	prefix string
	rest   rest
	// expr matches what is behind the prefix, if rest is not enough to know.
	// It is compiled when it is first needed: most of a policy is about what a
	// tree does not have.
	expr func() *pcre.Regexp
}

// A rest is the form of what is behind the prefix of a pattern. Most have one
// that needs no expression to match.
type rest uint8

const (
	other    rest = iota
	below         // the directory itself, and what is in it
	anyRest       // whatever follows
	someRest      // whatever follows, but something
)

// rests are the forms as they are written.
var rests = map[string]rest{"(/.*)?": below, ".*": anyRest, ".+": someRest}

// compile makes the pattern ready.
func (s *spec) compile() error {
	if len(s.Pattern) > maxPattern {
		return ErrTooLong
	}
	if s.path, s.isPath = literal(s.Pattern); s.isPath {
		return nil
	}
	e, err := pcre.Parse(s.Pattern)
	if err != nil {
		return err
	}
	prefix, tail := e.Cut()
	s.prefix, s.rest = prefix, rests[tail.String()]
	s.dir = prefix[:strings.LastIndexByte(prefix, '/')+1]
	if stem := stem(s.Pattern); !strings.HasPrefix(s.dir, stem) {
		s.dir = stem
	}
	s.expr = sync.OnceValue(tail.Compile)
	return nil
}

// matches reports whether the path, which lies in dir, matches.
func (s *spec) matches(path string) bool {
	tail, ok := strings.CutPrefix(path, s.prefix)
	if !ok {
		return false
	}
	switch s.rest {
	case below: // $ is before a newline at the end, too
		return tail == "" || tail[0] == '/' || tail == "\n"
	case anyRest:
		return true
	case someRest:
		return tail != ""
	}
	return s.expr().MatchString(tail)
}

// special are the characters that make a pattern an expression, and escapable
// those that a backslash takes that from (regex_has_meta_chars()).
const (
	special   = ".^$?*+|[({])}"
	escapable = special + "-_,"
)

// literal returns the path that a pattern is, if it is one.
func literal(pattern string) (string, bool) {
	path := make([]byte, 0, len(pattern))
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '\\' && i+1 < len(pattern) && strings.IndexByte(escapable, pattern[i+1]) >= 0 {
			i++
			c = pattern[i]
		} else if c == '\\' || strings.IndexByte(special, c) >= 0 {
			return "", false
		}
		path = append(path, c)
	}
	return string(path), true
}

// maxStem is how many directories libselinux looks at (SPEC_NODE_MAX_DEPTH).
const maxStem = 3

// stem returns the directories that libselinux demands of a path before it tries
// the pattern, with a slash behind the last, and "" for none (insert_spec()).
func stem(pattern string) string {
	dir, depth := "", 0
	for p := pattern; p != "" && depth < maxStem; {
		name, rest, ok := strings.Cut(p[1:], "/")
		if !ok {
			break
		}
		p = "/" + rest
		if name == "" {
			continue
		}
		plain, ok := literal(name)
		if !ok {
			break
		}
		dir += "/" + plain
		depth++
	}
	if dir == "" {
		return ""
	}
	return dir + "/"
}
