package flat

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A node is a path: 16 bytes, for there may be millions. Layers count from 1, so that
// 0 is none.
type node struct {
	high   uint32 // 48 bits of the hash by which it is found
	low    uint16
	set    uint16 // the layer of the entry that it is
	parent uint32
	entry  uint32 // the number of that entry, and the kind
}

// kindBits are those of a node's entry that hold the kind.
const kindBits = 3

// maxNumber is the largest number of an entry that a node holds.
const maxNumber = 1<<(32-kindBits) - 1

func (n *node) kind() Kind  { return Kind(n.entry & (1<<kindBits - 1)) }
func (n *node) own() uint32 { return n.entry >> kindBits }

func (n *node) put(layer uint16, number uint32, kind Kind) {
	n.set, n.entry = layer, number<<kindBits|uint32(kind)
}

func (n *node) has(key uint64) bool { return n.high == uint32(key>>16) && n.low == uint16(key) }

// key returns the bits of the hash by which a place is found.
func (n *node) key() uint64 { return uint64(n.high)<<16 | uint64(n.low) }

// root is the number of the root directory's node.
const root = 0

const (
	chunk     = 1 << 15 // nodes in one piece of memory
	firstSize = 1 << 12 // places for numbers of nodes
)

// A table holds nodes by their numbers, and finds them by their keys: a hash table
// with open addresses. It is no part of Go's heap, which would grow to twice what is
// in use.
type table struct {
	chunks [][]byte
	slots  []byte // numbers of nodes by hash, 0 where there is none
	count  uint32 // nodes
	err    error  // there was no memory
}

func reserve(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserving memory: %w", err)
	}
	return b, nil
}

// at returns a node by its number.
func (t *table) at(id uint32) *node {
	return &unsafe.Slice((*node)(unsafe.Pointer(unsafe.SliceData(t.chunks[id/chunk]))), chunk)[id%chunk]
}

// places returns the numbers by hash.
func (t *table) places() []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(t.slots))), len(t.slots)/4)
}

// find returns the number of the node with a key of 48 bits, root if there is none.
func (t *table) find(key uint64) uint32 {
	places := t.places()
	for i := key; len(places) > 0; i++ {
		id := places[i%uint64(len(places))]
		if id == root || t.at(id).has(key) {
			return id
		}
	}
	return root
}

// add adds a node with a key that none has yet, and returns its number; root if there
// is no memory.
func (t *table) add(n node) uint32 {
	if int(t.count) == len(t.chunks)*chunk {
		b, err := reserve(chunk * int(unsafe.Sizeof(node{})))
		if err != nil {
			t.err = err
			return root
		}
		t.chunks = append(t.chunks, b)
	}
	if int(t.count)*4 >= len(t.places())*3 && !t.grow() {
		return root
	}
	id := t.count
	t.count++
	*t.at(id) = n
	t.place(id)
	return id
}

// place puts a number where find looks for it.
func (t *table) place(id uint32) {
	if id == root {
		return
	}
	places := t.places()
	for i := t.at(id).key(); ; i++ {
		if p := &places[i%uint64(len(places))]; *p == root {
			*p = id
			return
		}
	}
}

func (t *table) grow() bool {
	old := t.slots
	slots, err := reserve(max(2*len(old), 4*firstSize))
	if err != nil {
		t.err = err
		return false
	}
	t.slots = slots
	for id := range t.count {
		t.place(id)
	}
	if old != nil {
		unix.Munmap(old)
	}
	return true
}

func (t *table) close() {
	for _, c := range t.chunks {
		unix.Munmap(c)
	}
	if t.slots != nil {
		unix.Munmap(t.slots)
	}
	t.chunks, t.slots, t.count = nil, nil, 0
}
