package tree

import (
	"context"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
)

// Sharded returns a source that hands over what is in a shard of another one, and
// skips the rest. A file goes by its Rel, which the other source must make the same
// each time, also of a file with several names. Of what is no file, that whose
// Found.Rel is not known is in all shards.
//
// It is for carriers that open a file at no cost. One that does not is told which
// shard is meant, as mounted.Tree is, and looks at names only.
func Sharded(s Source, part shard.Shard) Source {
	if !part.Divides() {
		return s
	}
	return sharded{s, part}
}

type sharded struct {
	source Source
	part   shard.Shard
}

// Walk implements Source.
func (s sharded) Walk(ctx context.Context, visit func(Found) error) error {
	return s.source.Walk(ctx, func(f Found) error {
		rel := f.Rel
		if f.File != nil {
			rel = f.File.Rel()
		}
		if rel != "" && !s.part.HasPath(rel) {
			if f.File != nil {
				f.File.Close()
			}
			f = Found{Path: f.Path, Rel: rel, Skip: reason.OtherShard}
		}
		return visit(f)
	})
}

// Notes implements Noter, where the source does.
func (s sharded) Notes() reason.List {
	if n, ok := s.source.(Noter); ok {
		return n.Notes()
	}
	return nil
}
