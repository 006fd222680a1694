package carriertest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"imaseal/internal/tree"
)

// sizes are those of values about which buffers are made.
func (c Carrier) sizes() []int {
	var sizes []int
	for _, n := range []int{0, 1, 34, 255, 256, 257, 511, 512, 513, 4095, 4096, 4097, 64<<10 - 1, 64 << 10, c.Largest} {
		if n <= c.Largest {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// attributes: a value of any size is there as it was written, at once and in the
// next run, and is the caller's. The other way round an old one gives way.
func attributes(t *testing.T, c Carrier) {
	of := c.New(t, files())
	const name = "bin/one"
	sizes := c.sizes()
	for _, size := range append(sizes, 3, 0, 1) {
		before := of.Dump(t)
		value := []byte(content(size))
		if size == 0 {
			value = []byte{}
		}
		err := apply(t, of, name, []tree.Change{{Attr: attrA, New: bytes.Clone(value)}}, func(f tree.File) { checkAttr(t, f, value) })
		if err != nil {
			t.Errorf("writing %d bytes: %v", size, err)
		}
		wantDump(t, before, of.Dump(t), map[string][]byte{Attr(name, attrA): value})
		source, sink := of.Open(t, 2)
		find(t, source, func(f tree.File) {
			if f.Rel() == name {
				checkAttr(t, f, value)
			} else if v, err := f.Attr(attrA); v != nil || err != tree.ErrNoAttr {
				t.Errorf("%s has %x, %v", f.Rel(), v, err)
			}
		})
		if err := sink.Abort(); err != nil {
			t.Error(err)
		}
	}
}

func checkAttr(t *testing.T, f tree.File, want []byte) {
	t.Helper()
	for range 2 {
		got, err := f.Attr(attrA)
		if err != nil || got == nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes are %d, nil %v, %v", len(want), len(got), got == nil, err)
		}
		for i := range got {
			got[i] ^= 0xff // it is the caller's
		}
	}
	names, err := f.Attrs()
	if err != nil || !slices.Contains(names, attrA) || !slices.Contains(names, attrC) || slices.Contains(names, attrB) {
		t.Errorf("there are %q, %v", names, err)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Errorf("some of %q are there twice", names)
	}
}

// removes: an attribute that is removed is none, which is not the same as an
// empty one. That there was none is no matter.
func removes(t *testing.T, c Carrier) {
	of := c.New(t, files())
	const name = "lib/buffer"
	before := of.Dump(t)
	for range 2 {
		err := apply(t, of, name, []tree.Change{{Attr: attrC, Old: []byte("as it was")}, {Attr: attrA}}, func(f tree.File) {
			if v, err := f.Attr(attrC); v != nil || err != tree.ErrNoAttr {
				t.Errorf("%x, %v", v, err)
			}
			if names, err := f.Attrs(); err != nil || slices.Contains(names, attrC) {
				t.Errorf("there are %q, %v", names, err)
			}
		})
		if err != nil {
			t.Error(err)
		}
		wantDump(t, before, of.Dump(t), map[string][]byte{Attr(name, attrC): nil})
	}
}

// ordered: of changes of one attribute the last counts, and several attributes
// are changed by one call.
func ordered(t *testing.T, c Carrier) {
	of := c.New(t, files())
	const name = "empty"
	before := of.Dump(t)
	one, two := []byte("1"), []byte("2")
	changes := []tree.Change{{Attr: attrA, New: one}, {Attr: attrB, New: one}, {Attr: attrA, Old: one, New: two}, {Attr: attrC, New: []byte{}}, {Attr: attrB, Old: one}}
	if err := apply(t, of, name, changes, nil); err != nil {
		t.Error(err)
	}
	wantDump(t, before, of.Dump(t), map[string][]byte{Attr(name, attrA): two, Attr(name, attrC): {}})
}

// secondFails: what was done before a change that fails stays, and is said.
func secondFails(t *testing.T, c Carrier) {
	of := c.New(t, files())
	const name = "bin/set-id"
	before := of.Dump(t)
	done := []tree.Change{{Attr: attrA, New: []byte("done")}, {Attr: attrB, New: []byte("done, too")}}
	changes := append(slices.Clone(done), c.Refused, tree.Change{Attr: attrC, New: []byte("not done")})
	err := apply(t, of, name, changes, func(f tree.File) {
		if v, err := f.Attr(attrA); err != nil || string(v) != "done" {
			t.Errorf("%q, %v", v, err)
		}
	})
	partial, ok := errors.AsType[*tree.PartialError](err)
	if !ok || partial.Err == nil || len(partial.Done) != len(done) || partial.Done[0].Attr != attrA || partial.Done[1].Attr != attrB {
		t.Errorf("%v: %+v", err, partial)
	}
	wantDump(t, before, of.Dump(t), map[string][]byte{Attr(name, attrA): []byte("done"), Attr(name, attrB): []byte("done, too")})
}

// firstFails: else nothing is done, and no part of it is said to be.
func firstFails(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	err := apply(t, of, "bin/one", []tree.Change{c.Refused, {Attr: attrA, New: []byte("not done")}}, nil)
	if _, partial := errors.AsType[*tree.PartialError](err); err == nil || partial {
		t.Errorf("%v", err)
	}
	wantDump(t, before, of.Dump(t), nil)
}

// commit: what several workers apply is there when Commit has returned, also
// when the run's context has ended by then.
func commit(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	source, sink := of.Open(t, 3)
	changed := make(map[string][]byte)
	for _, f := range files() {
		changed[Attr(f.Name, attrA)] = []byte(f.Name)
	}
	err := source.Walk(t.Context(), func(found tree.Found) error {
		if found.File == nil {
			return nil
		}
		defer found.File.Close()
		return sink.Apply(found.File, []tree.Change{{Attr: attrA, New: []byte(found.File.Rel())}})
	})
	if err != nil {
		t.Error(err)
	}
	if !c.InPlace {
		wantDump(t, before, of.Dump(t), nil)
	}
	if err := sink.Commit(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	wantDump(t, before, of.Dump(t), changed)
	// And what is written over it is what it is.
	if err := apply(t, of, "empty", []tree.Change{{Attr: attrA, Old: []byte("empty"), New: []byte("again"), Again: true}}, nil); err != nil {
		t.Error(err)
	}
	changed[Attr("empty", attrA)] = []byte("again")
	wantDump(t, before, of.Dump(t), changed)
}

// abort: a run that is broken off leaves what was there, or, in place, what was
// applied.
func abort(t *testing.T, c Carrier) {
	of := c.New(t, files())
	before := of.Dump(t)
	source, sink := of.Open(t, 1)
	find(t, source, func(f tree.File) {
		if f.Rel() == "bin/one" {
			if err := sink.Apply(f, []tree.Change{{Attr: attrA, New: []byte("x")}}); err != nil {
				t.Error(err)
			}
		}
	})
	if err := sink.Abort(); err != nil {
		t.Error(err)
	}
	var changed map[string][]byte
	if c.InPlace {
		changed = map[string][]byte{Attr("bin/one", attrA): []byte("x")}
	}
	wantDump(t, before, of.Dump(t), changed)
	if err := apply(t, of, "empty", nil, nil); err != nil { // it can be worked on all the same
		t.Error(err)
	}
	wantDump(t, before, of.Dump(t), changed)
}
