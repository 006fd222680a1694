package cli

import "testing"

// TestExcluded has expressions that Python 3.11 takes and refuses as one of several in
// parentheses, as Keylime tries them.
func TestExcluded(t *testing.T) {
	for _, good := range []string{`/var/tmp/.*`, `/tmp/(?i:x)`, `(?P<n>a)(?P=n)`, `(?<=a)b`, `(?<!a)b`, `a(?!b)`, `x{1001}`, `a\_b`, `\\z`, `\Z`, `\x41`, `[[:alpha:]]`, `\(?x`} {
		if err := checkExcluded([]string{"/a", good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", `(`, `a{2}{3}`, `\z`, `\pL`, `a\Qb\E`, `(?i)abc`, `a(?i)b`, `(?s).`, `(?U)a*`, `(?U:a*)`, `(?<n>a)`, `\x{41}`, `\C`, `[\z]`, `\\\z`} {
		if err := checkExcluded([]string{"/a", bad}); err == nil {
			t.Errorf("%s: taken", bad)
		}
	}
}
