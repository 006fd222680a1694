package sign

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"imaseal/hash"
)

// TestMemo compares a memo with a plain list, in the order of use.
func TestMemo(t *testing.T) {
	const room = 7
	m := newMemo(room * (slotBytes + 20 + stretch))
	var order []string // the newest last
	key := func(name string) memoKey { return keyOf(hash.Digest{}, []byte(name)) }
	value := func(name string) []byte { return []byte(fmt.Sprintf("%-20s", name)[:20-len(name)%3]) }
	m.put(key("first"), bytes.Repeat([]byte("x"), 20))
	order = append(order, "first")
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		name := fmt.Sprint("n", r.IntN(12))
		i := slices.Index(order, name)
		got := m.get(key(name))
		if (i >= 0) != (got != nil) || got != nil && !bytes.Equal(got, value(name)) {
			t.Fatalf("%s of %q: %q", name, order, got)
		}
		if i >= 0 {
			order = slices.Delete(order, i, i+1)
		} else {
			m.put(key(name), value(name))
		}
		order = append(order, name)
		if len(order) > room {
			order = order[1:]
		}
		if len(m.index) != len(order) || len(m.slots) > room {
			t.Fatalf("%d in the index, %d slots, want %d", len(m.index), len(m.slots), len(order))
		}
	}
	m.put(key("long"), make([]byte, 20+stretch+1))
	if m.get(key("long")) != nil {
		t.Error("one that does not fit is there")
	}
}
