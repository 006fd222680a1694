package words

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Shown(""), ""}, {Shown("/a b"), "/a b"}, {Shown("new\nline"), `"new\nline"`}, {Shown("\xff"), `"\xff"`}, {Shown(strings.Repeat("é", 120)), strings.Repeat("é", 120)},
		{Shown(strings.Repeat("a", 200) + strings.Repeat("z", 200)), strings.Repeat("a", 60) + "…" + strings.Repeat("z", 59)},
		{Cut("longer", 6), "longer"}, {Cut("longer", 5), "long…"}, {Cut("ééé", 3), "ééé"}, {Cut("ééé", 2), "é…"},
		{Number(0), "0"}, {Number(999), "999"}, {Number(1000), "1,000"}, {Number(uint64(1234567)), "1,234,567"},
		{Plural(0, "file"), "0 files"}, {Plural(1, "file"), "1 file"}, {Plural(1000, "file"), "1,000 files"},
		{Percent(0), "0%"}, {Percent(100), "100%"}, {Percent(12.5), "12.5%"}, {Percent(33.3333), "33.33%"}, {Percent(1e-9), "0%"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if n := utf8.RuneCountInString(Clip(strings.Repeat("長", 10_000))); n != longestText {
		t.Errorf("%d letters", n)
	}
}

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "<b> &amp;\n": "<b> &amp;\n", "é長": "é長", "\x00\x1b[m\t\r": `\x00\x1b[m\t\r`, "\xff\xc3": `\xff\xc3`, "\ufffd": "\ufffd", "\u202e\u2028\ufeff": `\u202e\u2028\ufeff`,
		"\u00a0": `\u00a0`,
	} {
		if got := string(Scrub([]byte(in))); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
