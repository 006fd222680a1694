package measured

import (
	"slices"
	"sync/atomic"

	"imaseal/hash"
	"imaseal/internal/measure"
)

// A List is what a measurement list says of names: of files, and of nothing else.
type List struct {
	names map[string]*Entry
	// Violations counts records of what was changed while it was measured, Others
	// those that are of no file: buffers, and templates that are not known.
	Violations, Others int64
	// Boot is what the boot_aggregate of the last boot has; zero if there is none.
	Boot measure.FileDigest
}

// An Entry is what a list has under one name, for which blanks are "_": several files may
// have it, in the course of time, at once, or each under a root of its own.
type Entry struct {
	// Digests are those that were measured, each once, in the order of their first
	// records. Last is that of the last record.
	Digests []measure.FileDigest
	Last    measure.FileDigest
	// Unknown counts records with a digest that is of no algorithm that is known.
	Unknown int64
	// Label is the signature label that was measured with Last; nil for none.
	Label []byte
	// Record is the number of the last record.
	Record int64
	// Violations counts records of it with no digest.
	Violations int64
	// UID and Mode are those of the inode, where the template has them.
	UID, Mode *uint32

	seen      map[measure.FileDigest]bool // the digests, if there are many
	found     atomic.Bool                 // in a tree
	elsewhere atomic.Pointer[string]      // a path in the tree that ends in the name
}

// NewList returns an empty list.
func NewList() *List { return &List{names: make(map[string]*Entry)} }

// Add adds a record.
func (l *List) Add(r measure.Record) {
	name := r.Name()
	_, isBuffer := r.Field("buf")
	switch {
	case r.IsBootAggregate():
		l.Boot, _ = r.FileDigest()
		return
	case name == "" || isBuffer:
		l.Others++
		return
	}
	e := l.names[name]
	if e == nil {
		e = new(Entry)
		l.names[name] = e
	}
	e.Record = r.Number
	if r.IsViolation() {
		l.Violations++
		e.Violations++
		return
	}
	if d, ok := r.FileDigest(); ok {
		e.add(d)
	} else {
		e.Unknown++
	}
	e.Label = nil
	if sig, ok := r.Field("sig"); ok && len(sig) > 0 {
		e.Label = slices.Clone(sig)
	}
	if uid, ok := r.Uint("iuid"); ok {
		e.UID = &uid
	}
	if mode, ok := r.Uint("imode"); ok {
		e.Mode = &mode
	}
}

// many is how many digests are looked through one after the other.
const many = 16

// add adds a digest that was measured.
func (e *Entry) add(d measure.FileDigest) {
	e.Last = d
	if e.has(d) {
		return
	}
	e.Digests = append(e.Digests, d)
	switch n := len(e.Digests); {
	case n > many:
		e.seen[d] = true
	case n == many:
		e.seen = make(map[measure.FileDigest]bool)
		for _, d := range e.Digests {
			e.seen[d] = true
		}
	}
}

// Len returns the number of names.
func (l *List) Len() int { return len(l.names) }

// Names returns all names, sorted.
func (l *List) Names() []string {
	names := make([]string, 0, len(l.names))
	for name := range l.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Entry returns what there is of a path, nil for nothing.
func (l *List) Entry(path string) *Entry { return l.names[measure.EscapeName(path)] }

// algorithms are those by which a content is to be digested to compare it.
func (e *Entry) algorithms() []hash.Algorithm {
	var all []hash.Algorithm
	for _, d := range slices.Backward(e.Digests) {
		if a := d.Digest.Algorithm(); d.Kind == measure.KindIMA && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// has reports whether a digest was measured.
func (e *Entry) has(d measure.FileDigest) bool {
	if e.seen != nil {
		return e.seen[d]
	}
	return slices.Contains(e.Digests, d)
}
