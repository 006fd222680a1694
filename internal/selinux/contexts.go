package selinux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// ErrCompiled says that a file is one that libselinux's sefcontext_compile(8) made
// of a text.
var ErrCompiled = errors.New("is compiled for libselinux on one machine")

// maxFile bounds the size of a file. Those of distributions have half a MiB.
const maxFile = 64 << 20

// A Source is the text of a file and its name in errors.
type Source struct {
	Name string
	Text []byte
}

// Sources are the files of a policy. All but FileContexts may be empty.
type Sources struct {
	FileContexts, Homedirs, Local Source
	Subs, SubsDist                Source
}

// Contexts says which context a file gets. It is not changed once it is made,
// and safe for concurrent use.
type Contexts struct {
	specs []spec
	// paths are the lines whose pattern is the path, and dirs those of the
	// expressions by dir, as numbers in specs, which rise.
	paths, dirs    map[string][]int32
	subs, subsDist []alias
}

// Load reads a policy's file_contexts, and what there is of the files beside it.
// The error is an *fs.PathError, or that of Parse.
func Load(path string) (*Contexts, error) {
	var s Sources
	for _, f := range []struct {
		to     *Source
		suffix string
	}{{&s.FileContexts, ""}, {&s.Homedirs, ".homedirs"}, {&s.Local, ".local"}, {&s.Subs, ".subs"}, {&s.SubsDist, ".subs_dist"}} {
		f.to.Name = path + f.suffix
		text, err := read(f.to.Name)
		switch {
		case err == nil:
			f.to.Text = text
		case f.suffix == "" || !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return Parse(s)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxFile)}
	}
	return text, err
}

// isCompiled reports whether the text is that of a .bin file, in either byte
// order (fcontext_is_binary()).
func isCompiled(text []byte) bool {
	const magic = 0xf97cff8a
	return len(text) >= 4 && (binary.LittleEndian.Uint32(text) == magic || binary.BigEndian.Uint32(text) == magic)
}

// Parse makes the Contexts of a policy. The error is a *LineError, or an
// *fs.PathError with ErrCompiled.
func Parse(s Sources) (*Contexts, error) {
	c := &Contexts{paths: make(map[string][]int32), dirs: make(map[string][]int32)}
	var err error
	for _, file := range []Source{s.FileContexts, s.Homedirs, s.Local} {
		if isCompiled(file.Text) {
			return nil, &fs.PathError{Op: "parse", Path: file.Name, Err: ErrCompiled}
		}
		if c.specs, err = parseSpecs(c.specs, file.Name, file.Text); err != nil {
			return nil, err
		}
	}
	if c.subs, err = parseAliases(s.Subs.Name, s.Subs.Text); err != nil {
		return nil, err
	}
	if c.subsDist, err = parseAliases(s.SubsDist.Name, s.SubsDist.Text); err != nil {
		return nil, err
	}
	for i := range c.specs {
		s, n := &c.specs[i], int32(i)
		if s.isPath {
			c.paths[s.path] = append(c.paths[s.path], n)
		} else {
			c.dirs[s.dir] = append(c.dirs[s.dir], n)
		}
	}
	return c, nil
}

// Lookup returns the context of the file of an absolute path, as the policy's
// system will have it, and false where the policy has none for it.
func (c *Contexts) Lookup(path string, kind Kind) (string, bool) {
	s, ok := c.Match(path, kind)
	if !ok || s.Context == None {
		return "", false
	}
	return s.Context, true
}

// Match returns the line that decides about a file, whose context may be None,
// and false if there is no such line.
func (c *Contexts) Match(path string, kind Kind) (Spec, bool) {
	path = apply(c.subsDist, apply(c.subs, clean(path)))
	if n := c.last(c.paths[path], -1, kind, ""); n >= 0 {
		return c.specs[n].Spec, true
	}
	// Lines further down are about directories further down, so looking there
	// first finds the last line early.
	best := int32(-1)
	for end := len(path); ; {
		best = c.last(c.dirs[path[:end]], best, kind, path)
		if end == 0 {
			break
		}
		end = strings.LastIndexByte(path[:end-1], '/') + 1
	}
	if best < 0 {
		return Spec{}, false
	}
	return c.specs[best].Spec, true
}

// last returns the last of the lines that matches, if it is behind best, and
// else best. Paths that are patterns need no path to match.
func (c *Contexts) last(lines []int32, best int32, kind Kind, path string) int32 {
	for i := len(lines) - 1; i >= 0 && lines[i] > best; i-- {
		s := &c.specs[lines[i]]
		if (kind == Any || s.Kind == Any || s.Kind == kind) && (s.isPath || s.matches(path)) {
			return lines[i]
		}
	}
	return best
}

// clean returns a path without what lookups do not see.
func clean(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}
