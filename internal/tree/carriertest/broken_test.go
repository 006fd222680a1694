package carriertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/tree"
)

// A fault is one that a carrier could have, in the toy: nil fields are right.
type fault struct {
	// finds is the test of the suite that finds the fault.
	finds  string
	walk   func(ctx context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error
	readAt func(f *toyOpen, b []byte, off int64) (int, error)
	attr   func(f *toyOpen, name string) ([]byte, error)
	attrs  func(f *toyOpen) ([]string, error)
	meta   func(tree.Meta) tree.Meta
	apply  func(s *toySink, f *toyOpen, changes []tree.Change) error
	commit func(s *toySink) error
	abort  func(s *toySink) error
}

var faults = map[string]fault{
	"a file twice": {finds: "finds each file once", walk: func(ctx context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error {
		return errors.Join(walk(ctx, visit), walk(ctx, visit))
	}},
	"a file is left out": {finds: "finds each file once", walk: func(ctx context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error {
		return walk(ctx, func(found tree.Found) error {
			if strings.HasSuffix(found.Path, "secret") {
				return nil
			}
			return visit(found)
		})
	}},
	"permissions are lost": {finds: "finds each file once", meta: func(m tree.Meta) tree.Meta { m.Mode &^= 0o111; return m }},
	"a size is wrong":      {finds: "finds each file once", meta: func(m tree.Meta) tree.Meta { m.Size = (m.Size + 511) / 512 * 512; return m }},
	"a walk that goes on": {finds: "walk ends with its context", walk: func(_ context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error {
		return walk(context.Background(), visit)
	}},
	"visits that go on": {finds: "finds each file once", walk: func(ctx context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error {
		var last tree.Found
		err := walk(ctx, func(found tree.Found) error {
			if strings.HasSuffix(found.Path, "secret") {
				last = found
				return nil
			}
			return visit(found)
		})
		go func() { time.Sleep(50 * time.Millisecond); visit(last) }()
		return err
	}},
	"an error that is swallowed": {finds: "walk ends with the visitor's error", walk: func(ctx context.Context, walk func(context.Context, func(tree.Found) error) error, visit func(tree.Found) error) error {
		return walk(ctx, func(found tree.Found) error { visit(found); return nil })
	}},

	"no end of file": {finds: "reads", readAt: func(f *toyOpen, b []byte, off int64) (int, error) {
		n, err := f.ReadAt(b, off)
		if err == io.EOF {
			err = nil
		}
		return n, err
	}},
	"reads once, forwards": {finds: "reads", readAt: func(f *toyOpen, b []byte, off int64) (int, error) {
		n, err := f.ReadAt(b, int64(len(f.attrs["\x00at"])))
		f.attrs["\x00at"] = append(f.attrs["\x00at"], b[:n]...)
		return n, err
	}},
	"a block is lost": {finds: "reads", readAt: func(f *toyOpen, b []byte, off int64) (int, error) {
		n, err := f.ReadAt(b, off)
		if off <= buffer && off+int64(n) > buffer {
			clear(b[buffer-off : n])
		}
		return n, err
	}},

	"an empty value is none": {finds: "attributes of any size", attr: func(f *toyOpen, name string) ([]byte, error) {
		if len(f.attrs[name]) == 0 {
			return nil, tree.ErrNoAttr
		}
		return f.Attr(name)
	}},
	"none is an empty value": {finds: "attributes that are removed", attr: func(f *toyOpen, name string) ([]byte, error) {
		return f.attrs[name], nil
	}},
	"a small buffer": {finds: "attributes of any size", attr: func(f *toyOpen, name string) ([]byte, error) {
		v, err := f.Attr(name)
		return v[:min(len(v), 256)], err
	}},
	"a value that is shared": {finds: "attributes of any size", attr: func(f *toyOpen, name string) ([]byte, error) {
		if v, ok := f.attrs[name]; ok {
			return v, nil
		}
		return nil, tree.ErrNoAttr
	}},
	"a wrapped ErrNoAttr": {finds: "attributes of any size", attr: func(f *toyOpen, name string) ([]byte, error) {
		v, err := f.Attr(name)
		if err != nil {
			err = fmt.Errorf("reading: %w", err)
		}
		return v, err
	}},
	"no list": {finds: "attributes of any size", attrs: func(*toyOpen) ([]string, error) { return nil, nil }},

	"the wrong order": {finds: "changes in order", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		changes = slices.Clone(changes)
		slices.Reverse(changes)
		return s.Apply(f, changes)
	}},
	"removing nothing fails": {finds: "attributes that are removed", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		for _, c := range changes {
			if _, ok := f.attrs[c.Attr]; !ok && c.New == nil {
				return tree.ErrNoAttr
			}
		}
		return s.Apply(f, changes)
	}},
	"half done without a word": {finds: "changes of which the second fails", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		err := s.Apply(f, changes)
		if partial, ok := errors.AsType[*tree.PartialError](err); ok {
			return partial.Err
		}
		return err
	}},
	"goes on after a failure": {finds: "changes of which the first fails", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		var err error
		for _, c := range changes {
			if applyErr := s.Apply(f, []tree.Change{c}); applyErr != nil {
				err = applyErr
			}
		}
		return err
	}},
	"applies after Commit alone": {finds: "attributes of any size", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		attrs := f.attrs
		f.attrs = maps.Clone(attrs)
		err := s.Apply(f, changes)
		f.attrs = attrs
		return err
	}},
	"commits too early": {finds: "commit", apply: func(s *toySink, f *toyOpen, changes []tree.Change) error {
		return errors.Join(s.Apply(f, changes), s.Commit(context.Background()))
	}},
	"loses other attributes": {finds: "attributes of any size", commit: func(s *toySink) error {
		for _, attrs := range s.changed {
			delete(attrs, attrC)
		}
		return s.Commit(context.Background())
	}},
	"touches other files": {finds: "commit", commit: func(s *toySink) error {
		s.toy.links["bin/link"] += "x"
		return s.Commit(context.Background())
	}},
	"forgets to commit": {finds: "labels", commit: func(*toySink) error { return nil }},
	"abort commits":     {finds: "abort", abort: func(s *toySink) error { return s.Commit(context.Background()) }},
}

// faulty is a toy with a fault.
type faulty struct {
	*toy
	fault
}

func (c faulty) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	source, sink := c.toy.Open(t, workers)
	source = tree.WithFiles(source, func(f tree.File) tree.File { return faultyFile{f.(*toyOpen), c.fault} })
	return faultySource{source, c.fault}, faultySink{sink.(*toySink), c.fault}
}

type faultySource struct {
	tree.Source
	fault
}

func (s faultySource) Walk(ctx context.Context, visit func(tree.Found) error) error {
	if s.walk != nil {
		return s.walk(ctx, s.Source.Walk, visit)
	}
	return s.Source.Walk(ctx, visit)
}

type faultyFile struct {
	*toyOpen
	fault
}

func (f faultyFile) Unwrap() tree.File { return f.toyOpen }

func (f faultyFile) Meta() tree.Meta {
	if f.meta != nil {
		return f.meta(f.toyOpen.Meta())
	}
	return f.toyOpen.Meta()
}

func (f faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if f.readAt != nil {
		return f.readAt(f.toyOpen, b, off)
	}
	return f.toyOpen.ReadAt(b, off)
}

func (f faultyFile) Attr(name string) ([]byte, error) {
	if f.attr != nil {
		return f.attr(f.toyOpen, name)
	}
	return f.toyOpen.Attr(name)
}

func (f faultyFile) Attrs() ([]string, error) {
	if f.fault.attrs != nil {
		return f.fault.attrs(f.toyOpen)
	}
	return f.toyOpen.Attrs()
}

type faultySink struct {
	*toySink
	fault
}

func (s faultySink) Apply(f tree.File, changes []tree.Change) error {
	if s.apply != nil {
		open, _ := tree.As[*toyOpen](f)
		return s.apply(s.toySink, open, changes)
	}
	return s.toySink.Apply(f, changes)
}

func (s faultySink) Commit(ctx context.Context) error {
	if s.commit != nil {
		return s.commit(s.toySink)
	}
	return s.toySink.Commit(ctx)
}

func (s faultySink) Abort() error {
	if s.abort != nil {
		return s.abort(s.toySink)
	}
	return s.toySink.Abort()
}

// faulted makes a run of the test program find faults.
const faulted = "IMASEAL_TEST_CARRIER_FAULTS"

// TestFaulty runs the tests of the suite on toys with the faults that they must
// find.
func TestFaulty(t *testing.T) {
	if os.Getenv(faulted) == "" {
		t.Skip("for TestConformFindsFaults")
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			c := Carrier{
				New:     func(_ *testing.T, files []File) Tree { return faulty{makeToy(files), f} },
				Largest: toyLargest, Refused: tree.Change{Attr: attrB, New: make([]byte, toyLargest+1)},
			}
			for _, test := range suite {
				if test.name == f.finds {
					test.run(t, c)
				}
			}
		})
	}
}

// The suite is no formality: a carrier that breaks a promise fails the test that
// is about it.
func TestConformFindsFaults(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFaulty$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), faulted+"=1")
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, f := range faults {
		if !strings.Contains(string(out), "--- FAIL: TestFaulty/"+strings.ReplaceAll(name, " ", "_")+" ") {
			t.Errorf("%q does not find %q:\n%s", f.finds, name, out)
		}
	}
}
