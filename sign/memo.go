package sign

import (
	"crypto/sha256"

	"imaseal/hash"
)

const (
	// slotBytes is what a remembered signature costs besides its bytes: its slot,
	// and its place in the index, which is half empty at worst.
	slotBytes = 44 + 90
	// stretch is how much longer than the first a signature may be: those of an
	// ECDSA key differ by a few bytes.
	stretch = 8
)

// A memoKey is a digest of what a key signed.
type memoKey [sha256.Size]byte

// keyOf returns the key of a digest, or of a message where there is one.
func keyOf(d hash.Digest, message []byte) memoKey {
	b := make([]byte, 0, 128)
	if d.IsZero() {
		return sha256.Sum256(append(append(b, "message "...), message...))
	}
	b = append(append(append(b, "digest "...), d.Algorithm().String()...), ' ')
	return sha256.Sum256(d.AppendTo(b))
}

// A memo keeps as many of the signatures used last as fit into a number of bytes.
// There is no pointer in it: the garbage collector has nothing to look at, however
// much it holds.
type memo struct {
	limit  int // bytes
	most   int // signatures, known with the first
	stride int // bytes between signatures in sigs
	index  map[memoKey]int32
	slots  []slot
	sigs   []byte
	newest int32 // -1 for none, and so for oldest
	oldest int32
}

// A slot is one signature's place in the order of use.
type slot struct {
	key          memoKey
	newer, older int32
	size         int32
}

func newMemo(limit int) *memo {
	return &memo{limit: limit, index: make(map[memoKey]int32), newest: -1, oldest: -1}
}

// get returns a copy of a signature, nil if it is not there.
func (m *memo) get(k memoKey) []byte {
	i, ok := m.index[k]
	if !ok {
		return nil
	}
	m.unlink(i)
	m.link(i)
	return append([]byte(nil), m.sigs[int(i)*m.stride:][:m.slots[i].size]...)
}

// put keeps a signature that is not there yet.
func (m *memo) put(k memoKey, sig []byte) {
	if m.stride == 0 {
		m.stride = len(sig) + stretch
		m.most = m.limit / (slotBytes + m.stride)
	}
	if m.most == 0 || len(sig) > m.stride {
		return
	}
	i := int32(len(m.slots))
	if len(m.slots) < m.most {
		m.slots = append(m.slots, slot{})
		m.sigs = append(m.sigs, make([]byte, m.stride)...)
	} else {
		i = m.oldest
		m.unlink(i)
		delete(m.index, m.slots[i].key)
	}
	m.slots[i].key, m.slots[i].size = k, int32(len(sig))
	copy(m.sigs[int(i)*m.stride:], sig)
	m.index[k] = i
	m.link(i)
}

// link makes a slot the newest.
func (m *memo) link(i int32) {
	m.slots[i].newer, m.slots[i].older = -1, m.newest
	if m.newest >= 0 {
		m.slots[m.newest].newer = i
	} else {
		m.oldest = i
	}
	m.newest = i
}

func (m *memo) unlink(i int32) {
	s := m.slots[i]
	if s.newer >= 0 {
		m.slots[s.newer].older = s.older
	} else {
		m.newest = s.older
	}
	if s.older >= 0 {
		m.slots[s.older].newer = s.newer
	} else {
		m.oldest = s.newer
	}
}
