package integrate

import (
	"bytes"
	"testing"
)

func TestMark(t *testing.T) {
	for _, text := range []string{"", "one\n", "no end", "\n\n", "# Written by imaseal: mode=0644 made=0 sha256=\n"} {
		m := mark{mode: 0o755, made: 3}
		b := m.seal([]byte(text))
		if got, ok := parseMark(b); !ok || got != m {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
		for i := range b {
			flipped := bytes.Clone(b)
			flipped[i] ^= 1
			if _, ok := parseMark(flipped); ok {
				t.Errorf("%q is taken with byte %d flipped", text, i)
			}
			if _, ok := parseMark(b[:i]); ok {
				t.Errorf("%q is taken cut off at %d", text, i)
			}
		}
		if _, ok := parseMark(append(b, '\n')); ok {
			t.Errorf("%q is taken with another line", text)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte("text\n"), 0, []byte(nil))
	f.Add([]byte("text\n"), 3, mark{mode: 0o644}.seal([]byte("text")))
	f.Fuzz(func(t *testing.T, text []byte, made int, raw []byte) {
		if m, ok := parseMark(raw); ok && !bytes.HasSuffix(raw, []byte("\n")) || !ok && m != (mark{}) {
			t.Errorf("%+v %v of %q", m, ok, raw)
		}
		if made < 0 {
			return
		}
		want := mark{mode: 0o644, made: made}
		if got, ok := parseMark(want.seal(text)); !ok || got != want {
			t.Errorf("%+v %v", got, ok)
		}
	})
}
