package reason

import (
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	a, b := New("a", "the %d words", 2), New("b", "100 %%")
	if a.Words != "the 2 words" {
		t.Errorf("words %q", a.Words)
	}
	for _, c := range []struct {
		list List
		code Code
		text string
		hasB bool
	}{
		{nil, "", "", false},
		{List{a}, "a", "the 2 words", false},
		{List{a}.With(b), "a", "the 2 words; 100 %", true},
		{List{b}.With(a, b), "b", "100 %; the 2 words", true},
		{List{a}.With(New("a", "others")), "a", "the 2 words; others", false},
	} {
		if c.list.Code() != c.code || c.list.String() != c.text || c.list.Has("x", "b") != c.hasB {
			t.Errorf("%v: code %q, text %q, has b %v", c.list, c.list.Code(), c.list, c.list.Has("x", "b"))
		}
	}
}

// TestWithLeavesTheList: what is added to one list does not show up in another.
func TestWithLeavesTheList(t *testing.T) {
	base := make(List, 1, 4)
	base[0] = New("a", "a")
	one, other := base.With(New("b", "b")), base.With(New("c", "c"))
	if one[1].Code != "b" || other[1].Code != "c" || !slices.Equal(base, List{{"a", "a"}}) {
		t.Errorf("%v, %v, %v", base, one, other)
	}
}
