package ext4

import (
	"context"
	"fmt"

	"imaseal/internal/extfs"
	"imaseal/internal/reason"
)

// maxPath is how long a path may be, in bytes: so that directories in directories
// without an end need no memory without one.
const maxPath = 16 << 10

// ErrTooDeep says that a directory was not entered.
var ErrTooDeep = fmt.Errorf("its path is longer than %d bytes", maxPath)

// A finding is something in an image that a run answers for: a file, or why it is
// none that is labelled.
type finding struct {
	rel  string
	dir  bool // it is a directory that cannot be read
	file *File
	skip reason.Code
	err  error
}

// A scan goes through an image, in the order of names.
type scan struct {
	im    *Image
	ctx   context.Context
	found func(finding) error
	// leave is Config.Leave, nil where that does not matter.
	leave       func(*File) reason.Code
	dirs, files inodes // that were there
}

// scan calls found with all that there is in the image, and ends with its error, or
// with ctx.
func (im *Image) scan(ctx context.Context, leave func(*File) reason.Code, found func(finding) error) error {
	s := &scan{im: im, ctx: ctx, found: found, leave: leave}
	root, err := im.fs.Root()
	if err != nil {
		return err
	}
	s.dirs.add(root.Number)
	return s.dir(root, "", false)
}

// dir goes through a directory. All in it is included if included is set.
func (s *scan) dir(in *extfs.Inode, rel string, included bool) error {
	var d *extfs.Dir
	err := ErrTooDeep
	if len(rel) <= maxPath {
		d, err = s.im.fs.ReadDir(in)
	}
	if err != nil {
		if rel == "" {
			rel = "."
		}
		return s.found(finding{rel: rel, dir: true, err: fmt.Errorf("reading the directory: %w", err)})
	}
	for i := range d.Len() {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		name, number := d.Entry(i)
		path := name
		if rel != "" {
			path = rel + "/" + name
		}
		if err := s.entry(path, number, included); err != nil {
			return err
		}
	}
	return nil
}

// entry looks at a name in a directory.
func (s *scan) entry(rel string, number uint32, included bool) error {
	cfg := &s.im.cfg
	if cfg.Exclude != nil && cfg.Exclude(rel) {
		return s.found(finding{rel: rel, skip: reason.Filtered})
	}
	included = included || cfg.Include == nil || cfg.Include(rel)
	in, err := s.im.fs.Inode(number)
	switch {
	case err != nil && !included:
		return s.found(finding{rel: rel, skip: reason.Filtered})
	case err != nil:
		return s.found(finding{rel: rel, err: fmt.Errorf("opening: %w", err)})
	case in.IsDir() && !s.dirs.add(number):
		return s.found(finding{rel: rel, err: fmt.Errorf("opening: %w", &extfs.DamagedError{Where: fmt.Sprintf("inode %d", number), Why: "a directory has two names"})})
	case in.IsDir():
		return s.dir(in, rel, included)
	}
	f := s.other(rel, in, included)
	f.rel = rel
	return s.found(f)
}

// other looks at what is no directory.
func (s *scan) other(rel string, in *extfs.Inode, included bool) finding {
	cfg := &s.im.cfg
	switch {
	case !included:
		return finding{skip: reason.Filtered}
	case in.IsSymlink():
		return finding{skip: reason.Symlink}
	case !in.IsRegular():
		return finding{skip: reason.Special}
	case cfg.Owner != nil && !cfg.Owner(in.UID):
		return finding{skip: reason.OtherOwner}
	}
	f := &File{image: s.im, in: in, rel: rel}
	var err error
	if f.content, err = s.im.fs.Content(in); err != nil {
		return finding{err: fmt.Errorf("opening: %w", err)}
	}
	if s.leave != nil {
		if skip := s.leave(f); skip != "" {
			return finding{skip: skip}
		}
	}
	if in.Links > 1 && !cfg.EveryName && !s.files.add(in.Number) {
		return finding{skip: reason.HardLink}
	}
	return finding{file: f}
}

// inodes is a set of numbers of inodes.
type inodes map[uint32]*[inodesPage / 64]uint64

const inodesPage = 4096

// add adds a number, and returns false if it was there.
func (s *inodes) add(n uint32) bool {
	if *s == nil {
		*s = make(inodes)
	}
	page := (*s)[n/inodesPage]
	if page == nil {
		page = new([inodesPage / 64]uint64)
		(*s)[n/inodesPage] = page
	}
	word, bit := &page[n%inodesPage/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
