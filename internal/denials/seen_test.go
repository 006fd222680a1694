package denials

import (
	"testing"
	"time"

	"imaseal/internal/audit"
)

// TestSeen: the latest records are known again, however many came before, in memory
// that is bounded.
func TestSeen(t *testing.T) {
	at := time.Unix(1795676400, 0)
	record := func(i int) *audit.Record {
		return &audit.Record{Type: audit.Data, Time: at, Serial: uint64(i + 1)}
	}
	c := New(Options{})
	const n = 3*maxSeen + 7
	for i := range n {
		if c.seen.again(record(i)) {
			t.Fatalf("record %d was not there before", i)
		}
	}
	for i := n - maxSeen; i < n; i++ {
		if !c.seen.again(record(i)) {
			t.Fatalf("record %d of %d is forgotten", i, n)
		}
	}
	if slots := len(c.seen.now.slots) + len(c.seen.before.slots); slots > 4*maxSeen {
		t.Errorf("%d slots", slots)
	}
	if c.seen.again(record(0)) {
		t.Error("the first record is still known")
	}
	for range 2 {
		if c.seen.again(&audit.Record{Time: at}) {
			t.Error("records without a number are taken for one")
		}
	}
}
