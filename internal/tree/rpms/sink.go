package rpms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// An Output says where new packages go.
type Output struct {
	// Path is a file, or "-" for Stdout, for one package; or a directory that
	// is there, in which each has the place that it had in the directory it
	// was found in. It counts for nothing with InPlace.
	Path   string
	Stdout *os.File
	// InPlace replaces each package, in one step. One without new labels stays
	// as it is.
	InPlace bool
}

// Errors about outputs that cannot be.
var (
	// ErrSameFile says that a package would be written over itself.
	ErrSameFile = errors.New("the output is the package itself")
	// ErrNotDirectory says that several packages need a directory to go to.
	ErrNotDirectory = errors.New("it is no directory, and there are several packages")
)

// A TwiceError says that two packages would become one file.
type TwiceError struct{ Path, First, Second string }

func (e *TwiceError) Error() string {
	return e.First + " and " + e.Second + " both would become " + e.Path
}

// A Sink writes packages behind the walk. Its Apply is safe for concurrent use.
type Sink struct {
	ctx   context.Context
	p     *Packages
	o     Output
	isDir bool
	// single is the one output, where there is one.
	single *stream.Out
	done   bool // it is written
}

// NewSink makes ready for an output of the packages, which Walk then writes as long
// as ctx lasts. The caller ends it with Commit or Abort.
func (p *Packages) NewSink(ctx context.Context, o Output) (*Sink, error) {
	s := &Sink{ctx: ctx, p: p, o: o}
	p.sink = s
	if o.InPlace {
		return s, nil
	}
	info, err := os.Stat(o.Path)
	isDir := o.Path != "-" && err == nil && info.IsDir()
	switch {
	case isDir:
		s.isDir = true
		return s, s.checkOutputs()
	case len(p.all) != 1 || !p.all[0].isNamed:
		return nil, &stream.OutputError{Path: o.Path, Err: ErrNotDirectory}
	case o.Path == "-":
		s.single, err = stream.Stdout(ctx, o.Stdout)
		return s, err
	}
	if err := differs(p.all[0].path, o.Path); err != nil {
		return nil, err
	}
	s.single, err = stream.Create(ctx, o.Path)
	return s, err
}

// checkOutputs refuses outputs that are packages of the run, or the same for two of
// them.
func (s *Sink) checkOutputs() error {
	from := make(map[string]string)
	for _, n := range s.p.all {
		to := s.output(n)
		if first, ok := from[to]; ok {
			return &TwiceError{Path: to, First: first, Second: n.path}
		}
		from[to] = n.path
		if err := differs(n.path, to); err != nil {
			return err
		}
	}
	return nil
}

// differs returns ErrSameFile if two names are those of one file.
func differs(from, to string) error {
	was, err := os.Stat(from)
	if err != nil {
		return err
	}
	if is, err := os.Stat(to); err == nil && os.SameFile(was, is) {
		return &PackageError{from, ErrSameFile}
	}
	return nil
}

// output is where a package goes.
func (s *Sink) output(n named) string {
	switch {
	case s.o.InPlace:
		return n.path
	case s.isDir:
		return filepath.Join(s.o.Path, n.rel)
	}
	return s.o.Path
}

// Apply implements tree.Sink, for files that are visited.
func (s *Sink) Apply(file tree.File, changes []tree.Change) error {
	f, ok := tree.As[*File](file)
	if !ok {
		return fmt.Errorf("%T is no file of a package", file)
	}
	return f.apply(changes)
}

// write writes a package of which all files have been visited. The error is a
// *PackageError or a *stream.OutputError.
func (s *Sink) write(in *pkg) error {
	err := s.tryWrite(in)
	if _, ok := errors.AsType[*stream.OutputError](err); ok || err == nil || s.ctx.Err() != nil {
		return err
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = stream.ErrWritten // there was more when the header was read
	}
	return &PackageError{in.path, pathless(err)}
}

func (s *Sink) tryWrite(in *pkg) error {
	head, err := s.head(in)
	if err != nil || head == nil && s.o.InPlace {
		return err
	}
	out := s.single
	if out == nil {
		to := s.output(in.named)
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return &stream.OutputError{Path: to, Err: err}
		}
		if out, err = stream.Create(s.ctx, to); err != nil {
			return err
		}
		defer out.Abort() // after Commit, nothing
	}
	at := in.head.Header
	if head == nil {
		at = 0
	} else if _, err := out.Write(head); err != nil {
		return err
	}
	if err := out.Copy(in.f, at, in.watch.Stat().Size-at); err != nil {
		return err
	}
	if err := in.watch.Unchanged(); err != nil {
		return err
	}
	if s.single != nil {
		s.done = true
		return nil
	}
	return out.Commit()
}

// head returns what stands before the header of the new package, nil for what the
// old one has.
func (s *Sink) head(in *pkg) ([]byte, error) {
	if !in.isChanged.Load() {
		return nil, nil
	}
	for i := range in.labels {
		if in.head.Files[i].Digest.IsZero() {
			in.labels[i] = nil // a label of what is no file, which another program put there
		}
	}
	head, err := in.head.Head(in.labels)
	if err == nil && in.head.Odd {
		s.p.odd.Add(1)
	}
	return head, err
}

// Commit implements tree.Sink: packages have been brought to the disk one by one.
func (s *Sink) Commit(context.Context) error {
	if s.single == nil {
		return nil
	}
	if !s.done { // it could not be read, which the walk has said
		s.single.Abort()
		return nil
	}
	return s.single.Commit()
}

// Abort implements tree.Sink: packages that are written stay.
func (s *Sink) Abort() error {
	if s.single != nil {
		s.single.Abort()
	}
	return nil
}
