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
	now, before sums
}

// again reports whether a record was there before, and remembers it. One without
// time or serial number is always another.
func (s *seen) again(r *audit.Record) bool {
	if r.Serial == 0 || r.Time.IsZero() {
		return false
	}
	sum := s.sum(r)
	if s.now.has(sum) {
		return true
	}
	ok := s.before.has(sum)
	if s.now.n >= maxSeen {
		s.before, s.now = s.now, s.before
		s.now.clear()
	}
	s.now.add(sum)
	return ok
}

// sums are a set of sums, with open addressing: half the size of a map, and nothing is
// left for the garbage collector where one generation follows another.
type sums struct {
	slots []uint64 // a power of two of them, at most half of them taken; 0 is a free one
	n     int
}

// slot returns where a sum is, or would be.
func (s *sums) slot(sum uint64) *uint64 {
	mask := uint64(len(s.slots) - 1)
	for i := sum & mask; ; i = (i + 1) & mask {
		if at := &s.slots[i]; *at == sum || *at == 0 {
			return at
		}
	}
}

func (s *sums) has(sum uint64) bool { return s.n > 0 && *s.slot(sum) == sum }

// add adds a sum that is not there.
func (s *sums) add(sum uint64) {
	if 2*(s.n+1) > len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, max(1024, 2*len(old)))
		for _, sum := range old {
			if sum != 0 {
				*s.slot(sum) = sum
			}
		}
	}
	*s.slot(sum) = sum
	s.n++
}

// clear removes all.
func (s *sums) clear() {
	clear(s.slots)
	s.n = 0
}

// sum is another for other records, and never 0. The machine does not count: only some logs
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
	return max(h.Sum64(), 1)
}
