package certtest

import (
	"bytes"
	"testing"
)

// TestMakeMany: none of them fails to be made.
func TestMakeMany(t *testing.T) {
	for n := range uint64(3000) {
		if c := Make(7, n); c.Name == "" || c.Key == nil {
			t.Errorf("certificate %d: %+v", n, c)
		}
	}
}

// TestMakeAgain: the same number is the same certificate, another is another.
func TestMakeAgain(t *testing.T) {
	seen := make(map[string]bool)
	for n := range uint64(300) {
		a, b := Make(5, n), Make(5, n)
		if !bytes.Equal(a.DER, b.DER) || a.Name != b.Name {
			t.Fatalf("certificate %d is made in two ways", n)
		}
		seen[string(a.DER)] = true
	}
	if len(seen) < 290 {
		t.Errorf("only %d of 300 differ", len(seen))
	}
	if bytes.Equal(Make(5, 1).DER, Make(6, 1).DER) {
		t.Error("the seed does not count")
	}
}
