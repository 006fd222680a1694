// Package shard says which part of a tree a run answers for, where many runs share
// the work.
//
// A file belongs to the shard 1 + [Number] mod N, where Number is the first eight
// bytes, big endian, of the SHA-256 of its path within the tree. That depends on
// nothing but the path, so that machines agree that know nothing of one another,
// and anybody can say it again:
//
//	printf %s usr/bin/env | sha256sum | cut -c1-16
//
// A file with several names has the least of their numbers, among the names that
// the walk comes to: see package walk.
package shard

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Max is the greatest number of shards: more than any queue takes as one job.
const Max = 10_000_000

// A Shard is one of Count parts. The zero value is the whole.
type Shard struct {
	Index int `json:"index"` // from 1
	Count int `json:"count"`
}

// IsGiven reports whether it is a part, be it the only one.
func (s Shard) IsGiven() bool { return s.Count != 0 }

// Divides reports whether there are other parts.
func (s Shard) Divides() bool { return s.Count > 1 }

// Has reports whether what has the number is in the shard.
func (s Shard) Has(number uint64) bool {
	return !s.Divides() || number%uint64(s.Count) == uint64(s.Index-1)
}

// HasPath reports whether what has this one path within the tree is in the shard.
func (s Shard) HasPath(rel string) bool { return !s.Divides() || s.Has(Number(rel)) }

// String prints the shard as Parse reads it.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

// Number returns the number of a path within a tree, with slashes.
func Number(rel string) uint64 {
	var room [256]byte
	sum := sha256.Sum256(append(room[:0], rel...))
	return binary.BigEndian.Uint64(sum[:])
}

// An Error says that a text names no shard, or that the environment does not.
type Error struct{ What, Advice string }

func (e *Error) Error() string { return e.What }

// Parse reads I/N; "auto", where the environment has both; or "auto/N", where it has
// the number of this one. The error is an *Error.
func Parse(text string, getenv func(string) string) (Shard, error) {
	first, second, divided := strings.Cut(text, "/")
	count := 0
	if divided {
		var ok bool
		if count, ok = number(second); !ok || count < 1 || count > Max {
			return Shard{}, &Error{fmt.Sprintf("%q is no number of shards from 1 to %d", second, Max), "2/8 is the second of eight, auto takes what the environment says"}
		}
	}
	if first == "auto" {
		return auto(count, getenv)
	}
	index, ok := number(first)
	switch {
	case !ok || !divided:
		return Shard{}, &Error{fmt.Sprintf("%q is not I/N or auto", text), "2/8 is the second of eight"}
	case index < 1 || index > count:
		return Shard{}, &Error{fmt.Sprintf("there is no shard %d of %d", index, count), "they are numbered from 1; what counts from 0 needs one more: $((N + 1))"}
	}
	return Shard{index, count}, nil
}

// number reads digits, and nothing else.
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return int(min(n, math.MaxInt32)), err == nil
}
