// Package carriertest is the suite that every carrier passes: what its files tell,
// what its sink does, and what the engine makes of both. A carrier's own test
// says how trees are made and looked at, and calls Conform. Only tests import it.
package carriertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// A Carrier is what the suite has to know of one.
type Carrier struct {
	// New makes a tree with the files, and with whatever else such a tree can
	// hold: that is not selected, and must stay as it is. The tree goes when
	// the test ends.
	New func(t *testing.T, files []File) Tree
	// Largest is the size of the largest value of an attribute, in bytes.
	Largest int
	// Refused is a change that the sink refuses, of any file.
	Refused tree.Change
	// InPlace says that changes are there when Apply returns, and that Abort
	// leaves them. Else nothing is there before Commit.
	InPlace bool
}

// A File is a file of a tree of the suite. Its owner is one that the carrier
// chooses.
type File struct {
	Name    string // relative to the tree, with slashes
	Content string
	Mode    uint32 // permissions
	Attrs   map[string]string
}

// A Tree is one that a carrier has made for the suite.
type Tree interface {
	// Open opens the tree for one run, which works on so many files at once.
	// Each run sees what the one before it has committed.
	Open(t *testing.T, workers int) (tree.Source, tree.Sink)
	// Dump returns all that there is to the tree, without the help of the
	// Source: a value for the name of each entry, and one for each attribute,
	// which is named as Attr does. What is not changed is dumped as before.
	Dump(t *testing.T) map[string]string
}

// Attr names an attribute of a file in a Tree's Dump.
func Attr(file, attr string) string { return file + " " + attr }

// Names of attributes that no kernel and no other program knows.
const (
	attrA = "security.imaseal-a"
	attrB = "security.imaseal-b"
	attrC = "security.imaseal-c"
)

// buffer is about the size of those by which contents are read.
const buffer = 128 << 10

// files returns those of the suite, some of them with what must not be touched.
var files = sync.OnceValue(func() []File {
	keep := map[string]string{attrC: "as it was"}
	return []File{
		{Name: "empty", Mode: 0o644},
		{Name: "bin/one", Content: "1", Mode: 0o755, Attrs: keep},
		{Name: "bin/set-id", Content: "program", Mode: 0o755},
		{Name: "etc/secret", Content: "of nobody's business", Mode: 0o600},
		{Name: "lib/buffer-1", Content: content(buffer - 1), Mode: 0o644},
		{Name: "lib/buffer", Content: content(buffer), Mode: 0o644, Attrs: keep},
		{Name: "lib/buffer+1", Content: content(buffer + 1), Mode: 0o644},
		{Name: "lib/deep/er/\u00fcml\u00e4ut and blanks", Content: content(3*buffer + 7), Mode: 0o444},
	}
})

// content returns n bytes of which no part is like another.
func content(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d of %d, ", i, n)
	}
	return b.String()[:n]
}

// suite are the tests, by the promise that they are about.
var suite = []struct {
	name string
	run  func(*testing.T, Carrier)
}{
	{"finds each file once", findsEach},
	{"shards", shards},
	{"walk ends with its context", walkCancelled},
	{"walk ends with the visitor's error", walkBroken},
	{"reads", reads},
	{"attributes of any size", attributes},
	{"attributes that are removed", removes},
	{"changes in order", ordered},
	{"changes of which the second fails", secondFails},
	{"changes of which the first fails", firstFails},
	{"commit", commit},
	{"abort", abort},
	{"dry run", dryRun},
	{"renamed", renamed},
	{"labels", labels},
	{"clears", clears},
	{"engine reports what failed", runFails},
	{"interrupted in the walk", interrupted},
	{"interrupted in a file", interruptedInFile},
}

// Conform runs the suite.
func Conform(t *testing.T, c Carrier) { c.run(t, len(suite)) }

// aboutFiles is how many tests of the suite are about files alone.
const aboutFiles = 5

// FindsAndReads runs what of the suite is not about attributes: for a carrier that
// holds labels of one kind alone.
func FindsAndReads(t *testing.T, c Carrier) { c.run(t, aboutFiles) }

func (c Carrier) run(t *testing.T, n int) {
	for _, test := range suite[:n] {
		t.Run(test.name, func(t *testing.T) {
			treetest.Leaks(t)
			test.run(t, c)
		})
	}
}

// find walks a tree and calls f with each of its files, one at a time.
func find(t *testing.T, source tree.Source, f func(tree.File)) {
	t.Helper()
	if err := source.Walk(t.Context(), func(found tree.Found) error {
		if found.File != nil {
			defer found.File.Close()
			f(found.File)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// apply makes changes of one file, commits, and returns the error of Apply. then
// looks at the file before it is closed; it may be nil.
func apply(t *testing.T, of Tree, name string, changes []tree.Change, then func(tree.File)) error {
	t.Helper()
	var applied error
	seen := false
	source, sink := of.Open(t, 1)
	find(t, source, func(f tree.File) {
		if f.Rel() != name {
			return
		}
		seen = true
		applied = sink.Apply(f, changes)
		if then != nil {
			then(f)
		}
	})
	if !seen {
		t.Fatalf("%s is not found", name)
	}
	if err := sink.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return applied
}

// wantDump compares two dumps. Of what changed may differ, a value in it is what
// has to be there: nil is nothing.
func wantDump(t *testing.T, before, after map[string]string, changed map[string][]byte) {
	t.Helper()
	want := maps.Clone(before)
	for name, value := range changed {
		if delete(want, name); value != nil {
			want[name] = string(value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if value, ok := want[name]; !ok {
			t.Errorf("%q is new: %.40q", name, after[name])
		} else if value != after[name] {
			t.Errorf("%q is %.40q, want %.40q", name, after[name], value)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%q is gone", name)
	}
}
