package tree

import (
	"bytes"
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

// Like is what decorators of sources embed: a Counter and a Noter as the source in
// it is.
type Like struct{ Source }

// Count implements Counter, where the source does.
func (s Like) Count(ctx context.Context, each func(size int64)) error {
	if c, ok := s.Source.(Counter); ok {
		return c.Count(ctx, each)
	}
	return nil
}

// Notes implements Noter, where the source does.
func (s Like) Notes() reason.List {
	if n, ok := s.Source.(Noter); ok {
		return n.Notes()
	}
	return nil
}

// WithFiles returns a source with the files of another, each in what wrap puts
// around it. It is a Counter and a Noter as the other is.
func WithFiles(s Source, wrap func(File) File) Source { return wrapped{Like{s}, wrap} }

type wrapped struct {
	Like
	wrap func(File) File
}

func (s wrapped) Walk(ctx context.Context, visit func(Found) error) error {
	return s.Source.Walk(ctx, func(f Found) error {
		if f.File != nil {
			f.File = s.wrap(f.File)
		}
		return visit(f)
	})
}

// Then returns a source that finds what another one does, and then what rest finds.
// It is a Counter and a Noter as the other is.
func Then(s Source, rest func(context.Context, func(Found) error) error) Source {
	return then{Like{s}, rest}
}

type then struct {
	Like
	rest func(context.Context, func(Found) error) error
}

func (s then) Walk(ctx context.Context, visit func(Found) error) error {
	if err := s.Source.Walk(ctx, visit); err != nil {
		return err
	}
	return s.rest(ctx, visit)
}

// A Namespace keeps attributes of one namespace in another: with "security." and
// "user.", security.ima is kept as user.ima. Names of neither pass. It makes
// decorators.
type Namespace struct {
	From, To string // with the dot
	// Hidden are the attributes, without From, of which a file's real ones are
	// never seen; nil are all. Another real one is, where none is kept for it.
	Hidden []string
}

// Kept returns the name under which an attribute is kept.
func (n Namespace) Kept(name string) string {
	if rest, ok := strings.CutPrefix(name, n.From); ok {
		return n.To + rest
	}
	return name
}

// hides reports whether the real attribute of the name is not seen.
func (n Namespace) hides(name string) bool {
	rest, ok := strings.CutPrefix(name, n.From)
	return ok && (n.Hidden == nil || slices.Contains(n.Hidden, rest))
}

// Source returns a source with the files of another, renamed.
func (n Namespace) Source(s Source) Source { return WithFiles(s, n.File) }

// Sink returns a sink that writes to another one, renamed. Its files are those
// of Source.
func (n Namespace) Sink(s Sink) Sink { return renamedSink{s, n} }

// File returns the file with its attributes renamed.
func (n Namespace) File(f File) File { return renamedFile{f, n} }

type renamedFile struct {
	File
	names Namespace
}

// Unwrap returns the file that is renamed.
func (f renamedFile) Unwrap() File { return f.File }

func (f renamedFile) Attr(name string) ([]byte, error) {
	value, err := f.File.Attr(f.names.Kept(name))
	if err == ErrNoAttr && !f.names.hides(name) {
		return f.File.Attr(name)
	}
	return value, err
}

// Attrs returns each name once, be it that of a real attribute or of one that is
// kept.
func (f renamedFile) Attrs() ([]string, error) {
	all, err := f.File.Attrs()
	var names []string
	for _, name := range all {
		if rest, ok := strings.CutPrefix(name, f.names.To); ok {
			name = f.names.From + rest
		} else if f.names.hides(name) {
			continue
		}
		if !slices.Contains(names, name) {
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
		if c.New == nil || kept[i].Attr == c.Attr || s.names.hides(c.Attr) {
			continue
		}
		// Where none is kept the real one is seen: to put that back is to keep none.
		if real, err := f.Attr(c.Attr); err == nil && bytes.Equal(real, c.New) {
			kept[i].New = nil
		}
	}
	err := s.Sink.Apply(f, kept)
	if partial, ok := errors.AsType[*PartialError](err); ok {
		return &PartialError{Done: changes[:len(partial.Done)], Err: partial.Err}
	}
	return err
}
