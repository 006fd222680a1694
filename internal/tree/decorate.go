package tree

import (
	"context"
	"errors"
	"slices"
	"strings"

	"imaseal/internal/reason"
)

// DryRun is the sink of a run that writes nothing.
type DryRun struct{}

// Apply does nothing.
func (DryRun) Apply(File, []Change) error { return nil }

// Commit does nothing.
func (DryRun) Commit(context.Context) error { return nil }

// Abort does nothing.
func (DryRun) Abort() error { return nil }

// A Namespace keeps attributes of one namespace in another: with "security." and
// "user.", security.ima is kept as user.ima. Other names pass. It makes decorators.
type Namespace struct {
	From, To string // with the dot
	// Only are the attributes that are renamed, without From; nil are all.
	Only []string
}

// Kept returns the name under which an attribute is kept.
func (n Namespace) Kept(name string) string {
	if rest, ok := n.rest(name, n.From); ok {
		return n.To + rest
	}
	return name
}

// rest returns what of a name is behind the prefix, and whether it is one that is
// renamed.
func (n Namespace) rest(name, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	return rest, ok && (n.Only == nil || slices.Contains(n.Only, rest))
}

// Source returns a source with the files of another, renamed.
func (n Namespace) Source(s Source) Source { return renamedSource{s, n} }

// Sink returns a sink that writes to another one, renamed. Its files are those
// of Source.
func (n Namespace) Sink(s Sink) Sink { return renamedSink{s, n} }

// File returns the file with its attributes renamed.
func (n Namespace) File(f File) File { return renamedFile{f, n} }

type renamedSource struct {
	Source
	names Namespace
}

func (s renamedSource) Walk(ctx context.Context, visit func(Found) error) error {
	return s.Source.Walk(ctx, func(f Found) error {
		if f.File != nil {
			f.File = s.names.File(f.File)
		}
		return visit(f)
	})
}

// Count implements Counter, where the source does.
func (s renamedSource) Count(ctx context.Context, each func(size int64)) error {
	if c, ok := s.Source.(Counter); ok {
		return c.Count(ctx, each)
	}
	return nil
}

// Notes implements Noter, where the source does.
func (s renamedSource) Notes() reason.List {
	if n, ok := s.Source.(Noter); ok {
		return n.Notes()
	}
	return nil
}

type renamedFile struct {
	File
	names Namespace
}

// Unwrap returns the file that is renamed.
func (f renamedFile) Unwrap() File { return f.File }

func (f renamedFile) Attr(name string) ([]byte, error) { return f.File.Attr(f.names.Kept(name)) }

// Attrs leaves out attributes that really have one of the renamed names.
func (f renamedFile) Attrs() ([]string, error) {
	kept, err := f.File.Attrs()
	var names []string
	for _, name := range kept {
		if rest, ok := f.names.rest(name, f.names.To); ok {
			names = append(names, f.names.From+rest)
		} else if _, hidden := f.names.rest(name, f.names.From); !hidden {
			names = append(names, name)
		}
	}
	return names, err
}

type renamedSink struct {
	Sink
	names Namespace
}

func (s renamedSink) Apply(f File, changes []Change) error {
	if renamed, ok := f.(renamedFile); ok {
		f = renamed.File
	}
	kept := make([]Change, len(changes))
	for i, c := range changes {
		kept[i] = c
		kept[i].Attr = s.names.Kept(c.Attr)
	}
	err := s.Sink.Apply(f, kept)
	if partial, ok := errors.AsType[*PartialError](err); ok {
		return &PartialError{Done: changes[:len(partial.Done)], Err: partial.Err}
	}
	return err
}
