package runtest

import (
	"sync/atomic"

	"imaseal/internal/tree"
)

// A Spy is between a job and its files. It counts calls, and lets a test act
// before each.
type Spy struct {
	// Gets are calls of File.Attr, Sets and Removes changes that were tried.
	Gets, Sets, Removes atomic.Int64
	// Before is called before each of them, and before File.Attrs, with "get",
	// "set", "remove" or "list" and the name of the attribute. An error is
	// that of the call.
	Before func(op, attr string) error
	// Held are values that files have instead of their own.
	Held map[string][]byte
	// List changes the names that File.Attrs returns; nil for no change.
	List func([]string) []string
}

func (s *Spy) call(op, attr string) error {
	switch op {
	case "get":
		s.Gets.Add(1)
	case "set":
		s.Sets.Add(1)
	case "remove":
		s.Removes.Add(1)
	}
	if s.Before == nil {
		return nil
	}
	return s.Before(op, attr)
}

// Source watches the files of a source.
func (s *Spy) Source(inner tree.Source) tree.Source {
	return tree.WithFiles(inner, func(f tree.File) tree.File { return spiedFile{f, s} })
}

// Sink watches a sink. It is given one change of a file at a time, so that a
// test can act between them.
func (s *Spy) Sink(inner tree.Sink) tree.Sink { return spiedSink{inner, s} }

type spiedFile struct {
	tree.File
	spy *Spy
}

// Unwrap returns the file that is watched.
func (f spiedFile) Unwrap() tree.File { return f.File }

func (f spiedFile) Attr(name string) ([]byte, error) {
	if err := f.spy.call("get", name); err != nil {
		return nil, err
	}
	if value, ok := f.spy.Held[name]; ok {
		return value, nil
	}
	return f.File.Attr(name)
}

func (f spiedFile) Attrs() ([]string, error) {
	if err := f.spy.call("list", ""); err != nil {
		return nil, err
	}
	names, err := f.File.Attrs()
	if f.spy.List != nil {
		names = f.spy.List(names)
	}
	return names, err
}

type spiedSink struct {
	tree.Sink
	spy *Spy
}

func (s spiedSink) Apply(f tree.File, changes []tree.Change) error {
	if spied, ok := f.(spiedFile); ok {
		f = spied.File
	}
	for i, c := range changes {
		op := "set"
		if c.New == nil {
			op = "remove"
		}
		err := s.spy.call(op, c.Attr)
		if err == nil {
			err = s.Sink.Apply(f, changes[i:i+1])
		}
		if err != nil && i > 0 {
			return &tree.PartialError{Done: changes[:i], Err: err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
