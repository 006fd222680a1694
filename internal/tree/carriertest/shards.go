package carriertest

import (
	"slices"
	"sync"
	"testing"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
	"imaseal/internal/tree"
)

// shards: each thing that is found is so in one shard, and the others say that it is
// in another.
func shards(t *testing.T, c Carrier) {
	of := c.New(t, files())
	all := found(t, of, shard.Shard{})
	const count = 3
	var union []string
	for i := range count {
		part := found(t, of, shard.Shard{Index: i + 1, Count: count})
		for what, n := range part {
			for range n {
				union = append(union, what)
			}
		}
	}
	slices.Sort(union)
	var want []string
	for what, n := range all {
		for range n {
			want = append(want, what)
		}
	}
	slices.Sort(want)
	if !slices.Equal(union, want) {
		t.Errorf("the shards have\n%q, all of them\n%q", union, want)
	}
}

// found counts what a source of a shard finds, but what is in another.
func found(t *testing.T, of Tree, part shard.Shard) map[string]int {
	var mu sync.Mutex
	all := make(map[string]int)
	source, sink := of.Open(t, 2)
	others := 0
	err := tree.Sharded(source, part).Walk(t.Context(), func(f tree.Found) error {
		if f.File != nil {
			f.File.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		if f.Skip == reason.OtherShard {
			others++
		} else {
			all[f.Path+" "+string(f.Skip)]++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := sink.Abort(); err != nil {
		t.Error(err)
	}
	if (others > 0) != part.Divides() || len(all) == 0 {
		t.Errorf("shard %v: %d in it, %d in others", part, len(all), others)
	}
	return all
}
