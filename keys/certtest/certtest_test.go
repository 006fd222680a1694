package certtest

import (
	"bytes"
	"testing"
)

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
