package carriertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"imaseal/internal/reason"
	"imaseal/internal/tree"
)

// A toy is a carrier in memory: a tree of bytes and maps. It has no inodes, and
// nobody writes to it while it is read. What a run changes is there when the run
// is committed.
type toy struct {
	files map[string]*toyFile
	links map[string]string
}

type toyFile struct {
	content  []byte
	uid, gid uint32
	mode     uint32
	attrs    map[string][]byte
}

// toyLargest is XATTR_SIZE_MAX, include/uapi/linux/limits.h.
const toyLargest = 64 << 10

var errToyLarge = errors.New("larger than an attribute can be")

func newToy(_ *testing.T, files []File) Tree { return makeToy(files) }

func makeToy(files []File) *toy {
	made := &toy{files: make(map[string]*toyFile), links: map[string]string{"bin/link": "one"}}
	for _, f := range files {
		file := &toyFile{content: []byte(f.Content), uid: 0, gid: 50, mode: modeRegular | f.Mode, attrs: make(map[string][]byte)}
		for name, value := range f.Attrs {
			file.attrs[name] = []byte(value)
		}
		made.files[f.Name] = file
	}
	return made
}

func (c *toy) Open(_ *testing.T, workers int) (tree.Source, tree.Sink) {
	return &toySource{c, workers}, &toySink{toy: c, changed: make(map[string]map[string][]byte)}
}

func (c *toy) Dump(*testing.T) map[string]string {
	all := maps.Clone(c.links)
	for name, f := range c.files {
		all[name] = fmt.Sprintf("%o %d:%d %q", f.mode, f.uid, f.gid, f.content)
		for attr, value := range f.attrs {
			all[Attr(name, attr)] = string(value)
		}
	}
	return all
}

type toySource struct {
	*toy
	workers int
}

func (s *toySource) Walk(ctx context.Context, visit func(tree.Found) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	names := make(chan string)
	var workers sync.WaitGroup
	for range s.workers {
		workers.Go(func() {
			for name := range names {
				if ctx.Err() != nil {
					continue
				}
				if err := visit(s.found(name)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(maps.Collect(s.names()))) {
		if ctx.Err() == nil {
			names <- name
		}
	}
	close(names)
	workers.Wait()
	return context.Cause(ctx)
}

// names yields what there is, files or not.
func (s *toySource) names() func(yield func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		for name := range s.files {
			if !yield(name, true) {
				return
			}
		}
		for name := range s.links {
			if !yield(name, false) {
				return
			}
		}
	}
}

func (s *toySource) found(name string) tree.Found {
	if f := s.files[name]; f != nil {
		attrs := make(map[string][]byte)
		maps.Copy(attrs, f.attrs)
		return tree.Found{Path: "toy:" + name, File: &toyOpen{toyFile: f, name: name, attrs: attrs}}
	}
	return tree.Found{Path: "toy:" + name, Rel: name, Skip: reason.Symlink}
}

// A toyOpen is a file that a run has in hand, with its attributes as the run has
// changed them.
type toyOpen struct {
	*toyFile
	name  string
	attrs map[string][]byte
}

func (f *toyOpen) Name() string { return "toy:" + f.name }
func (f *toyOpen) Rel() string  { return f.name }
func (f *toyOpen) Full() string { return "/" + f.name }
func (f *toyOpen) Close() error { return nil }

func (f *toyOpen) Meta() tree.Meta {
	return tree.Meta{UID: f.uid, GID: f.gid, Mode: f.mode, Size: int64(len(f.content))}
}

func (f *toyOpen) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.content)) && len(b) > 0 {
		return 0, io.EOF
	}
	return bytes.NewReader(f.content).ReadAt(b, off)
}

func (f *toyOpen) Attr(name string) ([]byte, error) {
	value, ok := f.attrs[name]
	if !ok {
		return nil, tree.ErrNoAttr
	}
	return append([]byte{}, value...), nil
}

func (f *toyOpen) Attrs() ([]string, error) { return slices.Collect(maps.Keys(f.attrs)), nil }

type toySink struct {
	toy     *toy
	mu      sync.Mutex
	changed map[string]map[string][]byte
}

func (s *toySink) Apply(f tree.File, changes []tree.Change) error {
	open, ok := tree.As[*toyOpen](f)
	if !ok {
		return fmt.Errorf("%T is no toy", f)
	}
	var err error
	for i, c := range changes {
		if len(c.New) > toyLargest {
			if err = errToyLarge; i > 0 {
				err = &tree.PartialError{Done: changes[:i], Err: errToyLarge}
			}
			break
		}
		if c.New == nil {
			delete(open.attrs, c.Attr)
		} else {
			open.attrs[c.Attr] = c.New
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[open.name] = open.attrs
	return err
}

func (s *toySink) Commit(context.Context) error {
	for name, attrs := range s.changed {
		s.toy.files[name].attrs = attrs
	}
	return nil
}

func (s *toySink) Abort() error { return nil }

func TestConform(t *testing.T) {
	Conform(t, Carrier{
		New: newToy, Largest: toyLargest,
		Refused: tree.Change{Attr: attrB, New: make([]byte, toyLargest+1)},
	})
}
