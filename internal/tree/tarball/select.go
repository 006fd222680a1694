package tarball

import (
	"path"
	"strings"

	"imaseal/internal/reason"
	"imaseal/internal/tarfile"
)

// A selection says what becomes of entries. It belongs to one goroutine.
type selection struct {
	cfg *Config
	dir string // whose fate is known
	had fate
}

// A fate is what filters say of a directory, and all below it.
type fate struct{ excluded, included bool }

// A finding is what a selection says of an entry.
type finding struct {
	wants  bool // it is something to answer for
	rel    string
	skip   reason.Code
	target string // of a hard link
	err    error
}

// A LinkError says that a hard link is selected and the entry is not that has the
// content, and the attributes.
type LinkError struct{ Target string }

func (e *LinkError) Error() string {
	return "it is a hard link to " + e.Target + ", which has the content, and is not selected"
}

// clean returns the path of a name relative to the root of the archive: as it is
// unpacked by a program that does not leave the directory.
func clean(name string) string {
	rel := path.Clean("/" + name)[1:]
	if rel == "" {
		return "."
	}
	return rel
}

// found says what becomes of an entry, by its number, but for Leave.
func (s *selection) found(number int, e *tarfile.Entry) finding {
	switch e.Kind {
	case tarfile.Directory, tarfile.Other, tarfile.Zeros, tarfile.Rest:
		return finding{}
	}
	f := finding{wants: true, rel: clean(e.Name)}
	if s.cfg.At != nil && (e.Kind == tarfile.File || e.Kind == tarfile.HardLink) {
		if f.rel, f.wants = s.cfg.At(number, f.rel); !f.wants {
			return finding{}
		}
	}
	switch {
	case s.cfg.Whiteout != nil && s.cfg.Whiteout(f.rel):
		f.skip = reason.Whiteout
	case s.isFiltered(f.rel):
		f.skip = reason.Filtered
	case e.Kind == tarfile.Symlink:
		f.skip = reason.Symlink
	case e.Kind == tarfile.Special:
		f.skip = reason.Special
	case e.Kind == tarfile.HardLink:
		if target := clean(e.Link); s.isFiltered(target) {
			f.err = &LinkError{Target: target}
			break
		}
		f.skip, f.target = reason.HardLink, clean(e.Link)
	case s.cfg.Owner != nil && e.Kind == tarfile.File && !s.cfg.Owner(e.UID):
		f.skip = reason.OtherOwner
	default:
		f.err = e.Err
	}
	return f
}

// maxPath is PATH_MAX: filters would look at each directory of a longer name, of
// which no file can be made.
const maxPath = 4096

// isFiltered reports whether filters leave a path out: it, or a directory that it
// is in.
func (s *selection) isFiltered(rel string) bool {
	if s.cfg.Exclude == nil && s.cfg.Include == nil || len(rel) >= maxPath {
		return false
	}
	dir := rel[:max(strings.LastIndexByte(rel, '/'), 0)]
	if dir != s.dir {
		s.dir, s.had = dir, s.of(dir)
	}
	switch {
	case s.had.excluded, s.cfg.Exclude != nil && s.cfg.Exclude(rel):
		return true
	case s.had.included, s.cfg.Include == nil:
		return false
	}
	return !s.cfg.Include(rel)
}

// of asks the filters about a directory, from the top.
func (s *selection) of(dir string) fate {
	var f fate
	for end := range len(dir) + 1 {
		if end == 0 || end < len(dir) && dir[end] != '/' {
			continue
		}
		if s.cfg.Exclude != nil && s.cfg.Exclude(dir[:end]) {
			f.excluded = true
			return f
		}
		f.included = f.included || s.cfg.Include != nil && s.cfg.Include(dir[:end])
	}
	return f
}
