package denials

import (
	"encoding/binary"
	"hash/maphash"

	"imaseal/internal/audit"
)

// maxSeen is how many records are remembered at least. In a journal the two forms
// of a record are next to each other; logs that were both written from the same
// records are recognised up to this many.
const maxSeen = 1 << 18

// A seen remembers records, the latest ones at least.
type seen struct {
	seed        maphash.Seed
	now, before map[uint64]struct{}
}

// again reports whether a record was there before, and remembers it. One without
// time or serial number is always another.
func (s *seen) again(r *audit.Record) bool {
	if r.Serial == 0 || r.Time.IsZero() {
		return false
	}
	sum := s.sum(r)
	if _, ok := s.now[sum]; ok {
		return true
	}
	_, ok := s.before[sum]
	if s.now == nil || len(s.now) >= maxSeen {
		s.before, s.now = s.now, make(map[uint64]struct{})
	}
	s.now[sum] = struct{}{}
	return ok
}

// sum is another for other records. The machine does not count: only some logs
// tell it.
func (s *seen) sum(r *audit.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	var b [8]byte
	for _, n := range []uint64{uint64(r.Time.UnixMilli()), r.Serial, uint64(r.Type), uint64(r.PID), r.Inode} {
		binary.LittleEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	for _, text := range []string{r.Op, r.Cause, r.Comm, r.Dev, r.Rule, r.Name} {
		h.WriteString(text)
		h.WriteByte(0)
	}
	return h.Sum64()
}
