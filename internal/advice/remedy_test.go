package advice

import "testing"

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin": "/usr/bin", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "-x": "'-x'", "$x": "'$x'", "a\nb": `$'a\nb'`, "ü": "'ü'",
		"\xff1": `$'\3771'`, "\x1b[1m": `$'\033[1m'`, "it's\n\\": `$'it\'s\n\\'`, "\u202e": `$'\342\200\256'`,
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}
