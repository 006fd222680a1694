// Package flat finds out which entries of an image's layers are there when all of
// them are unpacked, one over the other.
//
// A layer is a tar archive. Its entries replace those of the same path in the layers
// below; an entry .wh.NAME says that NAME is gone, with all below it, and
// .wh..wh..opq that nothing is left of what lower layers have in its directory: both
// hold for lower layers only, wherever in the layer they stand (layer.md of the OCI
// image specification, 1.1, "Whiteouts"). Directories of a path that are symbolic
// links are followed, within the root, as umoci, containerd and docker unpack.
//
// Paths are not kept: a tree of a million files would take more memory than the rest
// of the program. A node is found by a hash of its parent's number and its name,
// whose seed nobody knows.
package flat

import (
	"hash/maphash"
	"path"
	"strings"
)

// Prefixes of whiteouts.
const (
	prefix = ".wh."
	opaque = ".wh..wh..opq"
	// meta is that of names by which aufs kept its own files.
	meta = ".wh..wh."
)

// IsWhiteout reports whether a path, which is clean, is a sign and no file.
func IsWhiteout(rel string) bool {
	return strings.HasPrefix(rel[strings.LastIndexByte(rel, '/')+1:], prefix) || strings.HasPrefix(rel, meta)
}

// A Kind says what an entry is.
type Kind uint8

// The kinds.
const (
	none Kind = iota // only there because something is below it
	Directory
	File
	HardLink
	Symlink
	Special
)

const (
	maxLayers = 1 << 15
	// maxLinks bounds the bytes of targets of symbolic links, and of names of hard
	// links, that are kept; each costs linkCost more.
	maxLinks = 32 << 20
	linkCost = 48
	// maxFollowed is how many links one behind the other the kernel follows.
	maxFollowed = 40
	// maxPath is PATH_MAX: no link is longer.
	maxPath = 4096
)

// A LimitError says that an image has more of something than is kept in mind.
type LimitError struct{ What string }

func (e *LimitError) Error() string { return "it has more " + e.What + " than any image" }

// A place is an entry of a layer.
type place struct {
	layer  uint16
	number uint32
}

// A gone says what is not there any more.
type gone struct {
	self  uint16 // the last layer that says that the node is gone, as it was below
	below uint16 // the last layer that says that of all in it
}

// A Tree is what there is when all layers are unpacked.
type Tree struct {
	seed   maphash.Seed
	table  table
	gone   map[uint32]gone   // what layers say of a node besides having it
	linked map[uint32]place  // the entries that have the content of hard links
	text   map[uint32]string // targets of symbolic links, and paths of hard links
	kept   int               // bytes of text
	layers []layer
	rename map[place]string
}

// A layer has a bit for each entry that is there in the end.
type layer []uint64

func (l *layer) put(number uint32, is bool) {
	for int(number/64) >= len(*l) {
		*l = append(*l, 0)
	}
	if bit := uint64(1) << (number % 64); is {
		(*l)[number/64] |= bit
	} else {
		(*l)[number/64] &^= bit
	}
}

func (l layer) has(number uint32) bool {
	return int(number/64) < len(l) && l[number/64]&(1<<(number%64)) != 0
}

// New returns a tree with nothing in it. The caller closes it.
func New() *Tree {
	t := &Tree{seed: maphash.MakeSeed(), gone: make(map[uint32]gone), linked: make(map[uint32]place), text: make(map[uint32]string), rename: make(map[place]string)}
	t.table.add(node{entry: uint32(Directory)}) // the root
	return t
}

// Close gives back what Add has taken. At goes on after Done.
func (t *Tree) Close() { t.table.close() }

// Next begins the next layer, from the lowest on. The error is a *LimitError.
func (t *Tree) Next() error {
	if len(t.layers) == maxLayers {
		return &LimitError{"layers"}
	}
	t.layers = append(t.layers, nil)
	return nil
}

// Add adds an entry of the layer, by its number there. Link is what a link leads to,
// as it stands in the archive. The error is a *LimitError, or that there is no memory.
func (t *Tree) Add(number int, kind Kind, name, link string) error {
	if number > maxNumber {
		return &LimitError{"entries"}
	}
	rel := path.Clean("/" + name)[1:]
	dir, base := path.Split(rel)
	if rel == "" || strings.HasPrefix(rel, meta) && base != opaque {
		return nil
	}
	parent, ok := t.walk(dir, true)
	if !ok {
		return t.table.err // or in a circle of links: no program unpacks it
	}
	now := uint16(len(t.layers))
	switch {
	case base == opaque:
		t.lose(parent, gone{below: now})
		return nil
	case strings.HasPrefix(base, prefix):
		t.lose(t.child(parent, base[len(prefix):], true), gone{self: now})
		return t.table.err
	}
	id := t.child(parent, base, true)
	if t.table.err != nil {
		return t.table.err
	}
	var content place
	if to, ok := t.walk(link, false); kind == HardLink && ok && to != root && t.has(to) {
		content = t.content(to)
	}
	n := t.table.at(id)
	if kind == Directory {
		t.lose(id, gone{below: t.below(id)}) // as it was
	}
	n.put(now, uint32(number), kind)
	switch {
	case kind == Symlink && len(link) < maxPath:
		return t.keep(id, link)
	case kind == HardLink:
		t.linked[id] = content
		return t.keep(id, rel)
	}
	return nil
}

// content returns the entry that has the content of a node.
func (t *Tree) content(id uint32) place {
	switch n := t.table.at(id); n.kind() {
	case File:
		return place{n.set, n.own()}
	case HardLink:
		return t.linked[id]
	}
	return place{}
}

func (t *Tree) keep(id uint32, text string) error {
	if t.kept += len(text) + linkCost; t.kept > maxLinks {
		return &LimitError{"links"}
	}
	t.text[id] = text
	return nil
}

// child returns the node of a name in a directory. It is made where make says so;
// else there may be none, which is said by root.
func (t *Tree) child(parent uint32, name string, make bool) uint32 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.Write([]byte{byte(parent), byte(parent >> 8), byte(parent >> 16), byte(parent >> 24)})
	h.WriteString(name)
	key := h.Sum64() >> 16
	id := t.table.find(key)
	if id == root && make {
		id = t.table.add(node{high: uint32(key >> 16), low: uint16(key), parent: parent})
	}
	return id
}

// walk follows a path from the root, with all links but, unless make says that it is
// a directory, the last. It reports whether there is a node, which then is made.
func (t *Tree) walk(rest string, make bool) (uint32, bool) {
	at := uint32(root)
	for followed := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			at = t.table.at(at).parent
			continue
		}
		id := t.child(at, name, make)
		if id == root {
			return root, false
		}
		if t.table.at(id).kind() != Symlink || !t.has(id) || rest == "" && !make {
			at = id
			continue
		}
		to := t.text[id]
		if followed++; followed > maxFollowed || to == "" {
			return root, false
		}
		if rest = to + "/" + rest; len(rest) > maxFollowed*maxPath {
			return root, false
		}
		if path.IsAbs(to) {
			at = root
		}
	}
	return at, true
}

// lose notes what a layer says of a node, where that is more than what is known.
func (t *Tree) lose(id uint32, g gone) {
	is := t.gone[id]
	if sum := (gone{max(is.self, g.self), max(is.below, g.below)}); sum != is {
		t.gone[id] = sum
	}
}

// below returns the last layer of which nothing below is left in a node: in what is no
// directory there is nothing.
func (t *Tree) below(id uint32) uint16 {
	below := t.gone[id].below
	if n := t.table.at(id); n.set > 0 && n.kind() != Directory {
		below = max(below, n.set)
	}
	return below
}

// has reports whether a node is there, as of now.
func (t *Tree) has(id uint32) bool {
	n := t.table.at(id)
	if n.set == 0 || n.set < t.gone[id].self {
		return false
	}
	for at := n.parent; at != root; at = t.table.at(at).parent {
		if n.set < t.gone[at].self || n.set < t.below(at) {
			return false
		}
	}
	return n.set >= t.gone[root].below
}

// Done is called when all layers are added, before At.
func (t *Tree) Done() {
	for id := range t.table.count {
		if content := t.content(id); content.layer > 0 && t.has(id) {
			n := t.table.at(id)
			t.layers[n.set-1].put(n.own(), true)
		}
	}
	// Content whose own name is gone is there by the name of a link.
	for id := range t.table.count {
		n := t.table.at(id)
		if n.kind() != HardLink {
			continue
		}
		content := t.linked[id]
		if content.layer == 0 || !t.has(id) || t.layers[content.layer-1].has(content.number) {
			continue
		}
		t.layers[content.layer-1].put(content.number, true)
		t.layers[n.set-1].put(n.own(), false)
		t.rename[content] = t.text[id]
	}
	t.gone, t.linked, t.text = nil, nil, nil
	t.table.close()
}

// At returns the path of an entry of a regular file, or of a hard link, by the
// number of its layer and its own, and its path in the archive; and whether it is
// there.
func (t *Tree) At(layer, number int, rel string) (string, bool) {
	if !t.layers[layer].has(uint32(number)) {
		return "", false
	}
	if name, ok := t.rename[place{uint16(layer + 1), uint32(number)}]; ok {
		rel = name
	}
	return rel, true
}
