package finding

import "testing"

func TestWords(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a, b, c": {"a", "b", "c"}, "a, b, c and 2 more": {"a", "b", "c", "d", "e"}} {
		if got := Some(names); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for n, want := range map[int]string{0: "0 keys", 1: "1 key", 2: "2 keys"} {
		if got := Count(n, "key"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var l List
	l.Add(Warn, "topic", "do", "%d of %s", 2, "x")
	if f := l.Findings[0]; f != (Finding{Warn, "topic", "2 of x", "do", nil}) {
		t.Errorf("%+v", f)
	}
}
